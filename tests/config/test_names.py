"""Names in a configuration: those that a call can have, and no others."""

from pathlib import Path

import pytest

from llmtrace.config import ConfigError, load
from llmtrace.providers.clients import plain
from llmtrace.storage.keys import new_token

KEY, _ = new_token()
ENTRIES = {
    "agent": "cost_caps: {{agents: [{{agent_id: '{}', budget_caps: []}}]}}",
    "tenant": "cost_caps: {{tenants: [{{tenant_id: '{}', budget_caps: []}}]}}",
    "key": "cost_caps: {{keys: [{{key_id: '{}', budget_caps: []}}]}}",
    "rated tenant": "rate_limiting: {{tenant_overrides: {{'{}': {{tokens_per_minute: 1}}}}}}",
    "rated agent": "rate_limiting: {{agents: {{'{}': {{tokens_per_minute: 1}}}}}}",
    "model": "cost_caps: {{models: [{{model: '{}', budget_caps: []}}]}}",
}


def fault(tmp_path: Path, entry: str, name: str) -> str:
    """Return what is said of a file with an entry for a name, empty where it is taken."""
    path = tmp_path / "llmtrace.yaml"
    path.write_text(ENTRIES[entry].format(name))
    try:
        load(path, environ={})
    except ConfigError as error:
        return str(error).removeprefix(f"{path}:1: ")
    return ""


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("agent", "claude-code"),
        ("agent", "A.b_c:d-9"),
        ("agent", plain("@acme/nightly build")),
        ("agent", "a" * 128),
        ("tenant", "key-0123456789abcdef"),
        ("tenant", "default"),
        ("key", KEY),
        ("rated tenant", "acme"),
        ("rated agent", "*"),
        ("rated agent", "nightly-*/x"),
        ("model", "anthropic/claude-*"),
    ],
    ids=range(11),
)
def test_names_that_calls_have_are_taken(tmp_path: Path, entry: str, name: str) -> None:
    assert fault(tmp_path, entry, name) == ""


@pytest.mark.parametrize(
    ("entry", "rest"),
    [
        ("agent", "cost_caps.default_budget_caps holds each agent"),
        ("tenant", "cost_caps.default_budget_caps with default_scope: tenant holds each tenant"),
        ("key", "cost_caps.default_budget_caps with default_scope: key holds each key"),
        ("rated tenant", "what stands in rate_limiting itself holds each tenant"),
    ],
    ids=["agent", "tenant", "key", "rated tenant"],
)
@pytest.mark.parametrize("name", ["*", "nightly-*"])
def test_wildcards_are_refused_where_they_fit_nothing(
    tmp_path: Path, entry: str, rest: str, name: str
) -> None:
    what = entry.rpartition(" ")[2]
    assert fault(tmp_path, entry, name).endswith(f": no wildcards here, name one {what}; {rest}")


@pytest.mark.parametrize("name", ["", " ", "two words", "na\u00efve", "a" * 129, "a\\n"])
@pytest.mark.parametrize("entry", ["agent", "tenant", "key", "rated tenant"])
def test_names_that_no_call_has_are_refused(tmp_path: Path, entry: str, name: str) -> None:
    assert "has such a name; expected" in fault(tmp_path, entry, name)


def test_a_tenant_has_no_slash_and_an_agent_that_is_rated_no_space(tmp_path: Path) -> None:
    assert fault(tmp_path, "tenant", "a/b")
    assert fault(tmp_path, "rated agent", "two words").startswith(
        "rate_limiting.agents.two words: no agent has such a name"
    )


@pytest.mark.parametrize("name", [KEY[:-1], f"{KEY}a", f"{KEY[:-1]}_"], ids=["short", "long", "_"])
def test_an_id_of_a_key_is_as_long_as_all_are(tmp_path: Path, name: str) -> None:
    assert fault(tmp_path, "key", name)


def test_a_key_in_the_place_of_its_id_is_not_repeated(tmp_path: Path) -> None:
    _, token = new_token()
    said = fault(tmp_path, "key", token)
    assert said == (
        "cost_caps.keys[0].key_id: no key has such a name; expected its id: 12 letters and "
        "digits, as 'llmtrace keys list' shows them"
    )
