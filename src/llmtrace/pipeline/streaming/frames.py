"""Lets the frames of one answer through: as they came, edited, or no further.

A frame goes on as soon as all text in it is decided, and frames keep their order. A replacement
goes into the first frame that its span touches; from the later ones the rest of the span is cut.
The frames of a tool call are held until the call is whole.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelClosed,
    ChannelKind,
    TextDelta,
    TextRepeat,
    ToolCallOpened,
    Unread,
)
from llmtrace.pipeline.streaming.changing import changed, without_offsets
from llmtrace.pipeline.streaming.entries import Entry
from llmtrace.pipeline.streaming.judging import ChannelJudge, Ruling
from llmtrace.pipeline.streaming.texts import Stop, TextChannel
from llmtrace.pipeline.streaming.tools import ToolChannel
from llmtrace.providers.base import AnswerReader, Dialect, Frame
from llmtrace.providers.editing import EditFailed
from llmtrace.providers.endings.base import Ending, document
from llmtrace.providers.endings.registry import CHUNK_CUTS, ENDINGS, error_frames
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import encode

type Style = Literal["error", "graceful"]

BLOCKED: Final = "llmtrace_blocked"
BLOCKED_TOOL: Final = "llmtrace_blocked_tool"
HELD_TOO_MUCH: Final = "llmtrace_blocked_held_too_much"
UNEDITABLE: Final = "llmtrace_blocked_uneditable"
CALL_WENT_ON: Final = "llmtrace_blocked_call_went_on"
BROKEN_OFF: Final = "provider_broke_off"

MESSAGES: Final[Mapping[str, str]] = {
    HELD_TOO_MUCH: "LLMTrace stopped this answer: it would have had to hold too much of it back.",
    UNEDITABLE: "LLMTrace stopped this answer: it could not be changed as the policy asks.",
    CALL_WENT_ON: "LLMTrace stopped this answer: a tool call went on behind its end.",
    BROKEN_OFF: "The provider's answer broke off in the middle of a tool call.",
    BLOCKED_TOOL: "LLMTrace did not let a tool call through: it is longer than can be judged.",
}

PATIENCE: Final = 2
"""Frames that a text waits for its next piece where its dialect does not say when it ends."""
CLOSING: Final = frozenset(
    {
        "anthropic.messages",
        "bedrock.converse",
        "cohere.chat",
        "generic",
        "openai.realtime",
        "openai.responses",
    }
)
"""Dialects that say of each text when it ends; ``generic`` has nothing to be told by."""
_UNREADABLE: Final = words("bad_json bad_frame unknown_event too_large")
_COUNTING: Final = (b'"start_index"', b'"startIndex"', b'"start"', b'"segment"')
"""In frames that may count characters of a text."""
_COUNTING_EVENTS: Final = (b'"response.output_text.annotation.added"', b'"citation-start"')
UNREAD: Final = Channel(0, ChannelKind.OTHER, -1)
"""The channel on which a frame is judged that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateBounds:
    """What the gate holds at most: code points of a text and of a tool call, bytes of frames."""

    text: int = (64 << 10) + 512
    tool_call: int = 1 << 20
    frames: int = 4 << 20
    edits: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why an answer was stopped. ``refused``: it was ended in the place of a tool call."""

    code: str
    message: str
    refused: bool = False
    choice: int = 0
    kept_calls: int = 0
    """Tool calls of the choice that stand before the refused one."""


class FrameGate:
    """The gate of one answer, for frames of any transport.

    ``take`` is for frames that somebody has read already, ``receive`` reads them itself. What the
    judge raises comes out of them; ``let_go`` or ``stop`` then says how to go on. ``blocks`` says
    how an answer ends that is stopped in a text, ``refusals`` how one that is stopped at a tool
    call. With ``drop_unread`` frames that could not be read do not go on.
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
        on_events: Callable[[Sequence[AnswerEvent]], None] | None = None,
    ) -> None:
        self._dialect = dialect
        self._judge = judge
        self._bounds = bounds or GateBounds()
        self._blocks = blocks
        self._refusals = refusals
        self._drop_unread = drop_unread
        self._on_events = on_events
        self._reader: AnswerReader = dialect.reader()
        factory = ENDINGS.get(dialect.name)
        self._ending: Ending | None = factory() if factory else None
        self._closes = dialect.name in CLOSING
        self._queue: deque[Entry] = deque()
        self._texts: dict[Channel, TextChannel] = {}
        self._tools: dict[Channel, ToolChannel] = {}
        self._open_tools: dict[Channel, ToolChannel] = {}
        self._decided: list[ToolChannel] = []  # that wait for another, which stands between
        self._waiting: dict[TextChannel, None] = {}
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
        self.scanned = 0
        """Code points of text that were judged."""
        self.unscanned = 0
        """Bytes of frames that went on though they could not be read."""

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
        news = self._note(entry)
        frames = self._decide(news)
        if frames is None:
            frames = self._released()
            if self.held_bytes > self._bounds.frames:
                frames += self.stop(HELD_TOO_MUCH)
        return frames

    def finish(self, events: Sequence[AnswerEvent]) -> list[Frame]:
        """Nothing more comes; ``events`` is what the reader said at its end.

        A tool call that was not closed before is incomplete: neither it nor what follows goes on.
        """
        if self.blocked is not None:
            return []
        for text in self._texts.values():
            text.closed = True
            if stop := text.advance():
                return self._stopped(stop)
        frames = self._released()
        return frames + self.stop(BROKEN_OFF) if self._queue else frames

    # --- for whoever cannot go on as planned -------------------------------------------------

    def stop(self, code: str, message: str = "") -> list[Frame]:
        """End the answer now; what is held is thrown away."""
        if self.blocked is not None:
            return []
        self.blocked = Blocked(code=code, message=message or MESSAGES[code])
        return self._end(self._blocks)

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

    def _note(self, entry: Entry) -> "_News":
        news = _News(entry)
        for event in entry.events:
            match event:
                case TextDelta():
                    self._delta(event, news)
                case TextRepeat():
                    self._repeat(event, news)
                case ChannelClosed():
                    self._close(event.channel, news)
                case ToolCallOpened():
                    news.spoke.add(event.channel.choice)
                    self._tool(event.channel).open(entry, event.name)
                case _:
                    pass
        return news

    def _delta(self, event: TextDelta, news: "_News") -> None:
        channel = event.channel
        news.spoke.add(channel.choice)
        if channel.kind is not ChannelKind.TOOL_CALL:
            text = self._text(channel)
            text.append(news.entry, event.path, event.text)
            news.texts[text] = None
            self.scanned += len(event.text)
            return
        tool = self._tool(channel)
        if tool.closed:
            news.fault = CALL_WENT_ON
            return
        tool.append(news.entry, event.path, event.text)
        if tool.size > self._bounds.tool_call:
            news.over = tool

    def _repeat(self, event: TextRepeat, news: "_News") -> None:
        channel = event.channel
        known: TextChannel | ToolChannel | None = self._texts.get(channel)
        known = known or self._tools.get(channel)
        if known is None:
            self._delta(TextDelta(channel=channel, text=event.text, path=event.path), news)
        else:
            known.repeat(news.entry, event.path, event.text)

    def _close(self, channel: Channel, news: "_News") -> None:
        if channel.kind is ChannelKind.TOOL_CALL:
            tool = self._tools.get(channel)
            if tool is not None and not tool.closed:
                news.ended.append(tool)
        elif (text := self._texts.get(channel)) is not None:
            text.closed = True
            news.texts[text] = None

    def _text(self, channel: Channel) -> TextChannel:
        text = self._texts.get(channel)
        if text is None:
            text = TextChannel(channel, self._judge, max_hold=self._bounds.text)
            self._texts[channel] = text
        return text

    def _tool(self, channel: Channel) -> ToolChannel:
        tool = self._tools.get(channel)
        if tool is None:
            tool = self._tools[channel] = self._open_tools[channel] = ToolChannel(channel)
        return tool

    # --- what becomes of it ------------------------------------------------------------------

    def _decide(self, news: "_News") -> list[Frame] | None:
        """Decide what can be decided now. Returns what to send if the answer ends here."""
        if news.fault:
            return self.stop(news.fault)
        for text in news.texts:
            stop = text.advance()
            if stop is not None:
                return self._stopped(stop)
            self._watch(text)
        if self._waiting and (stop := self._lose_patience(news)):
            return self._stopped(stop)
        if news.over is not None:
            return self._refuse(news.over, MESSAGES[BLOCKED_TOOL])
        for tool in news.ended:
            frames = self._judge_call(tool)
            if frames is not None:
                return frames
        return None

    def _watch(self, text: TextChannel) -> None:
        """Remember a text that waits for more, and whose dialect does not say when it ends."""
        if len(text.edits) > self._bounds.edits:
            self._over_edits = True
        if text.waiting is None:
            self._waiting.pop(text, None)
        elif self._is_impatient(text.channel):
            self._waiting[text] = None

    def _is_impatient(self, channel: Channel) -> bool:
        if channel.kind is ChannelKind.OTHER:
            return self._dialect.name != "generic"
        return not self._closes

    def _lose_patience(self, news: "_News") -> Stop | None:
        """Decide texts that nothing seems to follow. ``OTHER`` is never held for long.

        A member that no dialect knows may bring a new value with every frame: that would hold
        back all of the answer.
        """
        for text in list(self._waiting):
            stop: Stop | None = None
            oldest = text.waiting
            is_other = text.channel.kind is ChannelKind.OTHER
            if oldest is None:
                pass
            elif text not in news.texts:
                text.idle += is_other or text.channel.choice in news.spoke
                stop = text.flush() if text.idle >= PATIENCE else None
            elif is_other and oldest.entry.number <= news.entry.number - PATIENCE:
                stop = text.advance(until=oldest.end)
            if stop is not None:
                return stop
            if text.waiting is None:
                del self._waiting[text]
        return None

    def _judge_call(self, tool: ToolChannel) -> list[Frame] | None:
        arguments = tool.arguments
        self.scanned += len(arguments)
        ruling = self._judge.tool_call(tool.name, arguments, tool.channel)
        if ruling.refused:
            return self._refuse(tool, ruling.refused)
        if not tool.decide(ruling.arguments):
            return self.stop(UNEDITABLE)
        del self._open_tools[tool.channel]
        self._decided.append(tool)
        self._release_calls()
        return None

    def _release_calls(self) -> None:
        """Let those calls go whose frames stand behind no frame of an undecided one.

        So no call is ever sent in part.
        """
        earliest = min((t.first.number for t in self._open_tools.values() if t.first), default=None)
        for tool in [t for t in self._decided if earliest is None or t.last < earliest]:
            tool.release()
            self._decided.remove(tool)

    def _refuse(self, tool: ToolChannel, message: str) -> list[Frame]:
        """End the answer in the place of a tool call."""
        for text in self._texts.values():
            if stop := text.flush():
                return self._stopped(stop)
        channel = tool.channel
        kept = sum(t.closed for t in self._tools.values() if t.channel.choice == channel.choice)
        frames = self._released(before=tool.first)
        frames += self._beside(tool)
        self.stopped_at = tool.first
        self.blocked = Blocked(
            code=BLOCKED_TOOL,
            message=message,
            refused=True,
            choice=channel.choice,
            kept_calls=kept,
        )
        return frames + self._end(self._refusals, text=message)

    def _beside(self, refused: ToolChannel) -> list[Frame]:
        """Return the frame of a refused call without it, where it says other things as well."""
        entry, cut = refused.first, CHUNK_CUTS.get(self._dialect.name)
        if cut is None or entry is None or not self._queue or entry is not self._queue[0]:
            return []
        channel = refused.channel
        keep = sum(
            t.first is entry and t.closed and t.channel.choice == channel.choice
            for t in self._tools.values()
        )
        try:
            body = document(changed(entry.frame.data, entry.changes, dialect=self._dialect.name))
        except EditFailed:
            return []
        cut(body, choice=channel.choice, keep=keep)
        frame = replace(entry.frame, data=encode(body))
        if self._ending is not None:
            said = [e for e in entry.events if isinstance(e, TextDelta) or (keep and _opens(e))]
            self._ending.sent(frame, said)
        return [frame]

    def _stopped(self, stop: Stop) -> list[Frame]:
        """End the answer in a text. What came before that frame, and is decided, still goes."""
        frames = self._released(before=stop.entry)
        return frames + self.stop(BLOCKED, stop.reason)

    def _end(self, style: Style, *, text: str = "") -> list[Frame]:
        """Throw away what is held, and return what ends the answer instead."""
        self.dropped += len(self._queue)
        self._queue.clear()
        self.held_bytes = 0
        blocked = self.blocked
        if blocked is None:
            return []
        if style == "graceful" and self._ending is not None:
            return self._ending.end(text, filtered=not blocked.refused)
        return error_frames(self._dialect, code=blocked.code, message=blocked.message)

    def _released(self, before: Entry | None = None) -> list[Frame]:
        """Return the frames that nothing holds any more."""
        queue = self._queue
        frames: list[Frame] = []
        while queue and not queue[0].pending and queue[0] is not before:
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


@dataclass(slots=True)
class _News:
    """What one frame brought."""

    entry: Entry
    texts: dict[TextChannel, None] = field(default_factory=dict)
    ended: list[ToolChannel] = field(default_factory=list)
    spoke: set[int] = field(default_factory=set)
    over: ToolChannel | None = None
    fault: str = ""


def _opens(event: AnswerEvent) -> bool:
    return isinstance(event, ToolCallOpened)


def acts(ruling: Ruling) -> bool:
    """Whether a ruling does anything."""
    return bool(ruling.block) or ruling.replacement is not None
