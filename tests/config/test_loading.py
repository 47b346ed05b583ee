from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.config import Config, ConfigError, load
from llmtrace.config.loading import (
    ALIASES,
    MAX_FILE_BYTES,
    NOT_KEYS,
    leaves,
    located,
    parse,
    variable,
)

SECRET = "hunter2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "llmtrace.yaml"


def refused(path: Path | None, **given_: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, **{"environ": {}, **given_})
    return str(caught.value)


def test_command_line_over_environment_over_file_over_defaults(file: Path) -> None:
    file.write_text("workers: 2\negress: deny\non_error: allow\n")
    config = load(
        file,
        environ={"LLMTRACE_WORKERS": "3", "LLMTRACE_EGRESS": "tunnel"},
        overrides={"workers": 4, "egress": None},
    )
    assert (config.workers, config.egress, config.on_error) == (4, "tunnel", "allow")
    assert config.shutdown.timeout_seconds == 30


def test_environment_and_command_line_reach_into_sections(file: Path) -> None:
    file.write_text("storage:\n  bodies: false\n")
    config = load(
        file,
        environ={"LLMTRACE_STORAGE_PROFILE": "memory"},
        overrides={"storage.retention_days": 7},
    )
    assert config.storage.model_dump(exclude={"database_path"}) == {
        "profile": "memory",
        "retention_days": 7,
        "bodies": False,
        "redis_url": None,
        "cache_url": None,
    }


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        pytest.param("LLMTRACE_LOG_LEVEL", "debug", "logging.level", "debug", id="alias"),
        pytest.param("LLMTRACE_REVERSE_LISTEN", "null", "reverse.listen", None, id="turned-off"),
        pytest.param(
            "LLMTRACE_INTERCEPT_EXCLUDE", "[a.com, b.com]", "intercept.exclude", ["a.com", "b.com"]
        ),
        pytest.param(
            "LLMTRACE_UPSTREAMS", '{"a": "http://b"}', "upstreams", {"a": "http://b"}, id="mapping"
        ),
        pytest.param("LLMTRACE_LISTEN", "", "listen", "127.0.0.1:8642", id="empty-says-nothing"),
        pytest.param("LLMTRACE_STORAGE_DATABASE_PATH", "1", "storage.database_path", Path("1")),
    ],
)
def test_variables(name: str, text: str, key: str, value: object) -> None:
    found: Any = load(environ={name: text})
    for step in key.split("."):
        found = getattr(found, step)
    assert found == value


def test_a_password_in_a_variable_is_taken_as_it_stands() -> None:
    url = "http://u:a%23 b".replace(" ", "") + "@h:1"
    proxy = load(environ={"LLMTRACE_UPSTREAM_PROXY": url}).upstream_proxy
    assert proxy is not None
    assert proxy.get_secret_value() == url


@pytest.mark.parametrize("name", sorted(NOT_KEYS))
def test_variables_about_something_else_are_left_alone(name: str) -> None:
    assert load(environ={name: "x"}) == Config()


def test_every_key_has_a_variable_of_its_own() -> None:
    names = [variable(key) for key in leaves()]
    assert len(set(names)) == len(names)
    assert not set(names) & (NOT_KEYS | set(ALIASES))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        pytest.param(
            {"LLMTRACE_WORKRES": "1"},
            "environment: LLMTRACE_WORKRES is no configuration key. Did you mean LLMTRACE_WORKERS?",
            id="typo",
        ),
        pytest.param({"LLMTRACE_QQQQ": "1"}, "LLMTRACE_QQQQ is no configuration key.", id="far"),
        pytest.param(
            {"LLMTRACE_WORKERS": "many"}, "environment: LLMTRACE_WORKERS: workers: ", id="no-number"
        ),
        pytest.param({"LLMTRACE_UPSTREAMS": "["}, "environment: LLMTRACE_UPSTREAMS: ", id="yaml"),
        pytest.param({"LLMTRACE_UPSTREAMS": "[" * 9000}, "nested too deep", id="deep"),
        pytest.param(
            {"LLMTRACE_UPSTREAMS": "x"},
            "environment: LLMTRACE_UPSTREAMS: upstreams: expected a mapping",
            id="no-mapping",
        ),
    ],
)
def test_bad_variables_are_named(environ: dict[str, str], said: str) -> None:
    assert said in refused(None, environ=environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "\nstorag: {}\n",
            ":2: storag is no configuration key. Did you mean storage?",
            id="section",
        ),
        pytest.param(
            "storage:\n  profil: lite\n",
            ":2: storage.profil is no configuration key. Did you mean storage.profile?",
            id="key",
        ),
        pytest.param(
            "policy:\n  rules:\n    - kinds: ['*']\n      verdict: flag\n      role: [user]\n",
            ":5: policy.rules[0].role is no configuration key. Did you mean policy.rules[0].roles?",
            id="key-of-an-item",
        ),
        pytest.param(
            "policy:\n  rules:\n    - kinds: ['*', 3]\n      verdict: flag\n",
            ":3: policy.rules[0].kinds[1]: expected a text; put it into quotes",
            id="item-of-an-item",
        ),
        pytest.param(
            "policy:\n  rules:\n    - {kinds: [a], verdict: flag}\n    - {kinds: [b]}\n",
            ":4: policy.rules[1].verdict: field required",
            id="a-required-key",
        ),
        pytest.param(
            "cost_estimation: {custom_models: {m: {inputs: 1}}}\n",
            "cost_estimation.custom_models.m.inputs is no configuration key.",
            id="key-of-an-entry",
        ),
        pytest.param(
            "storage:\n  profile: sqlite\n",
            ":2: storage.profile: input should be 'lite' or 'memory'",
            id="choice",
        ),
        pytest.param("storage: 3\n", ":1: storage: expected a mapping of keys", id="no-section"),
        pytest.param("storage: [x]\n", ":1: storage: expected a mapping of keys", id="list"),
        pytest.param("listen: 12:30:40\n", ":1: listen: expected a text; put it", id="base-60"),
        pytest.param("intercept: {hosts: {8080: x}}\n", ":1: intercept.hosts.8080: ", id="number"),
        pytest.param("1: 2\n", ":1: 1: keys should be strings", id="number-as-key"),
        pytest.param("a: 1\na: 2\n", ":2: a stands twice (first in line 1)", id="twice"),
        pytest.param("a: [1\n", ":2: this is not YAML", id="syntax"),
        pytest.param("- 1\n", "expected a mapping of sections, found a list", id="no-mapping"),
    ],
)
def test_faults_of_a_file_are_named_with_their_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    message = refused(file)
    assert message.startswith(f"{file}")
    assert said in message


def test_all_faults_are_named_at_once(file: Path) -> None:
    file.write_text("workers: x\negress: y\nqqqqq: 1\n")
    message = refused(file, environ={"LLMTRACE_QQQ": "1"}, overrides={"on_error": "z"})
    starts = [line.split(": ")[1] for line in message.splitlines()]
    assert starts == ["LLMTRACE_QQQ is no configuration key.", "workers", "on_error", "egress",
                      "qqqqq is no configuration key."]  # fmt: skip
    assert "command line: on_error: input should be 'block' or 'allow'" in message


def test_a_section_of_comments_alone_is_a_section(file: Path) -> None:
    file.write_text("storage:\n  # profile: memory\nlimits:\n")
    assert load(file, environ={"LLMTRACE_STORAGE_BODIES": "false"}).storage.bodies is False


def test_a_fault_of_a_variable_is_not_blamed_on_the_file(file: Path) -> None:
    file.write_text("workers: 2\n")
    assert refused(file, environ={"LLMTRACE_WORKERS": "x"}).startswith("environment: ")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"upstream_proxy: socks5://u:{SECRET}@h\n", id="value"),
        pytest.param(f"upstream_proxy: http://u:{SECRET}/x@h:1\n", id="port"),
        pytest.param(f"upstream_proxy: [http://u:{SECRET}@h]\n", id="kind"),
        pytest.param(f"upstream_proxy: *{SECRET}\n", id="alias"),
        pytest.param(f"upstreams: {{a: 'http://u:{SECRET}@h'}}\n", id="upstream"),
    ],
)
def test_a_secret_is_never_quoted(file: Path, text: str) -> None:
    file.write_text(text)
    assert SECRET not in refused(file)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"a: \xff\n", "not UTF-8 at byte 3", id="latin-1"),
        pytest.param("a: 1".encode("utf-16"), "not UTF-8", id="utf-16"),
        pytest.param(bytes(range(32)), "control character", id="binary"),
        pytest.param(b"#" * (MAX_FILE_BYTES + 1), "is this the right file?", id="huge"),
    ],
)
def test_what_is_no_text_is_refused(file: Path, data: bytes, said: str) -> None:
    file.write_bytes(data)
    assert said in refused(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml").endswith("none.yaml: cannot be read: "
                                                    "No such file or directory")  # fmt: skip
    assert "cannot be read" in refused(tmp_path)


@given(st.dictionaries(st.text(max_size=9), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner,
                                                               max_size=2),
    max_leaves=5), max_size=4))  # fmt: skip
def test_any_mapping_is_a_configuration_or_an_error(tree: dict[str, Any]) -> None:
    import yaml

    try:
        parsed, _ = parse(yaml.safe_dump(tree), "file")
    except ConfigError:
        return
    assert isinstance(parsed, dict)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("policy.rules[1].kinds: 'x' is no kind", 5),
        ("policy.rules[0].kinds: 'x' is no kind", 4),
        ("policy.preset: none", 2),
        ("upstream_ca: none.pem: gone", None),
        ("storage.cache_url: no answer", None),
        ("storage: no answer", None),
    ],
    ids=range(6),
)
def test_a_fault_that_is_found_later_has_the_line_of_its_key(
    file: Path, fault: str, line: int | None
) -> None:
    file.write_text(
        "storage: {profile: lite}\npolicy:\n  rules:\n"
        "    - {kinds: [x], verdict: flag}\n    - {kinds: [x], verdict: flag}\n"
    )
    environ = {"LLMTRACE_STORAGE_CACHE_URL": "redis://localhost"}
    place = "" if line is None else f"{file}:{line}: "
    assert located(fault, file, environ=environ) == place + fault
    assert located(fault, None, environ=environ) == fault
