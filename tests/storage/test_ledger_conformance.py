"""What every ledger does."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from llmtrace.storage.ledger import (
    ENDS_AS,
    GRACE,
    KEEP_EXPIRED,
    KEEP_SETTLED,
    LARGEST,
    MAX_STEP_BACK,
    Admission,
    Admitted,
    BadAmount,
    Denied,
    Ledger,
    Node,
    Pace,
    Settled,
    Settlement,
    SettlementKind,
    State,
)
from llmtrace.testing import redis
from llmtrace.testing.ledgers import LEDGERS, NEED_REDIS, NOON, SetClock

ENDS = NOON + timedelta(hours=12)
DAY = Node(key="budget|agent|a|day|2026-03-01", unit="usd", limit=1000, ends=ENDS)
TOTAL = Node(key="budget|tenant|acme|total", unit="usd", limit=700, ends=None)
CALLS = Node(key="budget|agent|a|calls", unit="calls", limit=3, ends=ENDS)
RATE = Pace(key="rps", unit="calls", emission_ns=100_000_000, burst=2)
TOKENS = Pace(key="tpm", unit="tokens", emission_ns=1_000_000, burst=1000)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=LEDGERS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> Iterator[Ledger]:
    if request.param in NEED_REDIS and not redis.installed():
        pytest.skip(redis.MISSING)
    opened = LEDGERS[request.param](tmp_path, clock)
    yield opened
    opened.close()


def call(
    id: str, usd: int, *nodes: Node, paces: Sequence[Pace] = (), tokens: int = 0, **rest: Any
) -> Admission:
    return Admission(
        id=id,
        tenant="acme",
        amounts={"usd": usd, "tokens": tokens, "calls": 1},
        nodes=nodes,
        paces=tuple(paces),
        **rest,
    )


def admit(ledger: Ledger, admission: Admission) -> Admitted:
    answer = ledger.admit(admission)
    assert isinstance(answer, Admitted), answer
    return answer


def deny(ledger: Ledger, admission: Admission) -> Denied:
    answer = ledger.admit(admission)
    assert isinstance(answer, Denied), answer
    return answer


def settle(ledger: Ledger, id: str, kind: SettlementKind = "settle", **used: int) -> Settled:
    (settled,) = ledger.settle([Settlement(id=id, tenant="acme", kind=kind, amounts=used)])
    assert settled.id == id
    return settled


def sums(ledger: Ledger, *nodes: Node) -> list[tuple[int, int]]:
    found = ledger.standings("acme", [node.key for node in nodes])
    return [(found[node.key].spent, found[node.key].reserved) for node in nodes]


# Budgets


def test_what_fits_exactly_is_admitted_and_no_more(ledger: Ledger) -> None:
    admit(ledger, call("1", 999, DAY))
    admit(ledger, call("2", 1, DAY))
    assert deny(ledger, call("3", 1, DAY)).reason == "contended"
    assert sums(ledger, DAY) == [(0, 1000)]


def test_an_admission_tells_how_the_budgets_stand(ledger: Ledger) -> None:
    admit(ledger, call("1", 30, DAY))
    settle(ledger, "1", usd=20)
    day, calls = admit(ledger, call("2", 50, DAY, CALLS)).standings
    assert (day.spent, day.reserved, day.limit, day.ends) == (20, 50, 1000, ENDS)
    assert (calls.unit, calls.spent, calls.reserved) == ("calls", 0, 1)


def test_all_budgets_admit_or_none_is_touched(ledger: Ledger) -> None:
    denied = deny(ledger, call("1", 800, DAY, TOTAL, CALLS))
    assert denied.node == TOTAL
    assert denied.requested == 800
    assert sums(ledger, DAY, TOTAL, CALLS) == [(0, 0)] * 3
    admit(ledger, call("1", 700, DAY, TOTAL, CALLS))
    assert sums(ledger, DAY, TOTAL, CALLS) == [(0, 700), (0, 700), (0, 1)]


def test_nothing_goes_under_a_limit_of_zero(ledger: Ledger) -> None:
    denied = deny(ledger, call("1", 0, replace(DAY, limit=0)))
    assert (denied.reason, denied.retry_after) == ("exhausted", None)


def test_a_call_that_costs_nothing_goes_while_the_budget_is_just_used_up(ledger: Ledger) -> None:
    admit(ledger, call("1", 1000, DAY))
    settle(ledger, "1")
    admit(ledger, call("2", 0, DAY))


def test_a_budget_without_limit_counts_only(ledger: Ledger) -> None:
    free = replace(DAY, limit=None)
    for number in range(3):
        admit(ledger, call(str(number), LARGEST, free))
    assert sums(ledger, free) == [(0, LARGEST)], "a sum stays at the largest"


@pytest.mark.parametrize(
    ("node", "spent", "reserved", "asked", "reason", "retry_after"),
    [
        pytest.param(DAY, 1000, 0, 1, "exhausted", 12 * 3600.0, id="day-is-spent"),
        pytest.param(TOTAL, 700, 0, 1, "exhausted", None, id="total-is-spent"),
        pytest.param(DAY, 1200, 0, 0, "exhausted", 12 * 3600.0, id="overrun"),
        pytest.param(DAY, 600, 300, 101, "contended", 1.0, id="held-by-others"),
        pytest.param(DAY, 600, 300, 401, "too_large", None, id="would-never-fit-today"),
    ],
)
def test_a_denial_says_whether_waiting_helps(
    ledger: Ledger,
    node: Node,
    spent: int,
    reserved: int,
    asked: int,
    reason: str,
    retry_after: float | None,
) -> None:
    admit(ledger, call("spent", 0, node))
    settle(ledger, "spent", usd=spent)
    if reserved:
        admit(ledger, call("held", reserved, node))
    denied = deny(ledger, call("asks", asked, node))
    assert (denied.reason, denied.retry_after) == (reason, retry_after)
    assert (denied.node, denied.spent, denied.reserved) == (node, spent, reserved)


def test_of_several_reasons_the_one_that_lasts_is_told(ledger: Ledger) -> None:
    admit(ledger, call("1", 700, DAY, TOTAL))
    settle(ledger, "1")
    admit(ledger, call("2", 300, DAY))
    denied = deny(ledger, call("3", 1, DAY, TOTAL, paces=[replace(RATE, burst=1)]))
    assert (denied.node, denied.reason) == (TOTAL, "exhausted")


def test_a_limit_holds_from_the_next_call_on(ledger: Ledger) -> None:
    admit(ledger, call("1", 800, DAY))
    assert deny(ledger, call("2", 10, replace(DAY, limit=500))).reason == "contended"
    settle(ledger, "1", usd=800)
    assert deny(ledger, call("2", 10, replace(DAY, limit=500))).reason == "exhausted"
    admit(ledger, call("2", 300, replace(DAY, limit=2000)))
    assert ledger.standings("acme", [DAY.key])[DAY.key].limit == 2000


def test_the_same_key_under_another_tenant_is_another_budget(ledger: Ledger) -> None:
    admit(ledger, call("1", 1000, DAY))
    admit(ledger, replace(call("1", 1000, DAY), tenant="other"))
    assert ledger.standings("other", [DAY.key])[DAY.key].reserved == 1000
    assert ledger.standings("nobody", [DAY.key])[DAY.key].reserved == 0


@pytest.mark.parametrize("name", ["", "{a}", "a}b{c", "ü\u202e", "a\0\r\nb", "%7B", "x" * 200])
def test_any_name_is_kept_apart(ledger: Ledger, name: str) -> None:
    odd = replace(DAY, key=f"k{name}")
    admit(ledger, replace(call(f"1{name}", 10, odd, owner=name), tenant=name))
    assert [entry.tenant for entry in ledger.open()] == [name]
    assert ledger.standings(name, [odd.key])[odd.key].reserved == 10
    ledger.settle([Settlement(id=f"1{name}", tenant=name, kind="settle")])
    assert ledger.standings(name, [odd.key])[odd.key].spent == 10
    assert [(row.tenant, row.key) for row in ledger.current()] == [(name, odd.key)]


# Once and only once


def test_asking_again_reserves_nothing_more(ledger: Ledger) -> None:
    admit(ledger, call("1", 900, DAY, paces=[RATE]))
    again = admit(ledger, call("1", 900, DAY, paces=[RATE]))
    assert (again.duplicate, again.state) == (True, State.OPEN)
    assert again.standings[0].reserved == 900
    assert again.paces[0].remaining == 1
    settle(ledger, "1", usd=5)
    assert admit(ledger, call("1", 900, DAY)).state is State.SETTLED
    assert sums(ledger, DAY) == [(5, 0)]


@pytest.mark.parametrize(
    ("kind", "charged"),
    [("settle", 30), ("release", 0), ("expire_charge", 100), ("expire_release", 0)],
)
def test_each_end_charges_what_it_says(ledger: Ledger, kind: SettlementKind, charged: int) -> None:
    admit(ledger, call("1", 100, DAY, TOTAL))
    settled = settle(ledger, "1", kind, usd=30)
    assert (settled.state, settled.first) == (ENDS_AS[kind], True)
    assert settled.charged["usd"] == charged
    assert sums(ledger, DAY, TOTAL) == [(charged, 0)] * 2


@pytest.mark.parametrize("first", ["settle", "release"])
@pytest.mark.parametrize("second", ENDS_AS)
def test_the_first_end_stands(
    ledger: Ledger, first: SettlementKind, second: SettlementKind
) -> None:
    admit(ledger, call("1", 100, DAY))
    before = settle(ledger, "1", first, usd=30)
    after = settle(ledger, "1", second, usd=70)
    assert (after.first, after.state, after.charged) == (False, before.state, before.charged)
    assert sums(ledger, DAY) == [(before.charged["usd"], 0)]


@pytest.mark.parametrize("first", ["expire_charge", "expire_release"])
@pytest.mark.parametrize(
    ("second", "charged"), [("settle", 30), ("release", 0)], ids=["settle", "release"]
)
def test_who_was_thought_dead_corrects_it_once(
    ledger: Ledger, first: SettlementKind, second: SettlementKind, charged: int
) -> None:
    admit(ledger, call("1", 100, DAY))
    settle(ledger, "1", first)
    assert settle(ledger, "1", second, usd=30).first
    assert not settle(ledger, "1", "settle", usd=99).first
    assert sums(ledger, DAY) == [(charged, 0)]


@pytest.mark.parametrize("kind", ["expire_charge", "expire_release"])
def test_what_has_expired_does_not_expire_again(ledger: Ledger, kind: SettlementKind) -> None:
    admit(ledger, call("1", 100, DAY))
    settle(ledger, "1", "expire_release")
    assert not settle(ledger, "1", kind).first
    assert sums(ledger, DAY) == [(0, 0)]


def test_an_overrun_is_booked_whole(ledger: Ledger) -> None:
    admit(ledger, call("1", 100, DAY))
    assert settle(ledger, "1", usd=5000).charged["usd"] == 5000
    assert sums(ledger, DAY) == [(5000, 0)]
    assert deny(ledger, call("2", 0, DAY)).reason == "exhausted"


def test_zero_is_zero_and_what_is_not_named_is_charged_as_reserved(ledger: Ledger) -> None:
    admit(ledger, call("1", 100, DAY, CALLS))
    assert settle(ledger, "1", usd=0).charged == {"usd": 0, "tokens": 0, "calls": 1}
    assert sums(ledger, DAY, CALLS) == [(0, 0), (1, 0)]


def test_nothing_reserved_is_settled_as_nothing(ledger: Ledger) -> None:
    admit(ledger, call("1", 0, DAY))
    settle(ledger, "1", "expire_charge")
    assert sums(ledger, DAY) == [(0, 0)]


def test_what_was_never_admitted_is_unknown(ledger: Ledger) -> None:
    settled = settle(ledger, "1", usd=10)
    assert (settled.state, settled.first, settled.charged) == (State.UNKNOWN, False, {})
    admit(ledger, call("1", 100, DAY))


def test_an_admission_that_comes_after_its_release_reserves_nothing(ledger: Ledger) -> None:
    assert settle(ledger, "1", "release").state is State.RELEASED
    assert admit(ledger, call("1", 100, DAY)).state is State.RELEASED
    assert settle(ledger, "1", usd=50).state is State.RELEASED
    assert sums(ledger, DAY) == [(0, 0)]


def test_a_batch_is_settled_in_order(ledger: Ledger) -> None:
    ids = [str(number) for number in range(5)]
    for id in ids:
        admit(ledger, call(id, 10, DAY))
    batch = [
        Settlement(id=id, tenant="acme", kind="settle", amounts={"usd": len(id) + 3})
        for id in [*ids, "0", "unheard"]
    ]
    admit(ledger, replace(call("0", 10, DAY), tenant="other"))
    batch.insert(2, replace(batch[0], tenant="other", amounts={"usd": 7}))
    answers = ledger.settle(batch)
    assert [answer.id for answer in answers] == [entry.id for entry in batch]
    assert [answer.first for answer in answers] == [True] * 6 + [False] * 2
    assert sums(ledger, DAY) == [(5 * 4, 0)]
    assert ledger.standings("other", [DAY.key])[DAY.key].spent == 7
    assert ledger.settle([]) == []


def test_amounts_that_are_none_change_nothing(ledger: Ledger) -> None:
    admit(ledger, call("1", 100, DAY))
    for wrong in (-1, 2**53, 10**400, True):
        with pytest.raises(BadAmount):
            settle(ledger, "1", usd=wrong)
        with pytest.raises(BadAmount):
            ledger.raise_spent("acme", DAY, wrong)
        with pytest.raises(BadAmount):
            ledger.bump("key", by=wrong, window_seconds=60)
    assert sums(ledger, DAY) == [(0, 100)]


# Periods


def test_a_call_is_settled_in_the_period_of_its_reservation(
    ledger: Ledger, clock: SetClock
) -> None:
    admit(ledger, call("1", 100, DAY))
    clock.step(13 * 3600)
    tomorrow = replace(DAY, key=DAY.key + "+1", ends=ENDS + timedelta(days=1))
    admit(ledger, call("2", 100, tomorrow))
    settle(ledger, "1", usd=60)
    assert sums(ledger, DAY, tomorrow) == [(60, 0), (0, 100)]
    assert [row.key for row in ledger.current()] == [tomorrow.key]


def test_current_tells_all_that_runs_now(ledger: Ledger) -> None:
    admit(ledger, call("1", 100, DAY, TOTAL, CALLS))
    assert {row.key: (row.unit, row.limit, row.ends) for row in ledger.current()} == {
        node.key: (node.unit, node.limit, node.ends) for node in (DAY, TOTAL, CALLS)
    }


def test_a_loss_is_made_good_from_the_traces(ledger: Ledger) -> None:
    ledger.raise_spent("acme", DAY, 400)
    assert sums(ledger, DAY) == [(400, 0)]
    ledger.raise_spent("acme", DAY, 300)
    assert sums(ledger, DAY) == [(400, 0)]
    assert ledger.current()[0].limit == 1000
    assert deny(ledger, call("1", 601, DAY)).reason == "too_large"


def test_a_settlement_counts_for_as_long_as_the_node_is_kept(
    ledger: Ledger, clock: SetClock
) -> None:
    for id in "123":
        admit(ledger, call(id, 100, DAY, lease_seconds=86_400 * 60))
    settle(ledger, "1", usd=60)
    clock.step((GRACE - timedelta(days=1)).total_seconds())
    settle(ledger, "2", usd=7)
    assert sums(ledger, DAY) == [(67, 100)]
    clock.step(86_400 * 3)
    assert settle(ledger, "3", usd=5).first, "the budget is long gone"


# Paces


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


# Leases


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


# Marks, counters, holds


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


# The clock


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


# Opened again


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
