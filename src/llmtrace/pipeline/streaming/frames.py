"""Lets the frames of one answer through: as they came, edited, or no further.

A frame goes on as soon as all text in it is decided, and frames keep their order. A replacement
goes into the first frame that its span touches; from the later ones the rest of the span is cut.
The frames of a tool call are held until the call is whole.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelKind,
    TextDelta,
    ToolCallOpened,
    Unread,
)
from llmtrace.pipeline.streaming.changing import changed, without_offsets
from llmtrace.pipeline.streaming.channels import ChannelTable, News
from llmtrace.pipeline.streaming.entries import Entry
from llmtrace.pipeline.streaming.judging import ChannelJudge, Ruling
from llmtrace.pipeline.streaming.stops import (
    BLOCKED,
    BLOCKED_TOOL,
    BROKEN_OFF,
    HELD_TOO_MUCH,
    MESSAGES,
    UNEDITABLE,
    Blocked,
    GateBounds,
    Style,
)
from llmtrace.pipeline.streaming.texts import Stop
from llmtrace.pipeline.streaming.tools import ToolChannel
from llmtrace.providers.base import AnswerReader, Dialect, Frame
from llmtrace.providers.editing import EditFailed
from llmtrace.providers.endings.base import Ending, Failing, document
from llmtrace.providers.endings.registry import CHUNK_CUTS, ENDINGS, error_frames
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import encode

UNREAD: Final = Channel(0, ChannelKind.OTHER, -1)
"""The channel on which a frame is judged that cannot be read."""
_UNREADABLE: Final = words("bad_json bad_frame unknown_event too_large")
_COUNTING: Final = (b'"start_index"', b'"startIndex"', b'"start"', b'"segment"')
"""In frames that may count characters of a text."""
_COUNTING_EVENTS: Final = (b'"response.output_text.annotation.added"', b'"citation-start"')


class FrameGate:
    """The gate of one answer, for frames of any transport.

    ``take`` is for frames that somebody has read already, ``receive`` reads them itself. What the
    judge raises comes out of them; ``let_go`` or ``stop`` then says how to go on. ``blocks`` says
    how an answer ends that is stopped in a text, ``refusals`` how one that is stopped at a tool
    call. With ``drop_unread`` frames that could not be read do not go on. ``one_error``: an answer
    ends in one error, as on a WebSocket, where another one would be about the next call.
    """

    def __init__(
        self,
        dialect: Dialect,
        judge: ChannelJudge,
        *,
        bounds: GateBounds | None = None,
        blocks: Style = "error",
        refusals: Style = "graceful",
        drop_unread: bool = False,
        one_error: bool = False,
        on_events: Callable[[Sequence[AnswerEvent]], None] | None = None,
    ) -> None:
        self._dialect = dialect
        self._one_error = one_error
        self._judge = judge
        self._bounds = bounds or GateBounds()
        self._blocks: Style = blocks
        self._refusals: Style = refusals
        self._drop_unread = drop_unread
        self._on_events = on_events
        self._reader: AnswerReader = dialect.reader()
        factory = ENDINGS.get(dialect.name)
        self._ending: Ending | None = factory() if factory else None
        self._channels = ChannelTable(judge, self._bounds, dialect.name)
        self._queue: deque[Entry] = deque()
        self._number = 0
        self._is_open = False
        self.stopped_at: Entry | None = None
        """The frame with the tool call that was refused."""
        self.blocked: Blocked | None = None
        """Why the answer was stopped; nothing of it goes on after that."""
        self.held_bytes = 0
        """Bytes of the frames that wait."""
        self.edited = 0
        """Frames that were changed."""
        self.dropped = 0
        """Frames that did not go on, the answer's end apart."""
        self.unscanned = 0
        """Bytes of frames that went on though they could not be read."""

    @property
    def scanned(self) -> int:
        """Code points of texts and arguments that came to be judged."""
        return self._channels.scanned

    @property
    def has_ended(self) -> bool:
        """Whether the provider said that its answer has ended, in whatever way."""
        return self._channels.has_ended

    # --- frames in, frames out --------------------------------------------------------------

    def receive(self, frame: Frame) -> list[Frame]:
        """Read a frame, and return what may go on now."""
        if frame.is_comment:
            return [] if self.blocked else [frame]
        events = self._reader.receive(frame)
        if events and self._on_events is not None:
            self._on_events(events)
        return self.take(frame, events)

    def close(self) -> list[Frame]:
        """The provider's stream ended: return what may go on of what is left."""
        events = self._reader.close()
        if events and self._on_events is not None:
            self._on_events(events)
        return self.finish(events)

    def take(self, frame: Frame, events: Sequence[AnswerEvent]) -> list[Frame]:
        """Take a frame and what it says; return what may go on now."""
        if self.blocked is not None:
            return []
        if self._is_open or (not events and frame.event == "ping"):
            return [frame]
        entry = Entry(frame, events, self._number)
        self._number += 1
        self._queue.append(entry)
        self.held_bytes += len(frame.data)
        if not self._readable(frame, events):
            self._queue.pop()
            self.held_bytes -= len(frame.data)
            self.dropped += 1
            return []
        frames = self._decide(self._channels.note(entry))
        if frames is None:
            frames = self._released()
            if self.held_bytes > self._bounds.frames:
                frames += self.stop(HELD_TOO_MUCH)
        return frames

    def finish(self, events: Sequence[AnswerEvent]) -> list[Frame]:
        """Nothing more comes; ``events`` is what the reader said at its end.

        A tool call that was not closed before is incomplete: neither it nor what follows goes on.
        """
        if self.blocked is not None or self._is_open:
            return []
        self._channels.note(Entry(Frame(event="", data=b""), events, self._number))
        if stop := self._channels.flush():
            return self._stopped(stop)
        frames = self._released()
        return frames + self.stop(BROKEN_OFF) if self._queue else frames

    # --- for whoever cannot go on as planned -------------------------------------------------

    def stop(self, code: str, message: str = "") -> list[Frame]:
        """End the answer now; what is held is thrown away."""
        if self.blocked is not None:
            return []
        self.blocked = Blocked(code=code, message=message or MESSAGES[code])
        return self._end("error" if code == BROKEN_OFF else self._blocks)

    def let_go(self) -> list[Frame]:
        """Judge no more: return what is held, as it came. All that follows passes."""
        frames = [entry.frame for entry in self._queue]
        self._is_open = True
        self._queue.clear()
        self.held_bytes = 0
        return frames

    # --- what a frame says -------------------------------------------------------------------

    def _readable(self, frame: Frame, events: Sequence[AnswerEvent]) -> bool:
        """Whether a frame may go on as far as it can be read at all."""
        for event in events:
            if type(event) is Unread and event.reason in _UNREADABLE:
                if self._drop_unread:
                    return False
                self.unscanned += len(frame.data)
                if event.reason == "bad_json":
                    text = frame.data.decode("utf-8", "replace")
                    return not any(acts(r) for r in self._judge.rulings(text, UNREAD))
        return True

    # --- what becomes of it ------------------------------------------------------------------

    def _decide(self, news: News) -> list[Frame] | None:
        """Decide what can be decided now. Returns what to send if the answer ends here."""
        stop = self._channels.decide(news)
        if stop is not None:
            return self._stopped(stop)
        if news.fault:
            return self.stop(news.fault)
        if news.over is not None:
            return self._refuse(news.over, MESSAGES[BLOCKED_TOOL])
        for tool in news.ended:
            ruling = self._judge.tool_call(tool.name, tool.arguments, tool.channel)
            if ruling.refused:
                return self._refuse(tool, ruling.refused)
            if not self._channels.allow(tool, ruling.arguments):
                return self.stop(UNEDITABLE)
        return None

    def _refuse(self, tool: ToolChannel, message: str) -> list[Frame]:
        """End the answer in the place of a tool call."""
        if stop := self._channels.flush():
            return self._stopped(stop)
        choice = tool.channel.choice
        frames = self._released()
        frames += self._beside(tool)
        self.stopped_at = tool.first
        self.blocked = Blocked(
            code=BLOCKED_TOOL,
            message=message,
            refused=True,
            choice=choice,
            kept_calls=self._channels.allowed(choice),
        )
        return frames + self._end(self._refusals, text=message)

    def _beside(self, refused: ToolChannel) -> list[Frame]:
        """Return the frame of a refused call without it, where it says other things as well."""
        entry, cut = refused.first, CHUNK_CUTS.get(self._dialect.name)
        if cut is None or entry is None or not self._queue or entry is not self._queue[0]:
            return []
        choice = refused.channel.choice
        keep = self._channels.allowed(choice, within=entry)
        try:
            body = document(changed(entry.frame.data, entry.changes, dialect=self._dialect.name))
        except EditFailed:
            return []
        cut(body, choice=choice, keep=keep)
        frame = replace(entry.frame, data=encode(body))
        if self._ending is not None:
            said = [e for e in entry.events if isinstance(e, TextDelta) or (keep and _opens(e))]
            self._ending.sent(frame, said)
        return [frame]

    def _stopped(self, stop: Stop) -> list[Frame]:
        """End the answer in a text. What came before that frame, and is decided, still goes."""
        return self._released() + self.stop(BLOCKED, stop.reason)

    def _end(self, style: Style, *, text: str = "") -> list[Frame]:
        """Throw away what is held, and return what ends the answer instead."""
        self.dropped += len(self._queue)
        self._queue.clear()
        self.held_bytes = 0
        blocked = self.blocked
        if blocked is None:
            return []
        ending = self._ending
        if style == "graceful" and ending is not None:
            return ending.end(text, filtered=not blocked.refused)
        errors = error_frames(self._dialect, code=blocked.code, message=blocked.message)
        is_final = blocked.code.startswith(BLOCKED)  # to ask again would be in vain
        if is_final and len(errors) == 1 and isinstance(ending, Failing) and not self._one_error:
            return ending.fail(errors[0], blocked.message)
        return errors

    def _released(self) -> list[Frame]:
        """Return the frames that nothing holds any more."""
        queue = self._queue
        frames: list[Frame] = []
        while queue and not queue[0].pending:
            entry = queue.popleft()
            self.held_bytes -= len(entry.frame.data)
            frame = entry.frame
            if entry.changes or self.edited:
                try:
                    edited = self._edit(entry)
                except ValueError:  # EditFailed, or what is no JSON after all
                    return frames + self.stop(UNEDITABLE)
                if edited is None:
                    self.dropped += 1
                    continue
                frame = edited
            if self._ending is not None:
                self._ending.sent(frame, entry.events)
            frames.append(frame)
        return frames

    def _edit(self, entry: Entry) -> Frame | None:
        """Return a frame with its changes, None if it is about a text that is another now."""
        frame = entry.frame
        if entry.changes:
            self.edited += 1
            data = changed(frame.data, entry.changes, dialect=self._dialect.name)
            return replace(frame, data=data)
        if any(mark in frame.data for mark in _COUNTING_EVENTS):
            return None
        if any(mark in frame.data for mark in _COUNTING):
            return replace(frame, data=without_offsets(frame.data))
        return frame


def _opens(event: AnswerEvent) -> bool:
    return isinstance(event, ToolCallOpened)


def acts(ruling: Ruling) -> bool:
    """Whether a ruling does anything."""
    return bool(ruling.block) or ruling.replacement is not None
