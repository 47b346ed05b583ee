"""What a call is told that does not fit, and the warnings before."""

from datetime import UTC, datetime
from typing import Any

import pytest

from llmtrace.config import Config
from llmtrace.limits.bounds import Bound
from llmtrace.limits.budgets import Budget, Budgets, Payer
from llmtrace.limits.denials import over_budget, warnings
from llmtrace.limits.refusals import Refused
from llmtrace.storage.ledger import DenialReason, Denied, Standing

AT = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
USD = 10**9
DAILY = {"window": "daily", "hard_limit_usd": 20}


def budget(**cap: Any) -> Budget:
    config = Config.model_validate({"cost_caps": {"default_budget_caps": [cap or DAILY]}})
    known = Budgets(config.cost_caps)
    (found,) = known.budgets(
        Payer(tenant="acme", agent="scout"), provider="openai", model="gpt-4o", at=AT
    )
    return found


def refusal(
    of: Budget,
    reason: DenialReason,
    *,
    spent: int = 20 * USD,
    reserved: int = 0,
    requested: int = USD,
    bound: Bound | None = None,
    retry_after: float | None = None,
    most_wait: int = 3600,
) -> Refused:
    denied = Denied(
        reason=reason,
        requested=requested,
        node=of.node,
        spent=spent,
        reserved=reserved,
        retry_after=retry_after,
    )
    return over_budget(denied, [of], bound or Bound(), at=AT, most_wait=most_wait)


def test_an_exhausted_budget_says_so_and_stops_clients() -> None:
    found = refusal(budget(), "exhausted")
    assert (found.status, found.code) == (429, "cost_cap_exceeded")
    assert found.headers == {"retry-after": "1800", "x-should-retry": "false"}
    assert found.details == {
        "scope": "agent",
        "scope_id": "scout",
        "window": "daily",
        "reason": "exhausted",
        "limit_usd": 20.0,
        "spent_usd": 20.0,
        "reserved_usd": 0.0,
        "requested_usd": 1.0,
        "resets_at": "2026-11-22T00:00:00Z",
        "retry_after_secs": 1800,
    }
    assert found.message == (
        "LLMTrace refused this call: the daily budget of agent 'scout' of tenant 'acme' is used "
        "up, $20.00 spent of $20.00. Wait until 2026-11-22T00:00:00Z, or have it raised (cost_caps "
        "in LLMTrace's configuration, agent 'scout')."
    )


def test_a_tenant_is_named_once() -> None:
    caps = {"default_scope": "tenant", "default_budget_caps": [DAILY]}
    (found,) = Budgets(Config.model_validate({"cost_caps": caps}).cost_caps).budgets(
        Payer(tenant="acme", agent="scout"), provider="openai", model="gpt-4o", at=AT
    )
    assert "the daily budget of tenant 'acme' is used up" in refusal(found, "exhausted").message


def test_a_contended_budget_asks_to_come_back_soon() -> None:
    found = refusal(budget(), "contended", spent=12 * USD, reserved=8 * USD)
    assert found.headers == {"retry-after": "2"}
    assert "$12.00 spent and $8.00 reserved of $20.00" in found.message
    assert "Try again in a few seconds" in found.message


@pytest.mark.parametrize(("told", "seconds"), [(0.1, 1), (3, 3), (900, 5), (None, 2)])
def test_a_contended_wait_is_between_one_and_five_seconds(told: float | None, seconds: int) -> None:
    found = refusal(budget(), "contended", retry_after=told)
    assert found.details["retry_after_secs"] == seconds


def test_too_large_a_call_is_told_what_would_fit() -> None:
    bound = Bound(usd=3 * USD, input_usd=USD, output_rate=10 * USD, choices=2)
    found = refusal(budget(), "too_large", spent=18 * USD, requested=3 * USD, bound=bound)
    assert found.details["max_output_tokens"] == 50_000
    assert found.headers["x-should-retry"] == "false"
    assert "it could cost $3.00, and $2.00 of $20.00 is left" in found.message
    assert "Ask for at most 50000 output tokens, wait until 2026-11-22T00:00:00Z" in found.message


def test_a_call_that_no_period_holds_is_not_told_to_wait() -> None:
    bound = Bound(usd=30 * USD, input_usd=25 * USD, output_rate=USD)
    found = refusal(budget(), "too_large", spent=0, requested=30 * USD, bound=bound)
    assert found.details["retry_after_secs"] is None
    assert found.headers == {"x-should-retry": "false"}
    assert "ait until" not in found.message
    assert "Send less, or have it raised" in found.message


def test_a_total_is_never_waited_for() -> None:
    found = refusal(budget(window="total", hard_limit_usd=20), "exhausted")
    assert (found.details["resets_at"], found.details["retry_after_secs"]) == (None, None)
    assert "retry-after" not in found.headers
    assert "Have it raised" in found.message


def test_a_budget_of_nothing_is_never_waited_for() -> None:
    found = refusal(budget(window="daily", hard_limit_usd=0), "exhausted", spent=0)
    assert found.details["retry_after_secs"] is None


def test_a_wait_is_bounded() -> None:
    assert refusal(budget(), "exhausted", most_wait=60).headers["retry-after"] == "60"


def test_a_node_of_somebody_else_is_a_fault() -> None:
    denied = Denied(
        reason="exhausted", requested=1, node=budget(window="total", hard_limit_usd=1).node
    )
    with pytest.raises(LookupError):
        over_budget(denied, [budget()], Bound(), at=AT, most_wait=1)
    with pytest.raises(LookupError):
        over_budget(Denied(reason="paced", requested=1), [budget()], Bound(), at=AT, most_wait=1)


def warned(of: Budget, spent: int) -> list[tuple[str, int]]:
    standing = Standing(key=of.node.key, spent=spent)
    return [(each.kind, each.limit) for each in warnings([of], [standing])]


BOTH = {"window": "daily", "hard_limit_usd": 20, "soft_limit_usd": 10}


@pytest.mark.parametrize(
    ("cap", "spent", "kinds"),
    [
        (BOTH, 10 * USD, []),
        (BOTH, 10 * USD + 1, ["soft_limit"]),
        (BOTH, 16 * USD - 1, ["soft_limit"]),
        (BOTH, 16 * USD, ["soft_limit", "near_limit"]),
        ({"window": "daily", "soft_limit_usd": 0}, 1, ["soft_limit"]),
        ({"window": "daily", "hard_limit_usd": 0}, 0, []),
        (DAILY, 30 * USD, ["near_limit"]),
    ],
)
def test_warnings_come_before_the_end(cap: dict[str, Any], spent: int, kinds: list[str]) -> None:
    assert [kind for kind, _ in warned(budget(**cap), spent)] == kinds


def test_a_warning_is_known_by_tenant_kind_and_period() -> None:
    of = budget(**BOTH)
    standing = Standing(key=of.node.key, spent=17 * USD)
    soft, near = warnings([of], [standing])
    assert soft.key != near.key
    assert len(soft.key) <= 300
    assert [each.key for each in warnings([of], [standing])] == [soft.key, near.key]
    assert soft.message == (
        "daily budget of agent 'scout' of tenant 'acme': $17.00 spent of a soft limit of $10.00"
    )
    assert (
        near.message
        == "daily budget of agent 'scout' of tenant 'acme': $17.00 spent of a limit of $20.00"
    )


def test_what_the_ledger_does_not_know_is_not_spent() -> None:
    assert list(warnings([budget()], [])) == []
