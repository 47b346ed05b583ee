"""What every ledger does with rates, leases and clocks."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llmtrace.storage.ledger import (
    KEEP_EXPIRED,
    KEEP_SETTLED,
    LARGEST,
    MAX_STEP_BACK,
    Ledger,
    SettlementKind,
    State,
)
from llmtrace.testing.ledgers import (
    DAY,
    NOON,
    RATE,
    TOKENS,
    SetClock,
    admit,
    call,
    deny,
    settle,
    sums,
)


def test_a_pace_lets_a_burst_through_and_then_one_at_a_time(
    ledger: Ledger, clock: SetClock
) -> None:
    left = [admit(ledger, call(id, 0, paces=[RATE])).paces[0] for id in "12"]
    assert [(state.remaining, state.reset_seconds) for state in left] == [(1, 0.1), (0, 0.2)]
    denied = deny(ledger, call("3", 0, paces=[RATE]))
    assert (denied.reason, denied.pace, denied.retry_after) == ("paced", RATE, 0.1)
    assert denied.paces[0].remaining == 0
    clock.step(0.0999)
    deny(ledger, call("3", 0, paces=[RATE]))
    clock.step(0.0001)
    admit(ledger, call("3", 0, paces=[RATE]))
    deny(ledger, call("4", 0, paces=[RATE]))
    clock.step(10)
    assert admit(ledger, call("4", 0, paces=[RATE])).paces[0].remaining == 1


def test_the_pace_that_is_free_last_is_told(ledger: Ledger) -> None:
    slow = replace(RATE, key="slow", emission_ns=2_000_000_000, burst=1)
    fast = replace(RATE, key="fast", burst=1)
    admit(ledger, call("1", 0, paces=[fast, slow]))
    denied = deny(ledger, call("2", 0, paces=[fast, slow]))
    assert (denied.pace, denied.retry_after) == (slow, 2.0)


def test_what_a_pace_never_lets_through_is_too_large(ledger: Ledger) -> None:
    denied = deny(ledger, call("1", 0, paces=[TOKENS], tokens=1001))
    assert (denied.reason, denied.pace, denied.retry_after) == ("too_large", TOKENS, None)
    admit(ledger, call("1", 0, paces=[TOKENS], tokens=1000))


def test_a_denied_budget_takes_nothing_from_a_pace_nor_the_other_way(ledger: Ledger) -> None:
    deny(ledger, call("1", 2000, DAY, paces=[RATE]))
    for id in "12":
        admit(ledger, call(id, 10, DAY, paces=[RATE]))
    deny(ledger, call("3", 10, DAY, paces=[RATE]))
    assert sums(ledger, DAY) == [(0, 20)]


def test_tokens_that_were_not_used_are_given_back(ledger: Ledger) -> None:
    admit(ledger, call("1", 0, paces=[TOKENS, RATE], tokens=900))
    deny(ledger, call("2", 0, paces=[TOKENS], tokens=200))
    settle(ledger, "1", tokens=100)
    left = admit(ledger, call("2", 0, paces=[TOKENS, RATE], tokens=200)).paces
    assert [state.remaining for state in left] == [700, 0], "calls stay taken"


def test_tokens_beyond_what_was_reserved_are_taken_too(ledger: Ledger, clock: SetClock) -> None:
    admit(ledger, call("1", 0, paces=[TOKENS], tokens=100))
    settle(ledger, "1", tokens=2500)
    denied = deny(ledger, call("2", 0, paces=[TOKENS], tokens=1))
    assert denied.retry_after == pytest.approx(1.501)
    clock.step(1.501)
    admit(ledger, call("2", 0, paces=[TOKENS], tokens=1))


def test_giving_back_does_not_let_more_than_a_burst_through(
    ledger: Ledger, clock: SetClock
) -> None:
    admit(ledger, call("1", 0, paces=[TOKENS], tokens=900))
    clock.step(3600)
    settle(ledger, "1", tokens=0)
    deny(ledger, call("2", 0, paces=[TOKENS], tokens=1001))
    assert admit(ledger, call("2", 0, paces=[TOKENS], tokens=1000)).paces[0].remaining == 0


def test_a_late_settlement_corrects_the_pace_by_the_difference(ledger: Ledger) -> None:
    admit(ledger, call("1", 0, paces=[TOKENS], tokens=600))
    settle(ledger, "1", "expire_charge")
    settle(ledger, "1", tokens=50)
    assert admit(ledger, call("2", 0, paces=[TOKENS], tokens=50)).paces[0].remaining == 900


def test_a_debt_of_any_size_is_held(ledger: Ledger, clock: SetClock) -> None:
    for id in ("1", "2", "3"):
        admit(ledger, call(id, 0, paces=[TOKENS], tokens=0))
        settle(ledger, id, tokens=LARGEST)
    assert deny(ledger, call("4", 0, paces=[TOKENS], tokens=1)).reason == "paced"
    admit(ledger, call("4", 0, paces=[TOKENS], tokens=0))


def test_an_open_call_is_told_to_whoever_recovers(ledger: Ledger, clock: SetClock) -> None:
    admit(ledger, call("1", 100, DAY, lease_seconds=60, owner="w1"))
    admit(ledger, call("2", 50, DAY, lease_seconds=30, strict=False, owner="w2"))
    first, second = ledger.open()
    assert (first.id, first.tenant, first.owner, first.strict) == ("2", "acme", "w2", False)
    assert first.amounts == {"usd": 50, "tokens": 0, "calls": 1}
    assert first.lease_ends == NOON + timedelta(seconds=30)
    assert (second.id, second.strict) == ("1", True)
    assert [entry.id for entry in ledger.open(owner="w1")] == ["1"]
    assert ledger.open(owner="w3") == []
    assert ledger.expired() == []
    clock.step(30)
    assert [entry.id for entry in ledger.expired()] == ["2"]
    settle(ledger, "2", "expire_release")
    assert ledger.expired() == []
    clock.step(30)
    assert [entry.id for entry in ledger.expired()] == ["1"]


def test_a_lease_is_extended_and_never_cut_short(ledger: Ledger, clock: SetClock) -> None:
    admit(ledger, call("1", 100, DAY, lease_seconds=60))
    ledger.extend([("acme", "1"), ("acme", "unheard"), ("nobody", "1")], lease_seconds=5)
    clock.step(59)
    assert ledger.expired() == []
    ledger.extend([("acme", "1")], lease_seconds=60)
    clock.step(59)
    assert ledger.expired() == []
    clock.step(1)
    assert [entry.id for entry in ledger.expired()] == ["1"]
    settle(ledger, "1", "expire_charge")
    ledger.extend([("acme", "1")], lease_seconds=60)
    assert ledger.open() == []


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("settle", KEEP_SETTLED), ("release", KEEP_SETTLED), ("expire_charge", KEEP_EXPIRED)],
)
def test_an_end_is_remembered_for_a_while(
    ledger: Ledger, clock: SetClock, kind: SettlementKind, kept: timedelta
) -> None:
    admit(ledger, call("1", 100, DAY))
    settle(ledger, "1", kind, usd=10)
    (before,) = sums(ledger, DAY)
    clock.step(kept.total_seconds() - 1)
    settle(ledger, "other", "release")
    assert admit(ledger, call("1", 100, DAY)).duplicate
    clock.step(2)
    settle(ledger, "another", "release")
    assert settle(ledger, "1", usd=10).state is State.UNKNOWN
    assert sums(ledger, DAY) == [before]


def test_the_time_stands_still_while_the_clock_is_set_back_a_little(
    ledger: Ledger, clock: SetClock
) -> None:
    admit(ledger, call("1", 0, paces=[replace(RATE, burst=1)]))
    clock.step(-MAX_STEP_BACK.total_seconds())
    assert ledger.now() == NOON
    assert deny(ledger, call("2", 0, paces=[replace(RATE, burst=1)])).retry_after == 0.1
    assert ledger.bump("a", window_seconds=1) == 1
    clock.step(MAX_STEP_BACK.total_seconds() + 0.1)
    admit(ledger, call("2", 0, paces=[replace(RATE, burst=1)]))


def test_a_clock_that_was_far_ahead_is_followed_back(ledger: Ledger, clock: SetClock) -> None:
    clock.step(86_400 * 365)
    admit(ledger, call("1", 0, DAY, paces=[RATE]))
    clock.step(-86_400 * 365)
    assert ledger.now() == NOON
    admit(ledger, call("2", 0, DAY, paces=[RATE]))
    assert ledger.now() == NOON
