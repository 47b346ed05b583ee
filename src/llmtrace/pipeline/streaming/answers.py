"""The gate for the bytes of an answer: a stream as it comes, or a whole one."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from llmtrace.domain.answers import AnswerEvent, Unread
from llmtrace.pipeline.streaming.changing import changed
from llmtrace.pipeline.streaming.frames import UNREAD, FrameGate, acts
from llmtrace.pipeline.streaming.judging import ChannelJudge
from llmtrace.pipeline.streaming.stops import (
    BROKEN_OFF,
    FRAME_TOO_LARGE,
    MESSAGES,
    UNREADABLE,
    Blocked,
    GateBounds,
    Style,
)
from llmtrace.providers.base import Dialect, Frame, FrameTooLarge
from llmtrace.providers.editing import EditFailed
from llmtrace.providers.endings.base import document
from llmtrace.providers.endings.registry import WHOLE_ENDINGS
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.framing.sse import SseFraming, looks_like_events
from llmtrace.providers.framing.writers import KEEPALIVE, writer_for
from llmtrace.providers.openai_errors import encode

QUIET_SECONDS: Final = 5.0
"""How long a client hears nothing while its provider speaks: then it is told that it does."""


class AnswerGate:
    """The gate of one streamed answer, after content decoding. What goes on is written anew.

    ``frames`` is the gate of its frames, with what it counts.
    """

    def __init__(
        self,
        dialect: Dialect,
        judge: ChannelJudge,
        *,
        media_type: str,
        max_frame: int = 4 << 20,
        bounds: GateBounds | None = None,
        blocks: Style = "error",
        refusals: Style = "graceful",
        drop_unread: bool = False,
        on_events: Callable[[Sequence[AnswerEvent]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        framing = framing_for(media_type, dialect=dialect.name, max_frame=max_frame)
        if framing is None:
            raise ValueError(f"{media_type!r} is no streamed media type of {dialect.name!r}")
        if isinstance(framing, SseFraming):
            framing.comments = True
        self._framing = framing
        self._writer = writer_for(framing)
        self._clock = clock
        self._spoke = clock()
        self._ended = False
        self._closing = False
        self._unjudged: deque[Frame] = deque()
        self._judged: list[Frame] = []
        self.frames = FrameGate(
            dialect,
            judge,
            bounds=bounds,
            blocks=blocks,
            refusals=refusals,
            drop_unread=drop_unread,
            on_events=on_events,
        )

    @property
    def blocked(self) -> Blocked | None:
        """Why the answer was stopped: the provider's connection can be closed then."""
        return self.frames.blocked

    def receive(self, data: bytes) -> bytes:
        """Take the next bytes, and return those that may go on now."""
        try:
            self._unjudged.extend(self._framing.receive(data))
        except FrameTooLarge:
            return self.stop(FRAME_TOO_LARGE)
        self._judge()
        return self._written() or self._sign_of_life()

    def close(self) -> bytes:
        """The provider's stream ended: return what may go on of what is left, and the end."""
        self._closing = True
        self._unjudged.extend(self._framing.close())
        self._judge()
        self._judged += self.frames.close()
        if self._framing.pending and not self.frames.has_ended:
            self._judged += self.frames.stop(BROKEN_OFF)
        return self._written() + self._end()

    def stop(self, code: str, message: str = "") -> bytes:
        """End the answer now."""
        self._judged += self.frames.stop(code, message)
        return self._written()

    def let_go(self) -> bytes:
        """Judge no more: return what is held, as it came. All that follows passes.

        That is what the judge has raised on too, and what came with it.
        """
        self._judged += self.frames.let_go()
        if self._unjudged:
            failed = self._unjudged.popleft()
            if not self._judged or self._judged[-1] is not failed:
                self._judged.append(failed)
        self._judge()
        return self._written() + (self._end() if self._closing else b"")

    def _judge(self) -> None:
        """Take frames one by one: where the judge raises, the rest is still there."""
        while self._unjudged:
            self._judged += self.frames.receive(self._unjudged[0])
            self._unjudged.popleft()

    def _sign_of_life(self) -> bytes:
        """Return a comment where the provider speaks, and all that it says is held for long."""
        quiet = self._clock() - self._spoke
        if quiet < QUIET_SECONDS or not self.frames.held_bytes or self.blocked:
            return b""
        if not isinstance(self._framing, SseFraming):
            return b""
        self._spoke += quiet
        return KEEPALIVE

    def _written(self) -> bytes:
        frames, self._judged = self._judged, []
        if frames:
            self._spoke = self._clock()
        written = self._writer.write(frames) if frames else b""
        return written + self._end() if self.frames.blocked else written

    def _end(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return self._writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeAnswer:
    """What becomes of an answer that came whole.

    ``body`` is what goes on: the same object as came where nothing was changed, None where the
    answer is stopped. ``blocked`` says why it was stopped, or a tool call in it refused.
    ``events`` is what the provider said.
    """

    body: bytes | None
    events: Sequence[AnswerEvent] = ()
    blocked: Blocked | None = None
    edited: bool = False


def gate_whole(
    dialect: Dialect,
    body: bytes,
    judge: ChannelJudge,
    *,
    bounds: GateBounds | None = None,
    refusals: Style = "graceful",
    drop_unread: bool = False,
) -> WholeAnswer:
    """Judge an answer that came whole, as a stream of one frame."""
    try:
        events = dialect.answer(orjson.loads(body))
    except orjson.JSONDecodeError:
        return _unread(dialect, body, judge, drop_unread=drop_unread)
    size = len(body) + 1
    gate = FrameGate(
        dialect,
        judge,
        bounds=bounds or GateBounds(text=size, frames=size),
        drop_unread=drop_unread,
    )
    frames = gate.take(Frame(event="", data=body), events)
    frames += gate.finish(())
    if gate.blocked is not None:
        return _refused(dialect, gate, gate.blocked, body, events, refusals)
    if not frames:
        return WholeAnswer(body=None, events=events, blocked=_UNREADABLE)
    return WholeAnswer(body=frames[0].data, events=events, edited=bool(gate.edited))


_UNREADABLE: Final = Blocked(code=UNREADABLE, message=MESSAGES[UNREADABLE])


def _refused(
    dialect: Dialect,
    gate: FrameGate,
    blocked: Blocked,
    body: bytes,
    events: Sequence[AnswerEvent],
    refusals: Style,
) -> WholeAnswer:
    """Say in the place of a refused tool call why, if that is what it is."""
    stopped = WholeAnswer(body=None, events=events, blocked=blocked)
    ending, entry = WHOLE_ENDINGS.get(dialect.name), gate.stopped_at
    if not blocked.refused or refusals == "error" or ending is None or entry is None:
        return stopped
    try:
        answer = document(changed(body, entry.changes, dialect=dialect.name))
    except EditFailed:
        return stopped
    ending(answer, blocked.message, choice=blocked.choice, keep=blocked.kept_calls)
    return WholeAnswer(body=encode(answer), events=events, blocked=blocked, edited=True)


def _unread(
    dialect: Dialect, body: bytes, judge: ChannelJudge, *, drop_unread: bool
) -> WholeAnswer:
    """Judge what is no JSON: as a stream under a wrong name, else as one text."""
    if looks_like_events(body):
        events: list[AnswerEvent] = []
        gate = AnswerGate(
            dialect,
            judge,
            media_type="text/event-stream",
            drop_unread=drop_unread,
            on_events=events.extend,
        )
        written = gate.receive(body) + gate.close()
        edited = bool(gate.frames.edited)
        return WholeAnswer(body=written, events=events, blocked=gate.blocked, edited=edited)
    unread = [Unread(reason="bad_json", size=len(body))]
    text = body.decode("utf-8", "replace")
    if drop_unread or any(acts(ruling) for ruling in judge.rulings(text, UNREAD)):
        return WholeAnswer(body=None, events=unread, blocked=_UNREADABLE)
    return WholeAnswer(body=body, events=unread)
