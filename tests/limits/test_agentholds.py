from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.limits.agentholds import held_agent, hold_key, refusal, release_command
from llmtrace.storage.ledger import Hold
from llmtrace.storage.ledger_checks import check_key

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
NAMES = st.text(st.characters(codec="utf-8"), max_size=40).filter(str.isprintable)


@given(NAMES, NAMES)
def test_an_agent_is_read_from_its_key(tenant: str, agent: str) -> None:
    key = hold_key(tenant, agent)
    check_key(key)
    assert held_agent(key) == (tenant, agent)


@pytest.mark.parametrize("key", ["", "x|a|b", "agent", "agent|x"])
def test_a_key_of_something_else_is_no_agent(key: str) -> None:
    assert held_agent(key) is None


def test_long_names_have_keys_of_their_own() -> None:
    keys = {hold_key("é" * 200, "é" * 199 + last) for last in ("a", "b", "\n", "\ud800")}
    assert len(keys) == 4
    for key in keys:
        check_key(key)


def test_a_client_is_told_what_was_seen_and_what_to_do() -> None:
    hold = Hold(key="k", reason="it made the same call 30 times within 10 minutes", since=NOON)
    refused = refusal(hold, agent="builder")
    assert (refused.status, refused.code) == (429, "agent_on_hold")
    assert refused.headers == {"x-should-retry": "false"}
    assert hold.reason in refused.message
    assert "llmtrace agents release builder" in refused.message
    assert refused.details["since"] == "2026-03-04T12:00:00Z"


def test_a_hold_that_ends_by_itself_says_when() -> None:
    hold = Hold(key="k", reason="r", since=NOON, until=NOON + timedelta(minutes=30))
    refused = refusal(hold, agent="builder", seconds_left=90.5)
    assert refused.headers == {"x-should-retry": "false", "retry-after": "91"}
    assert "ends by itself at 2026-03-04T12:30:00Z" in refused.message


def test_a_name_is_quoted_for_the_shell() -> None:
    assert release_command("builder") == "llmtrace agents release builder"
    assert release_command("a; rm -rf ~") == "llmtrace agents release 'a; rm -rf ~'"
