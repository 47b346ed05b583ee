"""What ``llmtrace validate`` tells of keys, budgets, rates and runaway agents."""

from typing import Any

import pytest

from llmtrace.cli.limits import in_vain, summary
from llmtrace.config import Config

DAILY = {"window": "daily", "hard_limit_usd": 20}
HOURLY = {"window": "hourly", "soft_limit_usd": 3}
DEFAULT = {"tenant_id": "default", "budget_caps": [HOURLY]}


def told(**config: Any) -> dict[str, str]:
    return dict(summary(Config.model_validate(config)))


def warned(**config: Any) -> list[str]:
    return list(in_vain(Config.model_validate(config)))


def test_by_default_all_is_off_but_the_watch() -> None:
    assert told() == {
        "LLMTrace keys": "not asked for (auth.enabled: false)",
        "budgets": "off (cost_caps.enabled: false)",
        "rates": "off (rate_limiting.enabled: false)",
        "runaway": "watched and warned of (action: warn)",
    }
    assert warned() == []


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({}, "no caps; mode strict"),
        ({"default_budget_caps": [DAILY], "mode": "estimate"}, "1 cap (daily); mode estimate"),
        (
            {
                "default_budget_caps": [DAILY],
                "tenants": [DEFAULT],
                "keys": [{"key_id": "a1b2c3d4e5f6", "budget_caps": [DAILY]}],
                "models": [{"model": "*", "token_cap": {"max_total_tokens": 5}}],
                "default_token_cap": {"max_prompt_tokens": 5},
            },
            "3 caps (hourly, daily), 2 token caps; mode strict",
        ),
    ],
    ids=["none", "one", "of all scopes"],
)
def test_budgets_are_counted_with_their_windows(caps: dict[str, Any], said: str) -> None:
    assert told(cost_caps={"enabled": True, **caps})["budgets"] == said


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({}, "100 calls a second for each tenant"),
        (
            {"tokens_per_minute": 9, "agents": {"*": {"requests_per_second": 1}}},
            "100 calls a second and 9 tokens a minute for each tenant; 1 rate of its own",
        ),
        ({"requests_per_second": None}, "no limits"),
    ],
    ids=["default", "agents", "none"],
)
def test_rates_are_told(rates: dict[str, Any], said: str) -> None:
    assert told(rate_limiting={"enabled": True, **rates})["rates"] == said


def test_keys_and_stops_are_told() -> None:
    said = told(auth={"enabled": True}, runaway={"action": "stop"})
    assert said["LLMTrace keys"] == "asked of every call"
    assert said["runaway"] == "watched and stopped (action: stop)"
    assert told(runaway={"enabled": False})["runaway"] == "not watched (runaway.enabled: false)"


@pytest.mark.parametrize(
    ("config", "start"),
    [
        ({"cost_caps": {"default_budget_caps": [DAILY]}}, "cost_caps: written, but cost_caps.en"),
        (
            {"cost_caps": {"default_token_cap": {"max_total_tokens": 5}}},
            "cost_caps: written, but cost_caps.enabled is false",
        ),
        (
            {"rate_limiting": {"tokens_per_minute": 9}},
            "rate_limiting: written, but rate_limiting.enabled is false",
        ),
        (
            {"runaway": {"action": "stop", "enabled": False}},
            "runaway.action: stop is written, but runaway.enabled is false",
        ),
        (
            {"cost_caps": {"enabled": True, "tenants": [DEFAULT]}},
            "cost_caps.tenants: default is not the tenant of calls with a provider's key",
        ),
        (
            {
                "rate_limiting": {
                    "enabled": True,
                    "tenant_overrides": {"default": {"tokens_per_minute": 1}},
                }
            },
            "rate_limiting.tenant_overrides: default is not the tenant",
        ),
        ({"listen": "0.0.0.0:8642"}, "listen: 0.0.0.0:8642 is open to other machines"),
        ({"reverse": {"listen": "[::]:8643"}}, "reverse.listen: [::]:8643 is open to other"),
    ],
    ids=["caps", "token cap", "rates", "stop", "tenant", "rated tenant", "listen", "reverse"],
)
def test_what_is_written_in_vain_is_told(config: dict[str, Any], start: str) -> None:
    (said,) = warned(**config)
    assert said.startswith(start)


@pytest.mark.parametrize(
    "config",
    [
        {"cost_caps": {"enabled": True, "default_budget_caps": [DAILY]}},
        {"cost_caps": {"time_zone": "Europe/Berlin"}},
        {"rate_limiting": {"requests_per_second": 100, "agents": {}}},
        {"runaway": {"enabled": False}},
        {"auth": {"enabled": True}, "cost_caps": {"enabled": True, "tenants": [DEFAULT]}},
        {"auth": {"enabled": True}, "listen": "0.0.0.0:8642"},
        {"listen": "localhost:1", "reverse": {"listen": "[::1]:2"}},
        {"listen": "127.0.0.9:1", "reverse": {"listen": None}},
    ],
    ids=["caps", "zone", "defaults", "not watched", "keys", "open with keys", "names", "loopback"],
)
def test_what_holds_is_not_warned_of(config: dict[str, Any]) -> None:
    assert warned(**config) == []
