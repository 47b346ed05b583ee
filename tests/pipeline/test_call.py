from datetime import UTC, datetime

import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.credentials import Credentials
from llmtrace.providers.base import Route
from llmtrace.providers.registry import GENERIC

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def call() -> Call:
    head = RequestHead(
        method="POST",
        host="h",
        port=443,
        path="/",
        headers=(("Content-Type", "a"), ("content-type", "b"), ("X", "c")),
        peer="127.0.0.1",
        mode="forward",
        started_at=NOON,
        started=10.0,
    )
    return Call(
        head=head,
        known={"trace_id": "t", "started_at": NOON, "tenant": "t", "agent": "a"},
        credentials=Credentials([]),
        dialect=GENERIC,
        route=Route(provider="p", dialect="generic", operation="other"),
    )


def test_all_values_of_a_header_are_found_whatever_its_case(call: Call) -> None:
    assert call.head.values("content-type") == ["a", "b"]


def test_spans_count_from_the_start_in_milliseconds(call: Call) -> None:
    call.span("inspect", 10.5, 10.75)
    assert (call.spans[0].offset_ms, call.spans[0].duration_ms) == (500, 250)


def test_an_empty_gap_is_none(call: Call) -> None:
    call.gap("media", 0)
    call.gap("media", 5, "messages[0]")
    assert [(gap.reason, gap.size) for gap in call.gaps] == [("media", 5)]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.OK),
        (399, Outcome.OK),
        (400, Outcome.PROVIDER_ERROR),
        (None, Outcome.PROVIDER_ERROR),
    ],
)
def test_a_status_alone_says_how_it_went(call: Call, status: int | None, outcome: Outcome) -> None:
    call.status = status
    assert call.outcome_of_status is outcome


def test_a_trace_is_made_of_what_is_known(call: Call) -> None:
    assert call.trace.model == ""
    call.know(model="m", status=200)
    assert (call.id, call.trace.model, call.trace.status) == ("t", "m", 200)
