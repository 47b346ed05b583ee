"""Traces as bytes: one JSON object with a format number, and records with their bodies behind it.

What an older version does not know is left out when it reads; a higher format number is refused,
so that a downgrade fails with words and not with half a trace.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Final

import orjson

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
    Scanned,
    Span,
    Texts,
    Trace,
)
from llmtrace.domain.usage import Usage, UsageSource

FORMAT: Final = 1
"""Raised only when an older reader would misread what is written."""

type _Fields = Mapping[str, Callable[[Any], object]]


class CodecError(ValueError):
    """The bytes are no trace that this version can read. The message holds none of them."""


def encode_trace(trace: Trace) -> bytes:
    """Write a trace as one line of UTF-8 JSON. A float that is no number becomes null."""
    return b'{"v":%d,"trace":%b}' % (FORMAT, to_json(trace))


def decode_trace(data: bytes) -> Trace:
    """Read what ``encode_trace`` wrote; keys that this version does not know are left out.

    Raises:
        CodecError: The bytes are something else, or of a newer format.
    """
    return _guarded(lambda: trace_from(_opened(data)["trace"]))


def encode_record(record: Record) -> bytes:
    """Write a record: a line of JSON, then the request's and the answer's bytes as they are."""
    head = b'{"v":%d,"trace":%b,"texts":%b,"request":%b,"answer":%b}\n' % (
        FORMAT,
        to_json(record.trace),
        to_json(record.texts),
        _body_head(record.request),
        _body_head(record.answer),
    )
    return b"".join((head, _content(record.request), _content(record.answer)))


def decode_record(data: bytes) -> Record:
    """Read what ``encode_record`` wrote.

    Raises:
        CodecError: The bytes are something else, cut short, or of a newer format.
    """
    return _guarded(lambda: _record(data))


def decode_request(data: bytes) -> Body | None:
    """Read the request alone of what ``encode_record`` wrote; its trace is not looked at.

    Raises:
        CodecError: As of ``decode_record``, but for what only the trace could tell.
    """
    return _guarded(lambda: _bodies(data)[1])


def to_json(value: object) -> bytes:
    """Write dataclasses, mappings and sequences as JSON without a raw line feed.

    orjson refuses what UTF-8 or 64 bits cannot hold (lone surrogates from a header, absurd
    counts); the standard library's form of these is read back by ``from_json``.
    """
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        return json.dumps(value, default=_plain, separators=(",", ":")).encode("ascii")


def from_json(data: bytes | str) -> Any:
    """Read what ``to_json`` wrote. Raises: ValueError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _body_head(body: Body | None) -> bytes:
    if body is None:
        return b"null"
    return to_json({"media_type": body.media_type, "size": len(body.content)})


def _content(body: Body | None) -> bytes:
    return body.content if body is not None else b""


def _guarded[T](read: Callable[[], T]) -> T:
    try:
        return read()
    except CodecError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        # Not chained: the message of a parser may quote what it could not parse.
        raise CodecError(
            f"not a trace of format {FORMAT} ({type(error).__name__}); "
            "the bytes were changed, cut short or written by something else"
        ) from None


def _opened(data: bytes) -> Mapping[str, Any]:
    values: Mapping[str, Any] = from_json(data)
    if values["v"] > FORMAT:
        raise CodecError(
            f"format {values['v']!r}, expected at most {FORMAT}: "
            "a newer version of LLMTrace wrote this; run that version to read it"
        )
    return values


def _bodies(data: bytes) -> tuple[Mapping[str, Any], Body | None, Body | None]:
    """Return the head of a record, its request and its answer."""
    end = data.index(b"\n")
    head = _opened(data[:end])
    request, offset = _body(head["request"], data, end + 1)
    answer, offset = _body(head["answer"], data, offset)
    if offset != len(data):
        raise ValueError("bytes after the end")
    return head, request, answer


def _record(data: bytes) -> Record:
    head, request, answer = _bodies(data)
    texts = _build(Texts, {}, head["texts"])
    return Record(trace=trace_from(head["trace"]), request=request, answer=answer, texts=texts)


def _body(head: Mapping[str, Any] | None, data: bytes, offset: int) -> tuple[Body | None, int]:
    if head is None:
        return None, offset
    end = offset + head["size"]
    if not offset <= end <= len(data):
        raise ValueError("a body is cut short")
    return Body(content=data[offset:end], media_type=head["media_type"]), end


def trace_from(values: Mapping[str, Any]) -> Trace:
    """Build a trace from its JSON object; what is missing has its default.

    Raises:
        ValueError, TypeError, KeyError: The object is no trace.
    """
    return Trace(**trace_fields(values))


def trace_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn those fields of a trace that are in its JSON object into what the trace holds.

    Raises:
        ValueError, TypeError, KeyError: A field is not what it should be.
    """
    return _converted(Trace, _TRACE, values)


def _build[T](cls: Callable[..., T], converters: _Fields, values: Mapping[str, Any]) -> T:
    return cls(**_converted(cls, converters, values))


def _converted(cls: object, converters: _Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    known = _KNOWN[cls]
    return {
        name: converters[name](value) if name in converters else value
        for name, value in values.items()
        if name in known
    }


def _many(cls: Callable[..., object], converters: _Fields) -> Callable[[Any], object]:
    return lambda values: tuple(_build(cls, converters, value) for value in values)


def _one(cls: Callable[..., object], converters: _Fields) -> Callable[[Any], object]:
    return lambda value: _build(cls, converters, value)


def _whole(value: object) -> int:
    # orjson reads a count beyond 64 bits as a float.
    if not isinstance(value, int | float):
        raise TypeError("a count is not a number")
    return int(value)


def _maybe_time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


_KNOWN: Final[Mapping[object, frozenset[str]]] = {
    cls: frozenset(field.name for field in fields(cls))
    for cls in (
        Trace,
        Usage,
        Coverage,
        Scanned,
        Gap,
        Media,
        Finding,
        AgentAction,
        Span,
        Texts,
        PlanWindow,
    )
}
_GAP: Final[_Fields] = {"size": _whole}
_SCANNED: Final[_Fields] = {"seen": _whole, "scanned": _whole}
_SPAN: Final[_Fields] = {"offset_ms": _number, "duration_ms": _number}
_FINDING: Final[_Fields] = {"severity": Severity, "verdict": Verdict}
_ACTION: Final[_Fields] = {"action_type": ActionType}
_MEDIA: Final[_Fields] = {"role": Role, "origin": Origin, "path": tuple, "kind": MediaKind}
_USAGE: Final[_Fields] = {field.name: _whole for field in fields(Usage)}
_PLAN_WINDOW: Final[_Fields] = {"resets_at": _maybe_time}
_COVERAGE: Final[_Fields] = {
    "request_bytes": _whole,
    "answer_bytes": _whole,
    "gaps": _many(Gap, _GAP),
    "texts": _many(Scanned, _SCANNED),
}
_TRACE: Final[_Fields] = {
    "started_at": datetime.fromisoformat,
    "outcome": Outcome,
    "verdict": Verdict,
    "usage": _one(Usage, _USAGE),
    "usage_source": UsageSource,
    "coverage": _one(Coverage, _COVERAGE),
    "plan_windows": _many(PlanWindow, _PLAN_WINDOW),
    "media": _many(Media, _MEDIA),
    "findings": _many(Finding, _FINDING),
    "actions": _many(AgentAction, _ACTION),
    "spans": _many(Span, _SPAN),
}
