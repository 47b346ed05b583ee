"""What a call is held to, as one question; what was found for the last one counts in its time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmtrace.config.limits import CostCapsConfig, RateLimitingConfig
from llmtrace.limits.bounds import Bounder, Outgoing
from llmtrace.limits.budgets import Budgets, Payer
from llmtrace.limits.limiter import Limiter, Prepared, Who
from llmtrace.limits.rates import Rates
from llmtrace.limits.refusals import Refused
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.ledger import Denied
from llmtrace.testing.budgets import MODEL, PRICES, RESERVED

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
CHAT = Route(provider="openai", dialect="openai.chat", operation="chat")
CAPS = [
    {"window": "hourly", "hard_limit_usd": "1"},
    {"window": "daily", "soft_limit_usd": "2"},
]


@pytest.fixture(scope="module")
def prices() -> PriceBook:
    return PriceBook(custom_models=PRICES["custom_models"])


def limiter(prices: PriceBook, *, rates: Any = None, **section: Any) -> Limiter:
    config = CostCapsConfig(enabled=True, default_budget_caps=CAPS, **section)  # type: ignore[arg-type]  # pydantic reads it
    return Limiter(
        Bounder(config, prices),
        budgets=Budgets(config),
        rates=Rates(RateLimitingConfig(enabled=True, **rates)) if rates else None,
        owner="worker",
        lease_seconds=60,
        counts_plans=config.plan_traffic == "count",
    )


def who(agent: str = "a", **more: Any) -> Who:
    return Who(payer=Payer(tenant="t", agent=agent), **more)


def call(**more: Any) -> Outgoing:
    body: Json = {"model": MODEL, "max_tokens": 100, "messages": []}
    return Outgoing(route=CHAT, view=RequestView(model=MODEL), body=body, size=60, at=NOON, **more)


def prepared(of: Limiter, whose: Who | None = None, *, at: datetime = NOON) -> Prepared:
    found = of.prepare(whose or who(), call(), id="call", now=at)
    assert isinstance(found, Prepared)
    return found


def test_budgets_and_rates_are_one_question(prices: PriceBook) -> None:
    rates = {"requests_per_second": 5, "tokens_per_minute": 50}
    admission = prepared(limiter(prices, rates=rates)).admission
    assert [(node.unit, node.limit) for node in admission.nodes] == [("usd", 10**9), ("usd", None)]
    assert [pace.unit for pace in admission.paces] == ["calls", "tokens"]
    assert admission.amounts == {"usd": RESERVED, "tokens": 50, "calls": 1}
    assert (admission.strict, admission.owner, admission.lease_seconds) == (True, "worker", 60)


def test_a_budget_begins_anew_with_its_period(prices: PriceBook) -> None:
    of = limiter(prices)
    first = prepared(of).admission.nodes
    assert prepared(of, at=NOON + timedelta(minutes=59)).admission.nodes is first
    later = prepared(of, at=NOON + timedelta(minutes=60)).admission.nodes
    assert later[0].key != first[0].key
    assert later[1] == first[1]


def test_each_agent_has_its_own(prices: PriceBook) -> None:
    of = limiter(prices)
    assert prepared(of, who("a")).admission.nodes != prepared(of, who("b")).admission.nodes


def test_headers_are_looked_at_each_time(prices: PriceBook) -> None:
    header = {"name": "x-team", "requests_per_second": 1}
    of = limiter(prices, rates={"requests_per_second": None, "headers": [header]})
    keys = [
        [pace.key for pace in prepared(of, who(headers={"x-team": team})).admission.paces]
        for team in ("red", "blue", "red")
    ]
    assert keys[0] == keys[2] != keys[1]
    assert prepared(of).admission.paces == ()


@pytest.mark.parametrize(("traffic", "budgets"), [("count", 2), ("ignore", 0)])
def test_calls_under_a_plan_count_or_not(prices: PriceBook, traffic: str, budgets: int) -> None:
    of = limiter(prices, plan_traffic=traffic)
    assert len(prepared(of, who(plan="max")).budgets) == budgets
    assert len(prepared(of).budgets) == 2


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [("deny", False), ("allow", True)],
)
def test_all_budgets_must_let_a_call_go_unbooked(
    prices: PriceBook, budget: str, allowed: bool
) -> None:
    caps = [{**cap, "on_store_unavailable": "allow"} for cap in CAPS]
    caps[1]["on_store_unavailable"] = budget
    config = CostCapsConfig(enabled=True, default_budget_caps=caps)  # type: ignore[arg-type]  # as above
    of = Limiter(
        Bounder(config, prices),
        budgets=Budgets(config),
        rates=None,
        owner="",
        lease_seconds=60,
    )
    assert prepared(of).may_go_unbooked is allowed


def test_a_denial_is_told_by_what_denied_it(prices: PriceBook) -> None:
    of = limiter(prices, rates={"requests_per_second": 5})
    ready = prepared(of)
    by_budget = Denied(
        reason="exhausted", requested=RESERVED, node=ready.admission.nodes[0], spent=10**9
    )
    by_rate = Denied(reason="paced", requested=1, pace=ready.admission.paces[0], retry_after=0.2)
    assert of.refuse(ready, by_budget, now=NOON).code == "cost_cap_exceeded"
    assert of.refuse(ready, by_rate, now=NOON).code == "rate_limit_exceeded"


def test_a_call_over_its_token_cap_is_refused_before_anybody_is_asked(prices: PriceBook) -> None:
    of = limiter(prices, default_token_cap={"max_completion_tokens": 99})
    refused = of.prepare(who(), call(), id="call", now=NOON)
    assert isinstance(refused, Refused)
    assert refused.code == "token_cap_exceeded"
