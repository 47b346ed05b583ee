"""What was said in a call, for people: who said it, and the beginning of each text."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from llmtrace.cli.common import visible
from llmtrace.domain.answers import Answer, ChannelKind
from llmtrace.domain.parts import Part, Role
from llmtrace.domain.traces import Body, Trace
from llmtrace.pipeline.answer import AnswerTap
from llmtrace.providers import registry
from llmtrace.providers.base import Route

SHOWN_PARTS: Final = 8
SHOWN_CHARS: Final = 600
MAX_READ: Final = 32 << 20
INDENT: Final = 15
_BLANKS: Final = re.compile(r"[^\S\n]*\n\s*\n")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was said, and by whom."""

    who: str
    text: str


def request_lines(trace: Trace, body: Body) -> Sequence[Line]:
    """Return what a request says, the newest parts alone where it is long."""
    try:
        said = orjson.loads(body.content)
    except orjson.JSONDecodeError:
        return [_raw(body)]
    route = Route(
        provider=trace.provider,
        dialect=trace.dialect,
        operation=trace.operation,
        model=trace.model,
    )
    view = registry.dialect(trace.dialect).request(said, route)
    parts = [part for part in view.parts if part.role is not Role.TOOL_DESCRIPTION]
    head = []
    if view.tools:
        head.append(Line("tools", ", ".join(tool.name for tool in view.tools)))
    if len(parts) > SHOWN_PARTS:
        head.append(Line("", f"({len(parts) - SHOWN_PARTS} earlier parts are left out)"))
    media = [Line(item.kind, f"{item.mime} at {item.location}") for item in view.media]
    return [*head, *_merged(parts[-SHOWN_PARTS:]), *media] or [_raw(body)]


def answer_lines(trace: Trace, body: Body) -> Sequence[Line]:
    """Return what an answer says."""
    answer = read_answer(trace, body)
    lines = [
        Line("assistant" if channel.kind is ChannelKind.TEXT else channel.kind.value, text)
        for channel, text in answer.texts.items()
        if text and channel.kind is not ChannelKind.TOOL_CALL
    ]
    lines += [Line("tool_call", f"{call.name} {call.arguments}") for call in answer.tool_calls]
    if answer.error is not None:
        lines.append(Line("error", f"{answer.error.code} {answer.error.message}".strip()))
    return lines or [_raw(body)]


def read_answer(trace: Trace, body: Body) -> Answer:
    """Read a kept answer again, as the gateway read it."""
    tap = AnswerTap(
        registry.dialect(trace.dialect),
        media_type=body.media_type,
        content_encoding="",
        max_bytes=MAX_READ,
        max_frame=MAX_READ,
    )
    tap.receive(body.content)
    return tap.close()


def laid_out(lines: Sequence[Line], *, width: int | None) -> Iterator[tuple[str, str]]:
    """Yield label and text for each line on the screen; None as width wraps nothing."""
    for line in lines:
        label = line.who
        for text in _rows(_excerpt(line.text), width):
            yield label, text
            label = ""


def _merged(parts: Sequence[Part]) -> Iterator[Line]:
    """Join neighbours of one role: a message of three blocks is one thing said."""
    role, texts = None, list[str]()
    for part in parts:
        if part.role is not role and texts:
            yield Line(str(role), "\n".join(texts))
            texts = []
        role = part.role
        texts.append(part.text)
    if texts:
        yield Line(str(role), "\n".join(texts))


def _excerpt(text: str) -> str:
    text = _BLANKS.sub("\n", text.strip())
    if len(text) <= SHOWN_CHARS:
        return text
    return f"{text[:SHOWN_CHARS].rstrip()} … ({len(text):,} characters)"


def _rows(text: str, width: int | None) -> Iterator[str]:
    for row in text.splitlines() or [""]:
        shown = visible(row)
        if width is None:
            yield shown
        else:
            yield from textwrap.wrap(shown, max(20, width - INDENT)) or [""]


def _raw(body: Body) -> Line:
    text = body.content[: 4 * SHOWN_CHARS].decode(errors="replace")
    return Line("", text or "(empty)")
