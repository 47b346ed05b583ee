"""What every ledger does with marks, counters and holds, and when it is opened again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtrace.storage.ledger import (
    LARGEST,
    Admitted,
    Denied,
    Ledger,
    Settlement,
)
from llmtrace.testing.ledgers import (
    DAY,
    ENDS,
    LEDGERS,
    NOON,
    RATE,
    SetClock,
    admit,
    call,
    settle,
    sums,
)


def test_a_mark_is_new_once_in_its_period(ledger: Ledger, clock: SetClock) -> None:
    assert ledger.once("80%|day", ends=ENDS)
    assert not ledger.once("80%|day", ends=ENDS)
    assert ledger.once("80%|other", ends=None)
    clock.step(12 * 3600)
    assert ledger.once("80%|day", ends=ENDS + timedelta(days=1))
    assert not ledger.once("80%|day", ends=ENDS + timedelta(days=1))
    assert not ledger.once("80%|other", ends=None)


def test_a_counter_begins_anew_in_each_window(ledger: Ledger, clock: SetClock) -> None:
    assert [ledger.bump("a", window_seconds=60) for _ in range(3)] == [1, 2, 3]
    assert ledger.bump("b", by=10, window_seconds=60) == 10
    clock.step(59)
    assert ledger.bump("a", by=0, window_seconds=60) == 3
    clock.step(1)
    assert ledger.bump("a", window_seconds=60) == 1
    assert ledger.bump("b", by=LARGEST, window_seconds=60) == LARGEST
    assert ledger.bump("b", window_seconds=60) == LARGEST


def test_a_hold_lasts_until_its_end(ledger: Ledger, clock: SetClock) -> None:
    ledger.hold("agent|a", "the same call 50 times", until=NOON + timedelta(minutes=5))
    ledger.hold("agent|b", "a loop")
    held = ledger.held(["agent|a", "agent|b", "agent|c"])
    assert held == {hold.key: hold for hold in ledger.holds()}
    assert held["agent|a"].until == NOON + timedelta(minutes=5)
    assert (held["agent|b"].reason, held["agent|b"].since) == ("a loop", NOON)
    assert held["agent|b"].until is None
    clock.step(300)
    assert list(ledger.held(["agent|a", "agent|b"])) == ["agent|b"]
    assert [hold.key for hold in ledger.holds()] == ["agent|b"]
    assert ledger.held([]) == {}


def test_a_hold_is_changed_and_released(ledger: Ledger, clock: SetClock) -> None:
    ledger.hold("agent|a", "first", until=NOON + timedelta(minutes=5))
    clock.step(60)
    ledger.hold("agent|a", "second")
    hold = ledger.held(["agent|a"])["agent|a"]
    assert (hold.reason, hold.since, hold.until) == ("second", NOON, None)
    assert ledger.release("agent|a")
    assert not ledger.release("agent|a")
    assert ledger.holds() == []


def test_a_hold_that_has_ended_begins_anew(ledger: Ledger, clock: SetClock) -> None:
    ledger.hold("agent|a", "first", until=NOON + timedelta(minutes=5))
    clock.step(301)
    assert not ledger.release("agent|a")
    ledger.hold("agent|a", "second", until=NOON + timedelta(minutes=6))
    assert ledger.held(["agent|a"])["agent|a"].since == NOON + timedelta(seconds=301)


def test_a_reason_of_any_text_is_kept_in_part(ledger: Ledger) -> None:
    ledger.hold("agent|a", "\ud800ü" * 5000)
    assert ledger.holds()[0].reason.startswith("?ü?ü")
    assert len(ledger.holds()[0].reason) == 500


def test_what_was_kept_is_found_again(
    request: pytest.FixtureRequest, ledger: Ledger, tmp_path: Path, clock: SetClock
) -> None:
    admit(ledger, call("1", 100, DAY, paces=[RATE]))
    ledger.hold("agent|a", "a loop")
    ledger.once("mark", ends=ENDS)
    name = request.node.callspec.params["ledger"]
    again = LEDGERS[name](tmp_path, clock)
    assert sums(again, DAY) == [(0, 100)]
    assert [entry.id for entry in again.open()] == ["1"]
    assert again.held(["agent|a"])
    assert not again.once("mark", ends=ENDS)
    assert settle(again, "1", usd=10).first
    assert not settle(ledger, "1", usd=10).first
    assert ledger.healthy()
    again.close()


def test_a_closed_ledger_is_not_healthy(ledger: Ledger) -> None:
    assert ledger.healthy()
    ledger.close()
    assert not ledger.healthy()


def test_what_is_settled_in_an_exchange_makes_room_for_what_is_admitted(ledger: Ledger) -> None:
    ledger.admit(call("first", 900, DAY))
    settlement = Settlement(id="first", tenant="acme", kind="settle", amounts={"usd": 100})
    answers = ledger.exchange([settlement], [call("second", 800, DAY), call("third", 200, DAY)])
    assert [type(answer) for answer in answers] == [Admitted, Denied]
    assert ledger.exchange([], []) == []
    (standing,) = ledger.standings("acme", [DAY.key]).values()
    assert (standing.spent, standing.reserved) == (100, 800)


def test_what_can_be_done_at_once_is_done_as_always_and_else_not_at_all(ledger: Ledger) -> None:
    ledger.admit(call("first", 900, DAY))
    settlement = Settlement(id="first", tenant="acme", kind="settle", amounts={"usd": 100})
    answers = ledger.exchange_now([settlement], [call("second", 800, DAY), call("third", 200, DAY)])
    (standing,) = ledger.standings("acme", [DAY.key]).values()
    if answers is None:
        assert (standing.spent, standing.reserved) == (0, 900)
    else:
        assert [type(answer) for answer in answers] == [Admitted, Denied]
        assert (standing.spent, standing.reserved) == (100, 800)


@pytest.mark.parametrize(
    "moment", [datetime(2026, 3, 1), datetime(1900, 1, 1, tzinfo=UTC)], ids=["no-zone", "long-ago"]
)
def test_a_moment_that_is_none_is_refused(ledger: Ledger, moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"no time zone|before 1970"):
        ledger.once("mark", ends=moment)
    with pytest.raises(ValueError, match=r"no time zone|before 1970"):
        ledger.hold("agent|a", "a loop", until=moment)
    assert ledger.holds() == []
