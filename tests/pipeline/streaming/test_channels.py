from collections.abc import Sequence

import pytest

from llmtrace.domain.answers import (
    AnswerEvent,
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
from llmtrace.pipeline.streaming import GateBounds
from llmtrace.pipeline.streaming.channels import CLOSING, ChannelTable, News
from llmtrace.pipeline.streaming.entries import Entry
from llmtrace.providers.base import Frame
from llmtrace.providers.registry import DIALECTS
from llmtrace.testing.judges import PatternJudge

TEXT, TOOL = Channel(0, ChannelKind.TEXT), Channel(0, ChannelKind.TOOL_CALL)


def table(dialect: str = "openai.chat") -> ChannelTable:
    return ChannelTable(PatternJudge(), GateBounds(), dialect)


def note(channels: ChannelTable, *events: AnswerEvent, number: int = 0) -> News:
    return channels.note(Entry(Frame(event="", data=b""), events, number))


def text(said: str, channel: Channel = TEXT) -> TextDelta:
    return TextDelta(channel=channel, text=said, path=("t",))


def test_dialects_that_close_their_texts_exist() -> None:
    assert DIALECTS.keys() >= CLOSING


@pytest.mark.parametrize("kind", [ChannelKind.TEXT, ChannelKind.TOOL_CALL])
def test_a_repeat_of_what_was_never_said_is_news(kind: ChannelKind) -> None:
    channels = table()
    repeat = TextRepeat(channel=Channel(0, kind), text="AKIA", path=("t",))
    news = note(channels, repeat)
    assert channels.scanned == 4
    channels.decide(news)
    assert news.entry.pending == 1


@pytest.mark.parametrize(
    "event", [Stopped(choice=0, reason="stop"), Ended(), Failed(code="", message="")]
)
def test_an_end_is_noted(event: AnswerEvent) -> None:
    channels = table()
    assert not channels.has_ended
    note(channels, event)
    assert channels.has_ended


def test_a_call_that_closes_is_whole() -> None:
    channels = table()
    opened = ToolCallOpened(channel=TOOL, call_id="c", name="run")
    news = note(channels, opened, text("{}", TOOL), ChannelClosed(channel=TOOL))
    (tool,) = news.ended
    assert (tool.name, tool.arguments, news.spoke) == ("run", "{}", {0})
    assert channels.allow(tool, None)
    assert (channels.allowed(0), channels.allowed(1)) == (1, 0)
    assert channels.allowed(0, within=news.entry) == 1
    assert news.entry.pending == 0
    again = note(channels, ChannelClosed(channel=TOOL))
    assert not again.ended


@pytest.mark.parametrize(
    ("dialect", "frames", "waits"),
    [
        pytest.param("openai.chat", 1, True, id="one-frame"),
        pytest.param("openai.chat", 2, False, id="two-frames"),
        pytest.param("anthropic.messages", 9, True, id="a-dialect-that-closes"),
    ],
)
def test_how_long_a_text_waits(dialect: str, frames: int, waits: bool) -> None:
    channels = table(dialect)
    first = note(channels, text("AKIA", Channel(0, ChannelKind.REASONING)))
    channels.decide(first)
    for number in range(frames):
        channels.decide(note(channels, text("word ."), number=number + 1))
    assert bool(first.entry.pending) == waits


def test_another_choice_says_nothing_of_a_text() -> None:
    channels = table()
    first = note(channels, text("AKIA"))
    channels.decide(first)
    for number in range(9):
        other = text("word .", Channel(1, ChannelKind.TEXT))
        channels.decide(note(channels, other, number=number + 1))
    assert first.entry.pending


def test_flushing_decides_all() -> None:
    channels = table()
    said: Sequence[AnswerEvent] = [text("AKIA"), text("AKIA", Channel(1, ChannelKind.TEXT))]
    news = note(channels, *said)
    channels.decide(news)
    assert news.entry.pending == 2
    assert channels.flush() is None
    assert news.entry.pending == 0
