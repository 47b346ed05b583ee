"""What every ledger does with budgets."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llmtrace.storage.ledger import (
    ENDS_AS,
    GRACE,
    LARGEST,
    BadAmount,
    Ledger,
    Node,
    Settlement,
    SettlementKind,
    State,
)
from llmtrace.testing.ledgers import (
    CALLS,
    DAY,
    ENDS,
    RATE,
    TOTAL,
    SetClock,
    admit,
    call,
    deny,
    settle,
    sums,
)


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
    admit(ledger, call("other", 500, DAY))
    settle(ledger, "1", first)
    assert settle(ledger, "1", second, usd=30).first
    assert not settle(ledger, "1", "settle", usd=99).first
    assert sums(ledger, DAY) == [(charged, 500)]


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
