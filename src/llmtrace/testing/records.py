"""Traces and records for tests: one with sensible values, and strategies for any.

The strategies need Hypothesis, so this module is for test suites alone.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import strategies as st

from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import Media, MediaKind, Origin, Role
from llmtrace.domain.traces import (
    ActionType,
    AgentAction,
    Body,
    Coverage,
    Gap,
    Outcome,
    PlanWindow,
    Record,
    Span,
    Texts,
    Trace,
)
from llmtrace.domain.usage import Usage, UsageSource

NOON: Final = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)

_BASE: Final = Trace(
    trace_id="0195f000-0000-7000-8000-000000000000",
    started_at=NOON,
    tenant="acme",
    agent="builder",
    key_id="key-1",
    outcome=Outcome.OK,
    client="openai-python",
    client_version="2.1.0",
    provider="openai",
    dialect="openai.chat",
    operation="chat",
    mode="forward",
    method="POST",
    host="api.openai.com",
    path="/v1/chat/completions",
    model="gpt-5",
    model_answered="gpt-5-2026-01-01",
    response_id="chatcmpl-1",
    stream=True,
    status=200,
    usage=Usage(input_tokens=900, output_tokens=100, cache_read_tokens=400),
    usage_source=UsageSource.PROVIDER,
    cost_nano_usd=1_250_000,
    price_version="2026-03-01",
    ttft_ms=180.5,
    duration_ms=900.25,
    stop_reason="stop",
    conversation="conversation-1",
    turn=3,
    coverage=Coverage(request_bytes=2_048, answer_bytes=512, gaps=(Gap(reason="media", size=9),)),
    spans=(Span(name="request", offset_ms=0.0, duration_ms=1.5, attributes={"parts": 3}),),
    attributes={"terminal": "xterm"},
)


def numbered_id(number: int) -> str:
    """A trace id that sorts as its number does."""
    return f"0195f000-0000-7000-8000-{number:012x}"


def a_trace(number: int = 0, **changes: Any) -> Trace:
    """A finished call with values in nearly every field; ``changes`` replace fields."""
    return replace(_BASE, trace_id=numbered_id(number), **changes)


def a_record(number: int = 0, **changes: Any) -> Record:
    """A record of ``a_trace`` with small bodies; ``changes`` replace fields of the trace."""
    return Record(
        trace=a_trace(number, **changes),
        request=Body(content=b'{"messages":[{"role":"user","content":"hello"}]}'),
        answer=Body(content=b'{"choices":[]}', media_type="application/json"),
        texts=Texts(prompt="hello", answer="good day"),
    )


def a_finding(kind: str) -> Finding:
    """A finding of high severity, made by rules."""
    return Finding(
        kind=kind,
        severity=Severity.HIGH,
        confidence=0.75,
        location="messages[0].content",
        start=3,
        end=9,
        detector="rules",
    )


def life_of(number: int) -> tuple[Record, Record, Record]:
    """What is put of one call: its START, the end that a recorder gave it, and its END."""
    start = Record(
        trace=a_trace(number, outcome=Outcome.PENDING, status=None),
        request=Body(content=b'{"q":1}'),
        texts=Texts(prompt="question"),
    )
    interrupted = Record(trace=replace(start.trace, outcome=Outcome.INTERRUPTED))
    end = Record(
        trace=a_trace(number, findings=(a_finding("x"),)),
        answer=Body(content=b'{"a":1}'),
        texts=Texts(answer="reply"),
    )
    return start, interrupted, end


def whole_life_of(number: int) -> Record:
    """What a store has in the end of ``life_of``, in whichever order it came."""
    start, _, end = life_of(number)
    texts = Texts(prompt=start.texts.prompt, answer=end.texts.answer)
    return Record(trace=end.trace, request=start.request, answer=end.answer, texts=texts)


HOSTILE: Final = (
    "",
    "\0",
    "a\0b",
    '"',
    "'; --",
    "NEAR(",
    "*",
    "\ud800",
    "\U0001d538\u0301",
    "\u2028",
)
"""Strings that stores and their query languages are known to trip over."""

TEXTS: Final = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=24),
    st.text(max_size=8),  # with lone surrogates, as undecodable header bytes leave them
    st.sampled_from(
        ["", "\x00", "a\x00b", '"', "'; --", "NEAR(", "*", "\ud800", "\U0001d538\u0301", "\u2028"]
    ),
)
"""Any text, the hostile kinds more often than chance would have it."""

_COUNTS: Final = st.integers(0, 10**9)
_MILLISECONDS: Final = st.floats(0, 1e9, allow_nan=False)
_TIMES: Final = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def _tuples[T](items: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(items, max_size=3).map(tuple)


_MEDIA: Final = st.builds(
    Media,
    role=st.sampled_from(Role),
    origin=st.sampled_from(Origin),
    path=_tuples(st.one_of(st.integers(0, 99), TEXTS)),
    kind=st.sampled_from(MediaKind),
    mime=TEXTS,
    size=st.none() | _COUNTS,
    sha256=st.none() | TEXTS,
    host=st.none() | TEXTS,
)
_FINDINGS: Final = st.builds(
    lambda start, length, **values: Finding(start=start, end=start + length, **values),
    start=_COUNTS,
    length=st.integers(1, 99),
    kind=TEXTS,
    severity=st.sampled_from(Severity),
    confidence=st.floats(0, 1),
    location=TEXTS,
    detector=TEXTS,
    verdict=st.sampled_from(Verdict),
    rule=TEXTS,
)
_ACTIONS: Final = st.builds(
    AgentAction,
    action_type=st.sampled_from(ActionType),
    name=TEXTS,
    arguments=TEXTS,
    call_id=TEXTS,
    success=st.none() | st.booleans(),
    result=TEXTS,
)
_SPANS: Final = st.builds(
    Span,
    name=TEXTS,
    offset_ms=_MILLISECONDS,
    duration_ms=_MILLISECONDS,
    attributes=st.dictionaries(
        TEXTS, st.one_of(TEXTS, st.booleans(), _COUNTS, _MILLISECONDS), max_size=2
    ),
)
_USAGES: Final = st.builds(Usage, **dict.fromkeys(Usage.__dataclass_fields__, _COUNTS))
_COVERAGES: Final = st.builds(
    Coverage,
    request_bytes=_COUNTS,
    answer_bytes=_COUNTS,
    gaps=_tuples(st.builds(Gap, reason=TEXTS, size=_COUNTS, location=TEXTS)),
)
_PLAN_WINDOWS: Final = st.builds(
    PlanWindow,
    name=TEXTS,
    used=st.none() | st.floats(0, 10),
    resets_at=st.none() | _TIMES,
    status=TEXTS,
)
_BODIES: Final = st.builds(Body, content=st.binary(max_size=80), media_type=TEXTS)

_TRACE_FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "started_at": _TIMES,
    "outcome": st.sampled_from(Outcome),
    "stream": st.booleans(),
    "status": st.none() | st.integers(100, 599),
    "verdict": st.sampled_from(Verdict),
    "usage": _USAGES,
    "usage_source": st.sampled_from(UsageSource),
    "cost_nano_usd": st.none() | st.integers(0, 10**12),
    "plan_windows": _tuples(_PLAN_WINDOWS),
    "ttft_ms": st.none() | _MILLISECONDS,
    "duration_ms": st.none() | _MILLISECONDS,
    "turn": _COUNTS,
    "coverage": _COVERAGES,
    "media": _tuples(_MEDIA),
    "findings": _tuples(_FINDINGS),
    "actions": _tuples(_ACTIONS),
    "spans": _tuples(_SPANS),
    "attributes": st.dictionaries(TEXTS, TEXTS, max_size=2),
}


def traces(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Trace]:
    """Any trace; every field is drawn. ``fixed`` replaces the strategy of a field."""
    texts = dict.fromkeys(Trace.__dataclass_fields__, TEXTS)
    return st.builds(Trace, **(texts | _TRACE_FIELDS | fixed))


def records(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Record]:
    """Any record; ``fixed`` replaces the strategy of a field of its trace."""
    return st.builds(
        Record,
        trace=traces(**fixed),
        request=st.none() | _BODIES,
        answer=st.none() | _BODIES,
        texts=st.builds(Texts, prompt=TEXTS, answer=TEXTS),
    )
