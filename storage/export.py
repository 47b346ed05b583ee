"""Traces as JSON Lines and as CSV, one after the other: the memory it takes does not grow."""

import base64
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from llmtrace.domain.traces import Body, Record, Trace
from llmtrace.storage.base import Sighting
from llmtrace.storage.codec import to_json

CSV_FIELDS: Final = (
    "trace_id",
    "started_at",
    "tenant",
    "agent",
    "run",
    "session",
    "client",
    "client_version",
    "provider",
    "dialect",
    "operation",
    "model",
    "model_answered",
    "stream",
    "status",
    "outcome",
    "verdict",
    "error_code",
    "error",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "reasoning_tokens",
    "usage_source",
    "cost_usd",
    "price_version",
    "plan",
    "duration_ms",
    "ttft_ms",
    "tokens_per_second",
    "stop_reason",
    "conversation",
    "parent_conversation",
    "turn",
    "findings",
    "actions",
    "request_bytes",
    "answer_bytes",
    "unread_bytes",
)
"""Columns of the CSV, in order: the keys of ``trace_row``; findings and actions are counted."""

_FORMULA: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_PLAIN: Final = (
    "tenant",
    "agent",
    "key_id",
    "run",
    "session",
    "client",
    "client_version",
    "provider",
    "dialect",
    "operation",
    "mode",
    "method",
    "host",
    "path",
    "model",
    "model_answered",
    "response_id",
    "stream",
    "status",
    "outcome",
    "verdict",
    "error_code",
    "error",
)
_FINDING: Final = (
    "kind",
    "severity",
    "confidence",
    "location",
    "start",
    "end",
    "verdict",
    "rule",
    "detector",
)
_AFTER: Final = (
    "service_tier",
    "price_version",
    "plan",
    "plan_windows",
    "duration_ms",
    "ttft_ms",
    "tokens_per_second",
    "stop_reason",
    "conversation",
    "parent_conversation",
    "turn",
)


def trace_row(trace: Trace) -> dict[str, object]:
    """Return a trace as one flat JSON object, as ``traces list --json`` shows it.

    ``started_at`` is ISO 8601 in UTC, ``cost_usd`` is None where no price is known, and the
    token counts stand beside the rest. Findings and actions are lists of objects.
    """
    cost = trace.cost_nano_usd
    return {
        "trace_id": trace.trace_id,
        "started_at": trace.started_at.isoformat(),
        **{name: getattr(trace, name) for name in _PLAIN},
        **{name: getattr(trace.usage, name) for name in trace.usage.__dataclass_fields__},
        "usage_source": trace.usage_source,
        "cost_usd": None if cost is None else cost / 1_000_000_000,
        **{name: getattr(trace, name) for name in _AFTER},
        "request_bytes": trace.coverage.request_bytes,
        "answer_bytes": trace.coverage.answer_bytes,
        "unread_bytes": trace.coverage.unread_bytes,
        "seen_bytes": trace.coverage.seen_bytes,
        "scanned_bytes": trace.coverage.scanned_bytes,
        "gaps": trace.coverage.gaps,
        "media": trace.media,
        "findings": trace.findings,
        "actions": trace.actions,
        "spans": trace.spans,
        "attributes": trace.attributes,
    }


def finding_row(sighting: Sighting) -> dict[str, object]:
    """Return a finding as one flat JSON object, as ``findings list --json`` shows it.

    ``start`` and ``end`` count code points of the text at ``location``, half-open. The text is
    not in it.
    """
    finding = sighting.finding
    return {
        "trace_id": sighting.trace_id,
        "started_at": sighting.started_at.isoformat(),
        "tenant": sighting.tenant,
        "agent": sighting.agent,
        "call_verdict": sighting.call_verdict,
        **{name: getattr(finding, name) for name in _FINDING},
    }


def jsonl_lines(records: Iterable[Record], *, bodies: bool = False) -> Iterator[bytes]:
    r"""Yield one line of UTF-8 JSON for each record, its ``\n`` included.

    With ``bodies`` a line also has ``request`` and ``answer``: None, or their ``media_type``
    with ``text`` where they are UTF-8, with ``base64`` where they are not.
    """
    for record in records:
        row = trace_row(record.trace)
        if bodies:
            row["request"] = _body(record.request)
            row["answer"] = _body(record.answer)
        yield to_json(row) + b"\n"


def csv_lines(traces: Iterable[Trace]) -> Iterator[str]:
    r"""Yield the head and one line for each trace, ``\r\n`` included (RFC 4180).

    A text that a spreadsheet would take for a formula has a ``'`` before it
    (OWASP, "CSV Injection").
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CSV_FIELDS)
    yield _taken(buffer)
    for trace in traces:
        row = trace_row(trace)
        writer.writerow([_cell(row[name]) for name in CSV_FIELDS])
        yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    line = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return line


def _cell(value: object) -> object:
    if isinstance(value, str):
        # A NUL ends a text for some readers; a lone surrogate cannot be written to a file.
        text = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        return f"'{text}" if _is_formula(text) else text
    if isinstance(value, Sequence):
        return len(value)
    return value


def _is_formula(text: str) -> bool:
    # Spreadsheets skip spaces before they look, and some fold the full-width signs.
    bare = text.lstrip(" \u00a0\u3000\ufeff")
    return text[:1] in _FORMULA or bare[:1] in _FORMULA


def _body(body: Body | None) -> Mapping[str, object] | None:
    if body is None:
        return None
    try:
        return {"media_type": body.media_type, "text": body.content.decode()}
    except UnicodeDecodeError:
        content = base64.b64encode(body.content).decode("ascii")
        return {"media_type": body.media_type, "base64": content}
