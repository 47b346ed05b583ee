import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from llmtrace.limits.agentholds import hold_key
from llmtrace.storage.sqlite_ledger import SqliteLedger

type Run = Callable[..., Result]
REASON = "it made the same call 30 times within 10 minutes"


@pytest.fixture
def ledger(home: Path) -> Iterator[SqliteLedger]:
    home.mkdir()
    opened = SqliteLedger.at(home / "limits.sqlite")
    yield opened
    opened.close()


def test_stopped_agents_are_listed_with_the_reason(run: Run, ledger: SqliteLedger) -> None:
    ledger.hold(hold_key("acme", "builder"), REASON + "\x1b[2J")
    ledger.hold("something|else", "x")
    result = run("agents", "list")
    assert "\x1b" not in result.stdout
    assert REASON in result.stdout
    assert "you release it" in result.stdout
    assert "agents release NAME" in result.stderr
    (one,) = json.loads(run("agents", "list", "--json").stdout)
    assert (one["tenant"], one["agent"], one["until"]) == ("acme", "builder", None)


def test_nobody_stopped_is_said(run: Run) -> None:
    result = run("agents", "list")
    assert result.exit_code == 0
    assert "no agent is stopped" in result.stderr
    assert json.loads(run("agents", "list", "--json").stdout) == []


def test_an_agent_is_released_once(run: Run, ledger: SqliteLedger) -> None:
    key = hold_key("acme", "builder")
    ledger.hold(key, REASON)
    ledger.hold(hold_key("acme", "other"), REASON)
    result = run("agents", "release", "builder")
    assert result.exit_code == 0
    assert result.stdout == "released builder of tenant acme\n"
    assert [hold.key for hold in ledger.holds()] == [hold_key("acme", "other")]
    again = run("agents", "release", "builder")
    assert again.exit_code == 1
    assert "no agent 'builder' is stopped" in again.stderr


def test_of_several_of_the_name_one_may_be_meant(run: Run, ledger: SqliteLedger) -> None:
    for tenant in ("a", "b", "c"):
        ledger.hold(hold_key(tenant, "builder"), REASON)
    said = json.loads(run("agents", "release", "builder", "--tenant", "b", "--json").stdout)
    assert [one["tenant"] for one in said] == ["b"]
    assert len(json.loads(run("agents", "release", "builder", "--json").stdout)) == 2
    assert not ledger.holds()


def test_an_odd_name_is_no_trouble(run: Run, ledger: SqliteLedger) -> None:
    ledger.hold(hold_key("a|b%", "x|y z"), REASON)
    assert run("agents", "release", "x|y z").exit_code == 0
    assert not ledger.holds()
