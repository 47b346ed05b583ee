from datetime import UTC, datetime, timedelta

import pytest

from llmtrace.limits.budgets import node_key
from llmtrace.limits.standings import BudgetRow, budget_rows
from llmtrace.limits.windows import Period
from llmtrace.storage.ledger import Standing

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
DAY = Period(NOON, NOON + timedelta(days=1))


def standing(
    scope: str = "agent", name: str = "builder", *, tenant: str = "acme", limit: int | None = 9
) -> Standing:
    key = node_key(scope, name, "daily", DAY)
    return Standing(
        key=key, tenant=tenant, unit="usd", spent=5, reserved=1, limit=limit, ends=DAY.end
    )


def test_a_budget_is_read_from_what_the_ledger_keeps() -> None:
    (row,) = budget_rows([standing(name="a|b %7C ü")])
    assert (row.tenant, row.scope, row.name, row.window) == ("acme", "agent", "a|b %7C ü", "daily")
    assert (row.spent, row.reserved, row.limit, row.remaining) == (5, 1, 9, 3)
    assert row.resets_at == DAY.end


@pytest.mark.parametrize(
    ("limit", "left"), [(None, None), (9, 3), (6, 0), (2, 0), (0, 0)], ids=range(5)
)
def test_what_is_left_is_never_below_nothing(limit: int | None, left: int | None) -> None:
    (row,) = budget_rows([standing(limit=limit)])
    assert row.remaining == left


@pytest.mark.parametrize(
    "other",
    [
        Standing(key="rate|agent|x", unit="calls"),
        Standing(key="cost|agent|x|daily|2026", unit="tokens"),
        Standing(key="cost|agent|x", unit="usd"),
        Standing(key="", unit="usd"),
    ],
    ids=range(4),
)
def test_what_is_no_budget_is_left_out(other: Standing) -> None:
    assert budget_rows([other]) == []


def test_they_come_by_tenant_scope_name_and_end() -> None:
    kept = [
        standing("tenant", "acme"),
        standing(name="z"),
        standing(tenant="a"),
        standing(name="b"),
    ]
    rows = budget_rows(kept)
    assert [(row.tenant, row.name) for row in rows] == [
        ("a", "builder"),
        ("acme", "b"),
        ("acme", "z"),
        ("acme", "acme"),
    ]


def test_only_those_that_are_asked_for() -> None:
    kept = [standing(), standing(name="other"), standing("tenant", "acme"), standing(tenant="b")]
    assert len(budget_rows(kept, tenant="acme")) == 3
    assert [row.scope for row in budget_rows(kept, tenant="acme", agent="builder")] == [
        "agent",
        "tenant",
    ]


def test_json_has_dollars_and_times() -> None:
    row = BudgetRow(
        tenant="t", scope="agent", name="a", window="daily", spent=1_500_000_000, reserved=1,
        limit=2_000_000_000, resets_at=DAY.end,
    )  # fmt: skip
    assert row.document() == {
        "tenant": "t",
        "scope": "agent",
        "name": "a",
        "window": "daily",
        "spent_usd": 1.5,
        "reserved_usd": 1e-09,
        "limit_usd": 2.0,
        "remaining_usd": 0.499999999,
        "resets_at": "2026-03-05T12:00:00Z",
    }
