"""Which budgets a call falls under."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.config import Config
from llmtrace.limits.budgets import Budget, Budgets, Payer, hold_of, key_part, node_key, pattern
from llmtrace.limits.windows import Period

AT = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
PAYER = Payer(tenant="acme", agent="scout", key_id="a1b2c3d4e5f6")
DAILY = {"window": "daily", "hard_limit_usd": 20}


def budgets(caps: Any, **given: Any) -> Budgets:
    return Budgets(Config.model_validate({"cost_caps": caps}).cost_caps, **given)


def found(
    caps: Any, payer: Payer = PAYER, model: str = "gpt-4o", provider: str = "openai", **given: Any
) -> list[tuple[str, str, str, int | None]]:
    asked = budgets(caps, **given).budgets(payer, provider=provider, model=model, at=AT)
    return [(each.scope, each.name, each.window, each.hard) for each in asked]


def one(caps: Any, at: datetime = AT) -> Budget:
    (budget,) = budgets(caps).budgets(PAYER, provider="openai", model="gpt-4o", at=at)
    return budget


def test_each_agent_has_the_default_budget_for_itself() -> None:
    caps = {"default_budget_caps": [DAILY]}
    assert found(caps) == [("agent", "scout", "daily", 20 * 10**9)]
    assert found(caps, Payer(tenant="acme", agent="other"))[0][1] == "other"


@pytest.mark.parametrize(
    ("scope", "name"),
    [("agent", "scout"), ("tenant", "acme"), ("key", "a1b2c3d4e5f6"), ("model", "gpt-4o")],
)
def test_any_scope_may_have_the_default(scope: str, name: str) -> None:
    caps = {"default_scope": scope, "default_budget_caps": [DAILY]}
    assert found(caps) == [(scope, name, "daily", 20 * 10**9)]


def test_what_has_its_own_budget_has_no_default() -> None:
    own = [{"window": "weekly", "hard_limit_usd": 5}]
    caps = {"default_budget_caps": [DAILY], "agents": [{"agent_id": "scout", "budget_caps": own}]}
    assert found(caps) == [("agent", "scout", "weekly", 5 * 10**9)]
    assert found(caps, Payer(tenant="acme", agent="other")) == [
        ("agent", "other", "daily", 20 * 10**9)
    ]


def test_an_empty_list_takes_the_limit_away() -> None:
    caps = {"default_budget_caps": [DAILY], "agents": [{"agent_id": "scout", "budget_caps": []}]}
    assert found(caps) == []


def test_a_token_cap_alone_leaves_the_default_budget() -> None:
    own = {"agent_id": "scout", "token_cap": {"max_total_tokens": 5}}
    assert len(found({"default_budget_caps": [DAILY], "agents": [own]})) == 1


def test_budgets_of_all_scopes_hold_together() -> None:
    cap = [{"window": "monthly", "hard_limit_usd": 100}]
    caps = {
        "default_budget_caps": [DAILY],
        "tenants": [{"tenant_id": "acme", "budget_caps": cap}],
        "keys": [{"key_id": "a1b2c3d4e5f6", "budget_caps": cap}],
        "models": [{"model": "gpt-*", "budget_caps": cap}],
    }
    assert [scope for scope, *_ in found(caps)] == ["agent", "key", "model", "tenant"]
    stranger = Payer(tenant="other", agent="scout")
    assert [scope for scope, *_ in found(caps, stranger, model="o1")] == ["agent"]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("GPT-4o-mini", "openai"),
        ("gpt-4o-mini-2024-07-18", "openai"),
        ("openai/gpt-4o-mini", "openrouter"),
    ],
)
def test_all_names_of_a_model_pay_into_one_budget(model: str, provider: str) -> None:
    caps = {"models": [{"model": "gpt-4o-mini", "budget_caps": [DAILY]}]}
    assert found(caps, model=model, provider=provider) == [
        ("model", "gpt-4o-mini", "daily", 20 * 10**9)
    ]


def test_models_that_fit_one_entry_share_its_budget() -> None:
    caps = {
        "models": [
            {"model": "claude-opus-*", "budget_caps": [DAILY]},
            {"model": "*", "budget_caps": [{"window": "total", "hard_limit_usd": 1}]},
        ]
    }
    for model in ("claude-opus-4-5", "claude-opus-4-1"):
        assert found(caps, model=model)[0][1:3] == ("claude-opus-*", "daily")
    assert found(caps, model="gpt-4o")[0][1:3] == ("*", "total")
    assert found(caps, model="")[0][1] == "*"


def test_an_agent_without_a_key_has_no_budget_of_a_key() -> None:
    caps = {"default_scope": "key", "default_budget_caps": [DAILY]}
    assert found(caps, Payer(tenant="acme", agent="scout")) == []


def test_a_period_is_of_the_tenant_s_zone() -> None:
    caps = {
        "time_zone": "America/New_York",
        "default_budget_caps": [DAILY],
        "tenants": [{"tenant_id": "acme", "time_zone": "Asia/Kathmandu"}],
    }
    known = budgets(caps)
    start = {
        tenant: known.budgets(Payer(tenant=tenant, agent="x"), provider="openai", model="m", at=AT)[
            0
        ].period.start
        for tenant in ("acme", "other")
    }
    assert start["acme"] == datetime(2026, 11, 20, 18, 15, tzinfo=UTC)
    assert start["other"] == datetime(2026, 11, 21, 5, tzinfo=UTC)


def test_the_ledger_is_told_key_limit_and_end() -> None:
    node = one({"default_budget_caps": [DAILY]}).node
    assert node.key == "cost|agent|scout|daily|2026-11-21T00:00:00Z"
    assert (node.unit, node.limit) == ("usd", 20 * 10**9)
    assert node.ends == datetime(2026, 11, 22, tzinfo=UTC)


def test_a_new_period_is_a_new_key_and_the_same_one_is_not() -> None:
    caps = {"default_budget_caps": [DAILY]}
    today, later, tomorrow = (
        one(caps, at).node.key
        for at in (AT, AT.replace(hour=23, minute=59), datetime(2026, 11, 22, tzinfo=UTC))
    )
    assert today == later != tomorrow


def test_a_total_has_no_end() -> None:
    node = one({"default_budget_caps": [{"window": "total", "hard_limit_usd": 1}]}).node
    assert (node.key, node.ends) == ("cost|agent|scout|total|ever", None)


def test_a_soft_limit_alone_is_counted_and_refuses_nothing() -> None:
    soft = one({"default_budget_caps": [{"window": "daily", "soft_limit_usd": 5}]})
    assert (soft.node.limit, soft.hard, soft.soft) == (None, None, 5 * 10**9)
    assert hold_of([soft]) == "soft"
    assert hold_of([soft, one({"default_budget_caps": [DAILY]})]) == "hard"
    assert hold_of([]) == "none"


@pytest.mark.parametrize(
    ("cap", "fails_open"),
    [
        ({"hard_limit_usd": 1}, False),
        ({"soft_limit_usd": 1}, True),
        ({"hard_limit_usd": 1, "on_store_unavailable": "allow"}, True),
        ({"soft_limit_usd": 1, "on_store_unavailable": "deny"}, False),
    ],
)
def test_only_soft_budgets_fail_open_unless_said(cap: dict[str, Any], fails_open: bool) -> None:
    assert one({"default_budget_caps": [{"window": "daily", **cap}]}).fails_open is fails_open


def test_the_least_of_one_s_own_token_caps_counts() -> None:
    known = budgets(
        {
            "default_token_cap": {"max_total_tokens": 1},
            "agents": [{"agent_id": "scout", "token_cap": {"max_prompt_tokens": 10}}],
            "models": [
                {"model": "gpt-*", "token_cap": {"max_prompt_tokens": 20, "max_total_tokens": 30}}
            ],
        }
    )
    cap = known.token_cap(PAYER, provider="openai", model="gpt-4o")
    assert (cap.max_prompt_tokens, cap.max_total_tokens) == (10, 30)
    other = known.token_cap(Payer(tenant="t", agent="a"), provider="openai", model="o1")
    assert other.max_total_tokens == 1


NAMES = st.text(max_size=300)


@given(one=NAMES, other=NAMES)
def test_two_names_never_share_a_key(one: str, other: str) -> None:
    assert (key_part(one) == key_part(other)) == (one == other)
    assert len(key_part(one)) <= 96
    assert "|" not in key_part(one)
    assert key_part(one).isascii()


def test_no_name_can_be_made_to_look_like_the_hash_of_another() -> None:
    long = "x" * 500
    assert key_part(key_part(long)) != key_part(long)
    assert key_part("\ud800") != key_part("\udfff")


def test_keys_are_short_enough_for_the_ledger() -> None:
    key = node_key("tenant", "\N{GRINNING FACE}" * 500, "monthly", Period(AT, AT))
    assert len(key) <= 300


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("GPT-*", "gpt-4o", True),
        ("*-mini", "gpt-4o-mini", True),
        ("gpt.4o", "gpt-4o", False),
        ("*", "", True),
        ("a*b*c", "a-b-c", True),
        ("a[b]", "ab", False),
    ],
)
def test_only_the_star_is_a_wildcard(glob: str, name: str, fits: bool) -> None:
    assert bool(pattern(glob).fullmatch(name)) is fits


def test_what_is_remembered_ends_with_its_period_and_comes_back_with_the_clock() -> None:
    known = budgets({"default_budget_caps": [DAILY, {"window": "total", "hard_limit_usd": 1}]})

    def starts(at: datetime) -> list[datetime | None]:
        asked = known.budgets(PAYER, provider="openai", model="gpt-4o", at=at)
        return [budget.period.start for budget in asked]

    tomorrow = datetime(2026, 11, 22, tzinfo=UTC)
    today = datetime(2026, 11, 21, tzinfo=UTC)
    assert starts(AT) == starts(AT) == [today, None]
    assert starts(tomorrow) == [tomorrow, None]
    assert starts(AT) == [today, None]
