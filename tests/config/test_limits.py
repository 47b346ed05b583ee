"""What may be spent, and how fast, as configurations say it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmtrace.config import Config, ConfigError, load

FIVE_LINES = """\
cost_caps:
  enabled: true
  default_budget_caps:
    - window: daily
      hard_limit_usd: 20
"""

FULL = """
cost_caps:
  enabled: true
  mode: estimate
  default_scope: tenant
  default_budget_caps:
    - {window: hourly, hard_limit_usd: 0.1, soft_limit_usd: 0.08}
    - {window: total, soft_limit_usd: 1000, on_store_unavailable: deny}
  default_token_cap: {max_prompt_tokens: 1000, max_completion_tokens: 100, max_total_tokens: 1050}
  agents:
    - agent_id: claude-code
      budget_caps: [{window: weekly, hard_limit_usd: 5}]
    - agent_id: scout
      budget_caps: []
      token_cap: {max_total_tokens: 10}
  tenants: [{tenant_id: acme, time_zone: Asia/Kathmandu}]
  keys: [{key_id: a1b2c3d4e5f6, budget_caps: [{window: monthly, hard_limit_usd: 100}]}]
  models: [{model: "claude-opus-*", budget_caps: [{window: daily, hard_limit_usd: 0}]}]
  time_zone: America/New_York
  plan_traffic: ignore
  default_price: {input_per_million: 15, output_per_million: 75}
  max_output_tokens: 4096
  retry_after_seconds: 60
rate_limiting:
  enabled: true
  requests_per_second: 0.5
  burst_size: 3
  tokens_per_minute: 100000
  tenant_overrides: {acme: {requests_per_second: 5}}
  agents: {"*": {tokens_per_minute: 1000}}
  models: {"gpt-*": {requests_per_second: 2, burst_size: 2}}
  headers: [{name: X-Team, value: "ml-*", requests_per_second: 1}]
runaway:
  enabled: true
  repeats_soft: 3
  repeats_hard: 5
  tool_loop_hard: 4
  velocity_factor: 2.5
  window_minutes: 5
  hold_minutes: 30
"""


def loaded(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "llmtrace.yaml"
    path.write_text(text)
    return load(path, environ={})


def test_five_lines_set_a_daily_cap_for_each_agent(tmp_path: Path) -> None:
    caps = loaded(tmp_path, FIVE_LINES).cost_caps
    (cap,) = caps.default_budget_caps
    assert (caps.enabled, caps.mode, caps.default_scope) == (True, "strict", "agent")
    assert cap.window == "daily"
    assert cap.hard_limit_usd == Decimal(20)
    assert cap.soft_limit_usd is None


def test_all_that_can_be_said_is_read(tmp_path: Path) -> None:
    config = loaded(tmp_path, FULL)
    caps, rates, runaway = config.cost_caps, config.rate_limiting, config.runaway
    assert caps.default_budget_caps[0].hard_limit_usd == Decimal("0.1")  # not by way of a float
    assert caps.default_budget_caps[1].on_store_unavailable == "deny"
    assert caps.default_token_cap.max_total_tokens == 1050
    assert [agent.budget_caps == [] for agent in caps.agents] == [False, True]
    assert caps.tenants[0].time_zone == "Asia/Kathmandu"
    assert caps.default_price is not None
    assert caps.default_price.output_per_million == 75
    assert rates.tenant_overrides["acme"].requests_per_second == 5
    assert rates.headers[0].value == "ml-*"
    assert (runaway.velocity_factor, runaway.hold_minutes) == (2.5, 30)


def test_nothing_said_limits_nothing() -> None:
    config = Config()
    assert not config.cost_caps.enabled
    assert not config.rate_limiting.enabled
    assert config.runaway.action == "warn"


def cap(**values: Any) -> dict[str, Any]:
    entry = {"window": "daily", "hard_limit_usd": 1, **values}
    return {"cost_caps": {"default_budget_caps": [entry]}}


@pytest.mark.parametrize(
    "limit",
    [
        -1,
        float("nan"),
        "nan",
        float("inf"),
        1e400,
        True,
        [1],
        "much",
        2**53 / 1e9,
        "9007199.254740992",
        1e300,
        10**4000,
        1e-10,
        "0.0000000001",
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:20]}",
)
@pytest.mark.parametrize("key", ["hard_limit_usd", "soft_limit_usd"])
def test_no_limit_that_is_no_sum(key: str, limit: object) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(cap(**{"hard_limit_usd": None, key: limit}))


@pytest.mark.parametrize("limit", [0, -0.0, "9007199.254740991", "0.000000001", 0.1, 20])
def test_any_sum_in_whole_nano_usd_is_a_limit(limit: object) -> None:
    (read,) = Config.model_validate(cap(hard_limit_usd=limit)).cost_caps.default_budget_caps
    assert read.hard_limit_usd == Decimal(str(limit))


@pytest.mark.parametrize("value", [0, -1, True, 1.5, 2**53, float("nan"), "many", [1]])
@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("cost_caps", "max_output_tokens"),
        ("cost_caps", "retry_after_seconds"),
        ("rate_limiting", "burst_size"),
        ("rate_limiting", "tokens_per_minute"),
        ("runaway", "repeats_hard"),
    ],
)
def test_no_count_that_is_none(section: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({section: {key: value}})


@pytest.mark.parametrize("value", [0, -1, True, float("nan"), float("inf"), 1e7, "fast"])
def test_no_rate_that_is_none(value: object) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"rate_limiting": {"requests_per_second": value}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "cost_caps: {default_budget_caps: [{window: dayly, hard_limit_usd: 1}]}",
            "cost_caps.default_budget_caps[0].window: input should be 'hourly', 'daily'",
            id="window",
        ),
        pytest.param(
            "cost_caps: {default_budget_caps: [{window: daily, hard_limit: 1}]}",
            "cost_caps.default_budget_caps[0].hard_limit is no configuration key."
            " Did you mean cost_caps.default_budget_caps[0].hard_limit_usd?",
            id="key of a cap",
        ),
        pytest.param(
            "cost_caps: {default_budget_caps: [{window: daily, hard_limit_usd: true}]}",
            "caps[0].hard_limit_usd: expected dollars as a number, such as 20",
            id="no number",
        ),
        pytest.param(
            "cost_caps: {default_budget_caps: [{window: daily, soft_limit_usd: $20}]}",
            "caps[0].soft_limit_usd: expected dollars as a number, such as 20",
            id="sign of the currency",
        ),
        pytest.param(
            "cost_caps: {agents: [{agent: x, budget_caps: []}]}",
            "cost_caps.agents[0].agent is no configuration key."
            " Did you mean cost_caps.agents[0].agent_id?",
            id="key of an agent",
        ),
        pytest.param(
            "cost_caps: {default_budget_caps: [{window: daily}]}",
            "has no limit; set hard_limit_usd, soft_limit_usd or both",
            id="no limit",
        ),
        pytest.param(
            "cost_caps: {default_budget_caps: "
            "[{window: daily, hard_limit_usd: 1, soft_limit_usd: 1.5}]}",
            "soft_limit_usd is 1.5 and hard_limit_usd is 1",
            id="soft above hard",
        ),
        pytest.param(
            "cost_caps: {default_budget_caps: "
            "[{window: daily, hard_limit_usd: 1}, {window: daily, soft_limit_usd: 1}]}",
            "window daily stands twice",
            id="window twice",
        ),
        pytest.param(
            "cost_caps: {agents: [{agent_id: x}]}", "sets nothing; add budget_caps", id="empty"
        ),
        pytest.param(
            "cost_caps: {tenants: [{tenant_id: x}]}", "token_cap or time_zone", id="empty tenant"
        ),
        pytest.param(
            "cost_caps: {agents: [{agent_id: x, budget_caps: []}, {agent_id: x, token_cap: {}}]}",
            "agents has 'x' twice",
            id="agent twice",
        ),
        pytest.param(
            "cost_caps: {time_zone: Europe/Berln}", "did you mean Europe/Berlin?", id="zone"
        ),
        pytest.param(
            "cost_caps: {time_zone: America}", "is no IANA time zone", id="folder of zones"
        ),
        pytest.param(
            'cost_caps: {time_zone: "../../etc/passwd"}', "is no IANA time zone", id="way out"
        ),
        pytest.param(
            "rate_limiting: {agents: {x: {}}}", "rate_limiting.agents.x: limits nothing", id="rate"
        ),
        pytest.param(
            "rate_limiting: {headers: [{name: 'X Team', requests_per_second: 1}]}",
            "rate_limiting.headers[0].name",
            id="header",
        ),
        pytest.param(
            "rate_limiting: {headers: [{name: X-Api-Key, requests_per_second: 1}]}",
            "X-Api-Key may carry a credential",
            id="header with a key",
        ),
        pytest.param(
            "rate_limiting: {agents: {'': {requests_per_second: 1}}}",
            "a name has 1 to 200 characters",
            id="empty name",
        ),
        pytest.param(
            "runaway: {repeats_soft: 9, repeats_hard: 8}", "the warning comes first", id="runaway"
        ),
        pytest.param("cost_cap: {enabled: true}", "Did you mean cost_caps?", id="section"),
    ],
)
def test_a_slip_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert message in str(caught.value)


def test_variables_set_what_has_parts_too() -> None:
    config = load(
        environ={
            "LLMTRACE_COST_CAPS_ENABLED": "true",
            "LLMTRACE_COST_CAPS_DEFAULT_BUDGET_CAPS": "[{window: daily, hard_limit_usd: 0.3}]",
            "LLMTRACE_COST_CAPS_DEFAULT_TOKEN_CAP_MAX_TOTAL_TOKENS": "500",
            "LLMTRACE_COST_CAPS_DEFAULT_PRICE": "{input_per_million: 1, output_per_million: 2}",
            "LLMTRACE_RATE_LIMITING_TOKENS_PER_MINUTE": "1000",
        }
    )
    assert config.cost_caps.default_budget_caps[0].hard_limit_usd == Decimal("0.3")
    assert config.cost_caps.default_token_cap.max_total_tokens == 500
    assert config.cost_caps.default_price is not None
    assert config.rate_limiting.tokens_per_minute == 1000
