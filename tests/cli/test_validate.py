import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

type Run = Callable[..., Result]


def test_a_good_file_is_summed_up(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("reverse:\n  listen: null\nstorage:\n  retention_days: 0\n")
    done = run("validate", "--config", path)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{path} is valid")
    assert "base-URL mode  off" in done.stdout
    assert "lite, for ever" in done.stdout


def test_a_bad_file_is_exit_code_2_with_line_and_key(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("workers: 1\nstorag: {}\n")
    done = run("validate", "--config", path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (f"{path}:2: storag is no configuration key. Did you mean storage?\n")


def test_a_file_that_it_names_is_tried(tmp_path: Path, run: Run) -> None:
    done = run("validate", LLMTRACE_UPSTREAM_CA=str(tmp_path / "none.pem"))
    assert done.exit_code == 2
    assert "upstream_ca" in done.stderr


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, run: Run) -> None:
    done = run("validate", LLMTRACE_CONFIG=str(tmp_path / "none.yaml"))
    assert done.exit_code == 2
    assert "none.yaml: cannot be read" in done.stderr


def test_the_configuration_as_json_has_no_secret(run: Run) -> None:
    done = run("validate", "--json", LLMTRACE_UPSTREAM_PROXY="http://u:hunter2@proxy:1")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["upstream_proxy"] == "**********"
    assert "hunter2" not in done.output


def test_the_table_that_decides_is_shown(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text(
        "mode: enforce\npii: {action: redact_silent}\npolicy:\n  preset: strict\n  rules:\n"
        "    - {kinds: [pii.email], tenants: [a, b], roles: [user], verdict: allow}\n"
    )
    done = run("validate", "--config", path)
    assert done.exit_code == 0
    assert "acted on as below (mode: enforce, preset strict)" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    start = rows.index(["rule", "kinds", "at", "least", "where", "verdict"])
    assert rows[start + 1] == [
        "policy.rules[0]", "pii.email", "info", "user,", "tenant", "a|b", "allow",
    ]  # fmt: skip
    assert rows[start + 2] == ["pii.action", "pii.*", "low", "anywhere", "redact"]
    assert rows[-1] == ["strict.rest", "*", "low", "anywhere", "flag"]


def test_the_table_is_in_the_json(run: Run) -> None:
    done = run("validate", "--json", LLMTRACE_POLICY_PRESET="observe")
    table = json.loads(done.stdout)["policy_table"]
    assert [row["name"] for row in table["rows"]] == ["observe.rest"]
    assert table["rows"][0]["verdict"] == "flag"
    assert len(table["version"]) == 16


def test_a_policy_about_an_unknown_kind_is_exit_code_2(run: Run) -> None:
    done = run("validate", LLMTRACE_POLICY_RULES="[{kinds: [secret.tokne], verdict: block}]")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "policy.rules[0].kinds: 'secret.tokne' is no kind of finding; "
        "did you mean 'secret.token'?\n"
    )


def test_no_table_where_nothing_is_looked_for(run: Run) -> None:
    done = run("validate", LLMTRACE_SECURITY_ANALYSIS_ENABLED="false")
    assert "not looked for" in done.stdout
    assert "balanced.rest" not in done.stdout
