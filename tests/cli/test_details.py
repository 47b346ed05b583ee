import pytest

from llmtrace.cli.details import decision, facts
from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Coverage, PlanWindow
from llmtrace.domain.usage import Usage
from llmtrace.testing.records import a_trace


def test_every_line_says_something() -> None:
    assert facts(a_trace(run="brave-otter"))["caller"] == "builder (tenant acme, run brave-otter)"
    assert all(facts(a_trace(plan="p")).values())


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("call", Verdict)
def test_a_verdict_sterner_than_that_of_the_call_was_not_carried_out(
    verdict: Verdict, call: Verdict
) -> None:
    sterner = list(Verdict).index(verdict) > list(Verdict).index(call)
    assert decision(verdict, call) == (f"would {verdict}" if sterner else verdict)


def test_what_is_not_known_is_left_out() -> None:
    said = facts(
        a_trace(
            client="", client_version="", conversation="", duration_ms=None, ttft_ms=None,
            cost_nano_usd=None, usage=Usage(), coverage=Coverage(),
        )
    )  # fmt: skip
    assert {"client", "conversation", "took"}.isdisjoint(said)
    assert (said["cost"], said["unread"]) == ("-", "nothing")


def test_a_model_is_named_once_where_the_provider_answered_as_asked() -> None:
    assert facts(a_trace(model="m", model_answered="m"))["model"] == "m"
    assert facts(a_trace(model="m", model_answered="m-1"))["model"] == "m (answered: m-1)"


def test_a_speed_is_told_of_streams_alone() -> None:
    assert "139 tokens/s" in facts(a_trace())["took"]
    assert "tokens/s" not in facts(a_trace(stream=False))["took"]


def test_a_plan_is_told_with_what_is_used_up() -> None:
    windows = (PlanWindow(name="5h", used=0.36), PlanWindow(name="7d", status="allowed"))
    said = facts(a_trace(plan="claude-subscription", plan_windows=windows))
    assert said["plan"] == "claude-subscription; 5h 36% used"
    assert "not charged" in said["cost"]
    assert "not charged" not in facts(a_trace())["cost"]


def test_what_has_no_price_is_told_beside_the_cost() -> None:
    said = facts(a_trace(price_version="genai-prices/1@2026-11-21+unpriced:code_execution"))
    assert "(without a price: code_execution)" in said["cost"]
    assert "without a price" not in facts(a_trace())["cost"]
