from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest

from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Coverage, Gap, Outcome, Record, Trace
from llmtrace.domain.usage import Usage, UsageSource

TRACE = Trace(trace_id="1", started_at=datetime(2026, 3, 4, tzinfo=UTC), tenant="t", agent="a")


def test_a_trace_begins_with_nothing_claimed() -> None:
    assert TRACE.outcome is Outcome.PENDING
    assert TRACE.verdict is Verdict.ALLOW
    assert TRACE.usage_source is UsageSource.NONE
    assert TRACE.cost_nano_usd is None


@pytest.mark.parametrize(
    ("tokens", "ttft_ms", "duration_ms", "speed"),
    [
        pytest.param(100, 500.0, 2_500.0, 50.0, id="streamed"),
        pytest.param(0, 500.0, 2_500.0, None, id="no-tokens"),
        pytest.param(100, None, 2_500.0, None, id="no-first-token"),
        pytest.param(100, 500.0, None, None, id="not-ended"),
        pytest.param(100, 2_500.0, 2_500.0, None, id="all-at-once"),
        pytest.param(100, 2_500.0, 2_503.0, None, id="nearly-at-once"),
        pytest.param(100, 3_000.0, 2_500.0, None, id="clock-that-lies"),
    ],
)
def test_tokens_per_second(
    tokens: int, ttft_ms: float | None, duration_ms: float | None, speed: float | None
) -> None:
    usage = Usage(output_tokens=tokens)
    trace = replace(TRACE, usage=usage, ttft_ms=ttft_ms, duration_ms=duration_ms)
    assert replace(trace, stream=True).tokens_per_second == speed
    assert trace.tokens_per_second is None  # a whole answer comes at once


def test_what_was_not_read_adds_up() -> None:
    gaps = (Gap(reason="media", size=3), Gap(reason="limit", size=4))
    assert Coverage(gaps=gaps).unread_bytes == 7
    assert Coverage().unread_bytes == 0


def test_values_are_frozen_and_compare_by_what_they_hold() -> None:
    assert Record(trace=TRACE) == Record(trace=replace(TRACE))
    with pytest.raises(FrozenInstanceError):
        setattr(TRACE, "tenant", "x")  # noqa: B010  the types forbid it as well
