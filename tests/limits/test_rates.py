"""How fast calls may come."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmtrace.config import Config
from llmtrace.limits.budgets import Payer
from llmtrace.limits.rates import (
    MINUTE_NS,
    SECOND_NS,
    Limit,
    Rates,
    bounded_tokens,
    ratelimit_headers,
    too_fast,
)
from llmtrace.storage.ledger import DenialReason, Denied, PaceState

PAYER = Payer(tenant="acme", agent="scout")


def limits(
    section: Any, payer: Payer = PAYER, model: str = "gpt-4o", **headers: str
) -> tuple[Limit, ...]:
    config = Config.model_validate({"rate_limiting": section}).rate_limiting
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Rates(config).limits(payer, provider="openai", model=model, headers=named)


def keys(found: tuple[Limit, ...]) -> list[str]:
    return [limit.pace.key for limit in found]


NONE = {"requests_per_second": None}


def test_a_tenant_has_the_default_rate() -> None:
    (found,) = limits({})
    assert found.pace.key == "rate|tenant|acme|calls"
    assert (found.pace.emission_ns, found.pace.burst) == (10_000_000, 200)


def test_without_a_rate_there_is_no_pace() -> None:
    assert limits(NONE) == ()


def test_tokens_have_a_pace_of_their_own() -> None:
    calls, tokens = limits({"tokens_per_minute": 60_000})
    assert (calls.pace.unit, tokens.pace.unit) == ("calls", "tokens")
    assert (tokens.pace.emission_ns, tokens.pace.burst) == (1_000_000, 60_000)


def test_an_override_stands_in_the_place_of_the_default() -> None:
    section = {"tenant_overrides": {"acme": {"requests_per_second": 5}}}
    (found,) = limits(section)
    assert (found.pace.emission_ns, found.pace.burst) == (200_000_000, 10)
    (other,) = limits(section, Payer(tenant="other", agent="scout"))
    assert other.pace.burst == 200


@pytest.mark.parametrize(
    ("agent", "burst"), [("scout", 3), ("Scout", 3), ("scout-2", 5), ("other", 7)]
)
def test_its_own_name_counts_before_a_pattern(agent: str, burst: int) -> None:
    agents = {
        "scout*": {"requests_per_second": 1, "burst_size": 5},
        "*": {"requests_per_second": 1, "burst_size": 7},
        "scout": {"requests_per_second": 1, "burst_size": 3},
    }
    (found,) = limits({**NONE, "agents": agents}, Payer(tenant="acme", agent=agent))
    assert found.pace.burst == burst


def test_each_that_fits_a_pattern_has_a_pace_for_itself() -> None:
    section = {**NONE, "agents": {"*": {"requests_per_second": 1}}}
    one, other = (limits(section, Payer(tenant="acme", agent=name)) for name in ("a", "b"))
    assert keys(one) != keys(other)


def test_models_and_headers_have_rates_too() -> None:
    section = {
        **NONE,
        "models": {"gpt-*": {"requests_per_second": 2}},
        "headers": [{"name": "X-Team", "value": "ml-*", "requests_per_second": 1}],
    }
    assert keys(limits(section, x_team="ML-vision")) == [
        "rate|model|gpt-4o|calls",
        "rate|header x-team|ML-vision|calls",
    ]
    assert keys(limits(section, model="o1", x_team="sales")) == []
    assert keys(limits(section, model="o1")) == []


def test_all_names_of_a_model_share_its_pace() -> None:
    section = {**NONE, "models": {"gpt-4o-mini": {"requests_per_second": 2}}}
    for name in ("gpt-4o-mini", "GPT-4o-mini", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"):
        assert keys(limits(section, model=name)) == ["rate|model|gpt-4o-mini|calls"]
    assert keys(limits(section, model="gpt-4o")) == []


def test_a_long_header_makes_a_short_key() -> None:
    section = {**NONE, "headers": [{"name": "X-Team", "requests_per_second": 1}]}
    (found,) = limits(section, x_team="|\x00" * 10_000)
    assert len(found.pace.key) <= 300


@given(
    calls=st.floats(0.001, 1e6),
    tokens=st.integers(1, 10**9),
    burst=st.none() | st.integers(1, 10**6),
)
def test_no_pace_is_faster_than_its_rate(calls: float, tokens: int, burst: int | None) -> None:
    section = {
        **NONE,
        "agents": {
            "scout": {
                "requests_per_second": calls,
                "tokens_per_minute": tokens,
                "burst_size": burst,
            }
        },
    }
    try:
        paced, metered = limits(section)
    except ValidationError:
        assert burst is not None
        assert burst / calls > 86_400  # the ledger could not count so long
        return
    assert paced.pace.emission_ns * calls >= SECOND_NS * (1 - 1e-12)
    assert metered.pace.emission_ns * tokens >= MINUTE_NS
    assert paced.pace.burst >= 1


def test_a_call_larger_than_a_minute_s_tokens_takes_all_of_them() -> None:
    found = limits({"tokens_per_minute": 1000, "agents": {"*": {"tokens_per_minute": 500}}})
    assert bounded_tokens(100_000, found) == 500
    assert bounded_tokens(400, found) == 400
    assert bounded_tokens(100_000, limits({})) == 100_000


def denied(limit: Limit, reason: DenialReason, wait: float | None, remaining: int = 0) -> Denied:
    state = PaceState(
        key=limit.pace.key, unit="calls", burst=200, remaining=remaining, reset_seconds=1.5
    )
    return Denied(reason=reason, requested=1, pace=limit.pace, retry_after=wait, paces=(state,))


def test_a_call_that_comes_too_fast_is_told_when_to_come_back() -> None:
    (limit,) = limits({})
    found = too_fast(denied(limit, "paced", 0.3), [limit])
    assert (found.status, found.code) == (429, "rate_limit_exceeded")
    assert found.headers == {
        "x-ratelimit-limit": "200",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "2",
        "retry-after": "1",
    }
    assert found.details["retry_after_secs"] == 1
    assert "tenant 'acme' may have 100 calls a second, and 200 at once" in found.message


def test_a_call_that_never_fits_is_not_told_to_come_back() -> None:
    (limit,) = limits({})
    found = too_fast(denied(limit, "too_large", None), [limit])
    assert found.headers["x-should-retry"] == "false"
    assert "retry-after" not in found.headers


def test_a_pace_of_somebody_else_is_a_fault() -> None:
    (limit,) = limits({})
    (other,) = limits({}, Payer(tenant="other", agent="x"))
    with pytest.raises(LookupError):
        too_fast(denied(limit, "paced", 1), [other])
    with pytest.raises(LookupError):
        too_fast(Denied(reason="paced", requested=1), [other])


def test_headers_tell_of_the_tightest_pace() -> None:
    wide = PaceState(key="a", unit="calls", burst=200, remaining=150, reset_seconds=0.5)
    tight = PaceState(key="b", unit="tokens", burst=1000, remaining=10, reset_seconds=59.2)
    assert ratelimit_headers([wide, tight]) == {
        "x-ratelimit-limit": "1000",
        "x-ratelimit-remaining": "10",
        "x-ratelimit-reset": "60",
    }
    assert ratelimit_headers([]) == {}
