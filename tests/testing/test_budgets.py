"""The calls of the kit cost what they are said to cost."""

from llmtrace.config import load
from llmtrace.testing.budgets import COST, MODEL, RESERVED, body, room_for


def test_a_budget_has_room_for_so_many_calls() -> None:
    config = load(environ={}, overrides=room_for(10, mode="estimate"))
    (cap,) = config.cost_caps.default_budget_caps
    assert cap.hard_limit_usd is not None
    assert int(cap.hard_limit_usd * 10**9) == 10 * RESERVED
    assert config.cost_caps.mode == "estimate"


def test_a_call_costs_its_output() -> None:
    price = room_for(1)["cost_estimation"]["custom_models"][MODEL]
    assert price["output_per_million"] * 1000 * body()["max_tokens"] == COST
