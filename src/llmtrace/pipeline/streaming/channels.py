"""The channels of one answer: what each frame brings them, and what that decides."""

from dataclasses import dataclass, field
from typing import Final

from llmtrace.domain.answers import (
    Channel,
    ChannelClosed,
    ChannelKind,
    Ended,
    Failed,
    Stopped,
    TextDelta,
    TextRepeat,
    ToolCallOpened,
)
from llmtrace.pipeline.streaming.entries import Entry
from llmtrace.pipeline.streaming.judging import ChannelJudge
from llmtrace.pipeline.streaming.stops import CALL_WENT_ON, HELD_TOO_MUCH, GateBounds
from llmtrace.pipeline.streaming.texts import Stop, TextChannel
from llmtrace.pipeline.streaming.tools import ToolChannel

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


@dataclass(slots=True)
class News:
    """What one frame brought."""

    entry: Entry
    texts: dict[TextChannel, None] = field(default_factory=dict)
    ended: list[ToolChannel] = field(default_factory=list)
    """Tool calls that are whole now."""
    spoke: set[int] = field(default_factory=set)
    """The choices that said something."""
    over: ToolChannel | None = None
    """A tool call that is longer than its bound."""
    fault: str = ""
    """The code of what an answer may not do."""


class ChannelTable:
    """The texts and the tool calls of one answer."""

    def __init__(self, judge: ChannelJudge, bounds: GateBounds, dialect: str) -> None:
        self._judge = judge
        self._bounds = bounds
        self._dialect = dialect
        self._closes = dialect in CLOSING
        self._texts: dict[Channel, TextChannel] = {}
        self._tools: dict[Channel, ToolChannel] = {}
        self._open: dict[Channel, ToolChannel] = {}
        self._decided: list[ToolChannel] = []  # that wait for another, which stands between
        self._waiting: dict[TextChannel, None] = {}
        self._edits = 0
        self.scanned = 0
        """Code points that came to be judged."""
        self.has_ended = False
        """Whether the provider said that it has, in whatever way."""

    # --- what a frame says -------------------------------------------------------------------

    def note(self, entry: Entry) -> News:
        """Take what a frame says. Nothing is judged yet."""
        news = News(entry)
        for event in entry.events:
            match event:
                case TextDelta():
                    self._delta(event, news)
                case TextRepeat():
                    self._repeat(event, news)
                case ChannelClosed():
                    self._close(event.channel, news)
                case ToolCallOpened():
                    self._opened(event, news)
                case Stopped() | Ended() | Failed():
                    self.has_ended = True
                case _:
                    pass
        return news

    def _delta(self, event: TextDelta, news: News) -> None:
        channel, size = event.channel, len(event.text)
        self.scanned += size
        news.spoke.add(channel.choice)
        if channel.kind is not ChannelKind.TOOL_CALL:
            text = self._texts.get(channel)
            if text is None:
                text = TextChannel(channel, self._judge, max_hold=self._bounds.text)
                self._texts[channel] = text
            text.append(news.entry, event.path, event.text)
            news.texts[text] = None
            return
        tool = self._tool(channel, news)
        if tool.closed:
            news.fault = CALL_WENT_ON
            return
        tool.append(news.entry, event.path, event.text)
        if tool.size > self._bounds.tool_call:
            news.over = tool

    def _repeat(self, event: TextRepeat, news: News) -> None:
        channel = event.channel
        known: TextChannel | ToolChannel | None = self._texts.get(channel)
        known = known or self._tools.get(channel)
        if known is None:
            self._delta(TextDelta(channel=channel, text=event.text, path=event.path), news)
        else:
            known.repeat(news.entry, event.path, event.text)

    def _opened(self, event: ToolCallOpened, news: News) -> None:
        news.spoke.add(event.channel.choice)
        tool = self._tool(event.channel, news)
        if not tool.closed:
            tool.open(news.entry, event.name)

    def _close(self, channel: Channel, news: News) -> None:
        if channel.kind is ChannelKind.TOOL_CALL:
            tool = self._open.get(channel)
            if tool is not None:
                news.ended.append(tool)
        elif (text := self._texts.get(channel)) is not None:
            text.closed = True
            news.texts[text] = None

    def _tool(self, channel: Channel, news: News) -> ToolChannel:
        tool = self._tools.get(channel)
        if tool is None:
            tool = self._tools[channel] = self._open[channel] = ToolChannel(channel)
            if len(self._open) > self._bounds.calls:
                news.fault = HELD_TOO_MUCH
        return tool

    # --- texts -------------------------------------------------------------------------------

    def decide(self, news: News) -> Stop | None:
        """Decide what can be decided of the texts; return where the answer must stop, if so."""
        for text in news.texts:
            before = len(text.edits)
            stop = text.advance()
            if stop is not None:
                return stop
            self._edits += len(text.edits) - before
            if self._edits > self._bounds.edits:
                news.fault = HELD_TOO_MUCH
            if text.waiting is None:
                self._waiting.pop(text, None)
            elif self._is_impatient(text.channel):
                self._waiting[text] = None
        return self._lose_patience(news) if self._waiting else None

    def _is_impatient(self, channel: Channel) -> bool:
        if channel.kind is ChannelKind.OTHER:
            return self._dialect != "generic"
        return not self._closes

    def _lose_patience(self, news: News) -> Stop | None:
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
                text.idle += text.channel.choice in news.spoke or (is_other and bool(news.spoke))
                stop = text.flush() if text.idle >= PATIENCE else None
            elif is_other and oldest.entry.number <= news.entry.number - PATIENCE:
                stop = text.advance(until=oldest.end)
            if stop is not None:
                return stop
            if text.waiting is None:
                del self._waiting[text]
        return None

    def flush(self) -> Stop | None:
        """Decide all texts as they stand."""
        return next((stop for text in self._texts.values() if (stop := text.flush())), None)

    # --- tool calls --------------------------------------------------------------------------

    def allow(self, tool: ToolChannel, arguments: str | None) -> bool:
        """Let a call go, with other arguments if there are any.

        It goes when no undecided call has a frame between its own, so that none is ever sent in
        part. Returns False where there is no place for the arguments.
        """
        fits = tool.decide(arguments)
        del self._open[tool.channel]
        self._decided.append(tool)
        earliest = min((t.first.number for t in self._open.values() if t.first), default=None)
        for decided in [t for t in self._decided if earliest is None or t.last < earliest]:
            decided.release()
            self._decided.remove(decided)
        return fits

    def allowed(self, choice: int, *, within: Entry | None = None) -> int:
        """Return how many calls of a choice may go (of those that begin in one frame)."""
        return sum(
            tool.closed and tool.channel.choice == choice and within in (None, tool.first)
            for tool in self._tools.values()
        )
