"""Traces as rows: which field is in which column, and back again.

A field of ``Trace`` that has no column here is kept in ``details``, so a new one is never lost;
it gets a column, by a migration, when lists, filters or sums need it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.traces import ActionType, AgentAction, Outcome, Trace
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.storage.codec import from_json, to_json, trace_fields
from llmtrace.storage.sqlite_values import (
    count_in,
    maybe_count_in,
    text_in,
    text_out,
    time_in,
    time_out,
)

type SqlValue = str | bytes | int | float | None
type Row = Sequence[Any]


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class _Column:
    """How a field's value becomes a column's, and the other way round."""

    to_sql: Callable[[Any], SqlValue] = _same
    to_field: Callable[[Any], Any] = _same


_TEXT: Final = _Column(text_in, text_out)
_COUNT: Final = _Column(count_in)
_MAYBE_COUNT: Final = _Column(maybe_count_in)
_NUMBER: Final = _Column()


def _word(kind: Callable[[Any], Any]) -> _Column:
    return _Column(_same, kind)


_TRACE: Final[Mapping[str, _Column]] = {
    "trace_id": _TEXT,
    "started_at": _Column(time_in, time_out),
    "tenant": _TEXT,
    "agent": _TEXT,
    "outcome": _word(Outcome),
    "run": _TEXT,
    "session": _TEXT,
    "client": _TEXT,
    "client_version": _TEXT,
    "provider": _TEXT,
    "dialect": _TEXT,
    "operation": _TEXT,
    "mode": _TEXT,
    "method": _TEXT,
    "host": _TEXT,
    "path": _TEXT,
    "model": _TEXT,
    "model_answered": _TEXT,
    "response_id": _TEXT,
    "stream": _Column(_same, bool),
    "status": _MAYBE_COUNT,
    "verdict": _word(Verdict),
    "error_code": _TEXT,
    "error": _TEXT,
    "usage_source": _word(UsageSource),
    "service_tier": _TEXT,
    "cost_nano_usd": _MAYBE_COUNT,
    "price_version": _TEXT,
    "plan": _TEXT,
    "ttft_ms": _NUMBER,
    "duration_ms": _NUMBER,
    "stop_reason": _TEXT,
    "conversation": _TEXT,
    "parent_conversation": _TEXT,
    "turn": _COUNT,
}
_USAGE: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "cache_audio_read_tokens",
    "output_audio_tokens",
    "reasoning_tokens",
    "web_searches",
)
_MORE_USAGE: Final = tuple(field.name for field in fields(Usage) if field.name not in _USAGE)
"""Counts that few calls have: they are in ``details``, where they are not 0."""
_DETAILS: Final = tuple(
    field.name
    for field in fields(Trace)
    if field.name not in {*_TRACE, "usage", "findings", "actions"}
)
_FINDING: Final[Mapping[str, _Column]] = {
    "kind": _TEXT,
    "severity": _word(Severity),
    "confidence": _NUMBER,
    "location": _TEXT,
    "start": _COUNT,
    "end": _COUNT,
    "detector": _TEXT,
    "verdict": _word(Verdict),
    "rule": _TEXT,
}
_ACTION: Final[Mapping[str, _Column]] = {
    "action_type": _word(ActionType),
    "name": _TEXT,
    "arguments": _TEXT,
    "call_id": _TEXT,
    "success": _Column(_same, lambda value: None if value is None else bool(value)),
    "result": _TEXT,
}

TRACE_COLUMNS: Final = (
    "id",
    *_TRACE,
    *_USAGE,
    "finding_count",
    "action_count",
    "details",
)
FINDING_COLUMNS: Final = ("trace", "position", *_FINDING)
ACTION_COLUMNS: Final = ("trace", "position", *_ACTION)


def insert_sql(table: str, columns: Sequence[str]) -> str:
    """Return the statement that writes a row, and replaces the one with its key."""
    names = ", ".join(f'"{name}"' for name in columns)
    places = ", ".join("?" * len(columns))
    return " ".join(("INSERT OR REPLACE INTO", table, "(", names, ") VALUES (", places, ")"))


def select_sql(table: str, columns: Sequence[str], *rest: str) -> str:
    """Return the statement that reads columns; ``rest`` is fixed SQL, never anybody's text."""
    names = ", ".join(f'"{name}"' for name in columns)
    return " ".join(("SELECT", names, "FROM", table, *rest))


def trace_row(row_id: int, trace: Trace) -> list[SqlValue]:
    """Return the values of ``TRACE_COLUMNS``."""
    usage = trace.usage
    kept = {name: getattr(trace, name) for name in _DETAILS}
    if more := {name: count for name in _MORE_USAGE if (count := getattr(usage, name))}:
        kept["usage"] = more
    details = to_json(kept)
    return [
        row_id,
        *(column.to_sql(getattr(trace, name)) for name, column in _TRACE.items()),
        *(count_in(getattr(usage, name)) for name in _USAGE),
        len(trace.findings),
        len(trace.actions),
        details.decode(),
    ]


def trace_of(row: Row, findings: Sequence[Finding], actions: Sequence[AgentAction]) -> Trace:
    """Build the trace of a row of ``TRACE_COLUMNS``."""
    scalars = zip(_TRACE.items(), row[1:], strict=False)
    at = 1 + len(_TRACE)
    kept = from_json(row[-1])
    more = kept.pop("usage", {})
    return Trace(
        **{name: column.to_field(value) for (name, column), value in scalars},
        **trace_fields(kept),
        usage=Usage(**dict(zip(_USAGE, row[at : at + len(_USAGE)], strict=True)), **more),
        findings=tuple(findings),
        actions=tuple(actions),
    )


def finding_rows(row_id: int, trace: Trace) -> Iterable[list[SqlValue]]:
    """Return the values of ``FINDING_COLUMNS``, a row for each finding."""
    return _rows(row_id, trace.findings, _FINDING)


def action_rows(row_id: int, trace: Trace) -> Iterable[list[SqlValue]]:
    """Return the values of ``ACTION_COLUMNS``, a row for each action."""
    return _rows(row_id, trace.actions, _ACTION)


def finding_of(row: Row) -> Finding:
    """Build the finding of a row of ``FINDING_COLUMNS``."""
    return Finding(**_values(row, _FINDING))


def action_of(row: Row) -> AgentAction:
    """Build the action of a row of ``ACTION_COLUMNS``."""
    return AgentAction(**_values(row, _ACTION))


def _rows(
    row_id: int, items: Sequence[object], columns: Mapping[str, _Column]
) -> Iterable[list[SqlValue]]:
    for position, item in enumerate(items):
        values = (column.to_sql(getattr(item, name)) for name, column in columns.items())
        yield [row_id, position, *values]


def _values(row: Row, columns: Mapping[str, _Column]) -> dict[str, Any]:
    pairs = zip(columns.items(), row[2:], strict=True)
    return {name: column.to_field(value) for (name, column), value in pairs}
