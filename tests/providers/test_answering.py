"""Channels: what has been said, said again, and by what nobody knows."""

import pytest

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelClosed,
    ChannelKind,
    Failed,
    Identified,
    TextDelta,
    TextRepeat,
    ToolCallOpened,
    Unread,
    UsageSeen,
)
from llmtrace.providers import answering
from llmtrace.providers.answering import Channels, compact, failure, identified, parse, usage
from llmtrace.providers.base import Json

TEXT = Channel(0, ChannelKind.TEXT)
PATH = ("t",)


def test_a_whole_text_is_news_if_nothing_was_said() -> None:
    assert Channels().whole(TEXT, "ab", PATH) == [TextDelta(channel=TEXT, text="ab", path=PATH)]


def test_a_whole_text_is_a_repeat_if_it_was_said() -> None:
    channels = Channels()
    channels.delta(TEXT, "a", PATH)
    channels.delta(TEXT, "b", PATH)
    assert channels.whole(TEXT, "ab", PATH) == [TextRepeat(channel=TEXT, text="ab", path=PATH)]


def test_a_whole_text_that_differs_is_read_on_a_channel_of_its_own() -> None:
    channels = Channels()
    channels.delta(TEXT, "harmless", PATH)
    [event] = channels.whole(TEXT, "harmful", PATH)
    assert isinstance(event, TextDelta)
    assert (event.channel.kind, event.text) == (ChannelKind.OTHER, "harmful")


@pytest.mark.parametrize("text", ["", None, 1, ["a"]])
def test_what_is_no_text_says_nothing(text: Json) -> None:
    assert Channels().delta(TEXT, text, PATH) == []
    assert Channels().whole(TEXT, text, PATH) == []


def test_channels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MAX_CHANNELS", 2)
    channels = Channels()
    events = channels.loose(["a", "b", "cé"], (), kind=ChannelKind.CITATION)
    assert events[-1] == Unread(reason="too_large", size=3)
    assert channels.delta(TEXT, "late", PATH) == [Unread(reason="too_large", size=4)]
    assert channels.tool(Channel(0, ChannelKind.TOOL_CALL), "id", "name") == []


def test_a_tool_call_opens_once_and_may_get_its_name_later() -> None:
    channels, call = Channels(), Channel(0, ChannelKind.TOOL_CALL)
    assert channels.tool(call, "1", None) == [ToolCallOpened(channel=call, call_id="1", name="")]
    assert channels.tool(call, "", "sh") == [ToolCallOpened(channel=call, call_id="", name="sh")]
    assert channels.tool(call, "", "sh") == []
    assert channels.has_name(call)


def test_channels_close_once() -> None:
    channels, second = Channels(), Channel(1, ChannelKind.TEXT)
    channels.delta(TEXT, "a", PATH)
    channels.delta(second, "b", PATH)
    assert channels.close_all(1) == [ChannelClosed(channel=second)]
    assert channels.close_all() == [ChannelClosed(channel=TEXT)]
    assert channels.close(TEXT) == []


def test_the_same_place_is_the_same_channel() -> None:
    channels = Channels()
    events = channels.other({"a": "x"}, (), event="e") + channels.other({"a": "y"}, (), event="e")
    first, second = (event.channel for event in events if isinstance(event, TextDelta))
    assert first == second
    [third] = channels.other({"a": "z"}, (), event="another")
    assert isinstance(third, TextDelta)
    assert third.channel != first


def test_known_tokens_and_blobs_are_no_text() -> None:
    channels = Channels(frozenset({"id", "box"}), frozenset({"sig"}))
    body: Json = {"id": "a-1", "sig": "ZW5j", "new": "n", "box": {"id": "b", "c": "d"}, "done": "x"}
    events = channels.rest(body, (), {"done": str})
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["n", "d"]
    assert Unread(reason="media", size=4) in events


def test_members_of_another_type_than_expected_are_read() -> None:
    [event] = Channels().rest({"usage": "a text"}, (), {"usage": dict})
    assert isinstance(event, TextDelta)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        pytest.param("No", "", "No", id="string"),
        pytest.param({"message": "No", "code": "c", "type": "t"}, "c", "No", id="code"),
        pytest.param({"message": "No", "code": None, "type": "t"}, "t", "No", id="type"),
        pytest.param({"message": "No", "code": 429}, "429", "No", id="number"),
        pytest.param({"detail": "No"}, "", '{"detail":"No"}', id="no-message"),
        pytest.param(None, "", "null", id="null"),
    ],
)
def test_errors_of_any_shape(error: Json, code: str, message: str) -> None:
    assert failure(error) == Failed(code=code, message=message)


def test_small_readers() -> None:
    none: list[AnswerEvent] = []
    assert parse(b"[1]") == ([1], [])
    assert parse(b"\xff") == (None, [Unread(reason="bad_json", size=1)])
    assert identified({"id": 5}) == none
    assert identified({"id": "a"}) == [Identified(response_id="a")]
    assert usage({"a": 1, "b": None}) == [UsageSeen(raw={"a": 1})]
    assert usage([]) == none


def test_compact_writes_anything() -> None:
    deep: Json = "bottom"
    for _ in range(2_000):
        deep = [deep]
    assert compact({"a": 1}) == '{"a":1}'
    assert compact(deep) == "bottom"
