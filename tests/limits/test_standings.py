from datetime import UTC, datetime, timedelta

import pytest

from llmtrace.config import Config
from llmtrace.limits.budgets import node_key
from llmtrace.limits.standings import (
    EACH,
    BudgetRow,
    budget_rows,
    configured_rows,
    unspent_rows,
)
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


DAILY = {"window": "daily", "hard_limit_usd": "0.000000009"}
CAPS = {
    "enabled": True,
    "time_zone": "Asia/Tokyo",
    "default_budget_caps": [DAILY],
    "agents": [{"agent_id": "nightly", "budget_caps": [{**DAILY, "hard_limit_usd": 80}]}],
    "keys": [{"key_id": "a1b2c3d4e5f6", "token_cap": {"max_total_tokens": 5}}],
    "models": [{"model": "gpt-*", "budget_caps": [{"window": "total", "soft_limit_usd": 1}]}],
    "tenants": [{"tenant_id": "acme", "time_zone": "Asia/Kathmandu", "budget_caps": [DAILY]}],
}


def configured(**more: object) -> list[BudgetRow]:
    caps = Config.model_validate({"cost_caps": {**CAPS, **more}}).cost_caps
    return list(configured_rows(caps, at=NOON))


def test_all_caps_are_budgets_of_which_nothing_is_spent() -> None:
    rows = configured()
    assert [(row.tenant, row.scope, row.name, row.window, row.limit) for row in rows] == [
        (EACH, "agent", EACH, "daily", 9),
        (EACH, "agent", "nightly", "daily", 80 * 10**9),
        (EACH, "model", "gpt-*", "total", None),
        ("acme", "tenant", "acme", "daily", 9),
    ]
    assert {(row.spent, row.reserved) for row in rows} == {(0, 0)}
    tokyo, kathmandu = (
        datetime(2026, 3, 4, 15, tzinfo=UTC),
        datetime(2026, 3, 4, 18, 15, tzinfo=UTC),
    )
    assert [row.resets_at for row in rows] == [tokyo, tokyo, None, kathmandu]


def test_caps_that_are_not_enabled_are_none() -> None:
    assert configured(enabled=False) == []


def test_a_default_of_tenants_is_of_each() -> None:
    assert [(row.tenant, row.name) for row in configured(default_scope="tenant")][:1] == [
        (EACH, EACH)
    ]


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        ([], [EACH, "nightly", "gpt-*", "acme"]),
        ([standing()], ["nightly", "gpt-*", "acme"]),
        ([standing(name="nightly", limit=80 * 10**9)], [EACH, "gpt-*", "acme"]),
        ([standing("tenant", "acme")], [EACH, "nightly", "gpt-*"]),
    ],
    ids=["nothing spent", "a default", "an agent's own", "a tenant's"],
)
def test_a_cap_of_which_something_is_spent_stands_there_once(
    kept: list[Standing], left: list[str]
) -> None:
    rows = unspent_rows(configured(), budget_rows(kept))
    assert [row.name for row in rows] == left


def test_only_caps_that_are_asked_for() -> None:
    rows = unspent_rows(configured(), (), tenant="other", agent="reviewer")
    assert [row.name for row in rows] == [EACH, "gpt-*"]
    rows = unspent_rows(configured(), (), tenant="acme", agent="nightly")
    assert [row.name for row in rows] == [EACH, "nightly", "gpt-*", "acme"]
