"""Reads an answer and lets it through as far as it is judged: as a stream, or whole."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from llmtrace.domain.answers import Answer, AnswerEvent
from llmtrace.domain.traces import Gap
from llmtrace.pipeline.judging import AnswerJudge
from llmtrace.pipeline.streaming import (
    AnswerGate,
    Blocked,
    FrameGate,
    GateBounds,
    Style,
    gate_whole,
)
from llmtrace.pipeline.streaming.stops import MESSAGES, TOO_LONG
from llmtrace.providers.base import Dialect, Frame, Json
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.decoding import Reason, decoder_for
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.openai_errors import encode, error_object, kind_of

NO_DETAILS: Final[Mapping[str, Json]] = {}
UNREADABLE: Final = Blocked(
    code="llmtrace_blocked_unreadable",
    message="LLMTrace stopped this answer: its coding cannot be read.",
)
OVER_LIMIT: Final = Blocked(code=TOO_LONG, message=MESSAGES[TOO_LONG])


@dataclass(frozen=True, slots=True)
class Whole:
    """What goes on of a whole answer: its body, or (with ``blocked``) the error in its place."""

    body: bytes
    blocked: Blocked | None = None


class Heard:
    """Takes what an answer says. Apart from the tap, which has a gate that tells it to this."""

    def __init__(
        self, collector: AnswerCollector, then: Callable[[Sequence[AnswerEvent]], None] | None
    ) -> None:
        self._collector = collector
        self._then = then

    def take(self, events: Sequence[AnswerEvent]) -> None:
        """Note what was said."""
        if not events:
            return
        self._collector.add(events)
        if self._then is not None:
            self._then(events)


class GatedTap:
    """Takes the bytes of one answer, and returns those that may go on.

    It has what ``AnswerTap`` has: what passed, what was said, and what could not be read. What it
    keeps is what went on, with the values that were put back as the placeholders they were.
    """

    def __init__(
        self,
        dialect: Dialect,
        judge: AnswerJudge,
        *,
        bounds: GateBounds,
        blocks: Style = "error",
        media_type: str,
        content_encoding: str,
        max_bytes: int,
        max_frame: int,
        keep: bool = True,
        whole: bool = False,
        on_events: Callable[[Sequence[AnswerEvent]], None] | None = None,
    ) -> None:
        """Take an answer's head. ``whole``: JSON is one document, as the request asked for."""
        self.media_type = media_type
        self.received = 0
        """Bytes on the wire."""
        self.decoded = 0
        """Bytes after content decoding."""
        self._dialect = dialect
        self._judge = judge
        self._bounds = bounds
        self._coding, self._max_bytes = content_encoding, max_bytes
        self._decoder = decoder_for(content_encoding, max_size=max_bytes)
        self._collector = AnswerCollector()
        self._heard = Heard(self._collector, on_events)
        self._keep = keep
        self._kept: list[bytes] = []
        self._gaps: dict[str, int] = {}
        self._taken = True  # whether the last bytes from the wire came to the gate
        self._blocked: Blocked | None = None
        self._gate: AnswerGate | None = None
        framed = framing_for(media_type, dialect=dialect.name) is not None
        if framed and not (whole and media_type == "application/json"):
            self._gate = AnswerGate(
                dialect,
                judge,
                media_type=media_type,
                max_frame=max_frame,
                bounds=bounds,
                blocks=blocks,
                on_events=self._heard.take,
            )

    @property
    def streams(self) -> bool:
        """Whether it comes in frames."""
        return self._gate is not None

    @property
    def blocked(self) -> Blocked | None:
        """Why the answer ended here, or says something else; None if it did not."""
        return (self._gate.blocked if self._gate else None) or self._blocked

    # --- streams ----------------------------------------------------------------------------

    def receive(self, chunk: bytes) -> bytes:
        """Take the next bytes from the wire; return what may go on now."""
        self.received += len(chunk)
        if self._gate is None or self._gate.blocked is not None:
            return b""
        if self._decoder is None:
            return self._passed(self._gate.stop(UNREADABLE.code, UNREADABLE.message))
        self._taken = False
        data = self._decoder.receive(chunk)
        self.decoded += len(data)
        self._taken = True
        out = self._gate.receive(data) if data else b""
        if self._decoder.overflowed or self._decoder.broken:
            why = OVER_LIMIT if self._decoder.overflowed else UNREADABLE
            out += self._gate.stop(why.code, why.message)
        return self._passed(out)

    def end(self) -> bytes:
        """The answer came to its end; return what may go on still."""
        if self._gate is None or self._gate.blocked is not None or self._decoder is None:
            return b""
        data = self._decoder.close()
        self.decoded += len(data)
        out = self._gate.receive(data) if data else b""
        if self._decoder.broken is Reason.TRUNCATED:
            self._gap("cut_coding", 1)
        return self._passed(out + self._gate.close())

    def let_go(self) -> bytes:
        """Return what is held, unjudged: a fault of ours is to hold nothing.

        An answer that could not be decoded cannot go on: the client has been told that it is in no
        coding.
        """
        if self._gate is None or not self._taken:
            return self.give_up(UNREADABLE.code, UNREADABLE.message)
        return self._passed(self._gate.let_go())

    def give_up(self, code: str, message: str) -> bytes:
        """End the answer with an error, whatever is held."""
        self._blocked = Blocked(code=code, message=message)
        return self._passed(self._gate.stop(code, message) if self._gate else b"")

    # --- whole answers ----------------------------------------------------------------------

    def whole(self, content: bytes) -> Whole:
        """Take a whole answer's bytes from the wire; return what goes on in its place."""
        self.received += len(content)
        if self._decoder is None:
            return self._refused(UNREADABLE)
        data = self._decoder.receive(content) + self._decoder.close()
        self.decoded += len(data)
        if self._decoder.overflowed:
            return self.too_long()
        if self._decoder.broken:
            return self._refused(UNREADABLE)
        if not data:
            return Whole(content)
        self._taken = False
        judged = gate_whole(self._dialect, data, self._judge)
        self._taken = True
        self._heard.take(judged.events)
        self._blocked = judged.blocked
        if judged.body is None:
            return self._refused(judged.blocked or UNREADABLE)
        passed = self._passed(judged.body)
        return Whole(content if judged.body is data and not judged.edited else passed)

    def too_long(self) -> Whole:
        """Refuse a whole answer that is longer than may be held."""
        self._gap("answer_over_limit", max(self._max_bytes, self.decoded))
        return self._refused(OVER_LIMIT)

    def let_go_whole(self, content: bytes) -> None:
        """Note what a whole answer says that goes on unjudged: a fault of ours is to hold nothing.

        ``content`` is its bytes from the wire, which ``whole`` raised on.
        """
        decoder = decoder_for(self._coding, max_size=self._max_bytes)
        if decoder is None or self._taken:
            return
        data = decoder.receive(content) + decoder.close()
        self._passed(data)
        with contextlib.suppress(orjson.JSONDecodeError):
            self._heard.take(self._dialect.answer(orjson.loads(data)))

    def _refused(self, blocked: Blocked) -> Whole:
        self._blocked = blocked
        body = self._dialect.refusal(status=400, code=blocked.code, message=blocked.message)
        return Whole(self._passed(body), blocked)

    # --- what it knows ----------------------------------------------------------------------

    def close(self) -> Answer:
        """The answer ended, cleanly or not: return what it said."""
        answer = self._collector.answer()
        for unread in answer.unread:
            self._gap(unread.reason, unread.size)
        return answer

    @property
    def content(self) -> bytes:
        """What went on, as far as it was kept; values that came back stand as they were sent."""
        return self._judge.as_sent(b"".join(self._kept))

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was not read, by reason."""
        return tuple(Gap(reason=reason, size=size) for reason, size in self._gaps.items())

    def _passed(self, out: bytes) -> bytes:
        if self._keep and out:
            self._kept.append(out)
        return out

    def _gap(self, reason: str, size: int) -> None:
        if size:
            self._gaps[reason] = self._gaps.get(reason, 0) + size


class MessageGate:
    """The same for the messages of a WebSocket, which are frames already."""

    def __init__(
        self, dialect: Dialect, judge: AnswerJudge, bounds: GateBounds, blocks: Style = "error"
    ) -> None:
        self._judge = judge
        self._gate = FrameGate(dialect, judge, bounds=bounds, blocks=blocks, one_error=True)

    @property
    def blocked(self) -> Blocked | None:
        """Why the call's answer ended here: what comes of it later goes nowhere."""
        return self._gate.blocked

    def take(self, message: bytes, events: Sequence[AnswerEvent], *, last: bool) -> list[bytes]:
        """Take a message and what it says; return those that may go on now."""
        if self._gate.blocked is not None:
            return []
        frames = self._gate.take(Frame(event="", data=message), events)
        if last:
            frames += self._gate.finish(())
        return [frame.data for frame in frames]

    def let_go(self, message: bytes) -> list[bytes]:
        """Judge no more: return what is held, and with it a message that could not be taken."""
        held = [frame.data for frame in self._gate.let_go()]
        return held if held and held[-1] is message else [*held, message]

    def as_sent(self, content: bytes) -> bytes:
        """Return what went on with placeholders for the values that were put back."""
        return self._judge.as_sent(content)


def message_error(
    code: str, message: str, *, status: int = 400, details: Mapping[str, Json] = NO_DETAILS
) -> bytes:
    """Return a message that is the error of a call on a WebSocket, Responses and Realtime alike."""
    kind = "invalid_request_error" if status == 400 else kind_of(status)
    error = {**error_object(kind=kind, code=code, message=message), **details}
    return encode({"type": "error", "status": status, "code": code, "error": error})
