"""Items of a response's output: at their beginning, at their end, in the response."""

from typing import Any

import pytest

from llmtrace.domain.answers import (
    AnswerEvent,
    ChannelKind,
    TextDelta,
    TextRepeat,
    ToolCallOpened,
    Unread,
)
from llmtrace.providers.answering import Channels
from llmtrace.providers.responses_items import CALLS, Items


def new_items() -> Items:
    return Items(Channels(frozenset({"id", "type", "status"}), frozenset({"encrypted_content"})))


def texts(events: list[AnswerEvent]) -> list[tuple[ChannelKind, str]]:
    return [(e.channel.kind, e.text) for e in events if isinstance(e, TextDelta)]


@pytest.mark.parametrize("kind", sorted(CALLS))
def test_every_kind_of_call_opens_with_its_arguments(kind: str) -> None:
    name, member = CALLS[kind]
    item: dict[str, Any] = {"type": kind, "call_id": "c", "name": name or "f", member: {"a": "b"}}
    events = new_items().item(item, 0, (), final=True)
    opened = [e for e in events if isinstance(e, ToolCallOpened)]
    assert [(e.call_id, e.name) for e in opened] == [("c", name or "f")]
    assert (ChannelKind.TOOL_CALL, '{"a":"b"}') in texts(events)


def test_arguments_are_awaited_until_the_item_is_done() -> None:
    items = new_items()
    item: Any = {"type": "function_call", "name": "f", "arguments": "{"}
    assert texts(items.item(item, 0, (), final=False)) == []
    assert texts(items.item({**item, "arguments": "{}"}, 0, (), final=True)) != []


def test_an_item_that_comes_again_is_a_repeat() -> None:
    items = new_items()
    item: Any = {
        "type": "mcp_call",
        "arguments": "{}",
        "output": "out",
        "new": "x",
        "content": [{"type": "output_text", "text": "Hi", "annotations": [{"url": "http://a"}]}],
    }
    first = items.item(item, 0, ("item",), final=True)
    again = items.item(item, 0, ("response", "output", 0), final=True)
    assert len(texts(first)) == 5
    assert texts(again) == []
    assert sorted(e.text for e in again if isinstance(e, TextRepeat)) == sorted(
        text for _, text in texts(first)
    )


def test_an_item_that_changed_is_news() -> None:
    items = new_items()
    content: Any = [{"type": "output_text", "text": "harmless"}]
    items.item({"type": "message", "content": content}, 0, (), final=True)
    content = [{"type": "output_text", "text": "harmful"}]
    found = items.item({"type": "message", "content": content}, 0, (), final=True)
    assert texts(found) == [(ChannelKind.OTHER, "harmful")]


def test_pictures_and_blobs_are_gaps() -> None:
    picture: Any = {"type": "image_generation_call", "result": "AAAA", "revised_prompt": "A cat"}
    events = new_items().item(picture, 0, (), final=True)
    assert Unread(reason="media", size=4) in events
    assert texts(events) == [(ChannelKind.OTHER, "A cat")]
    blob: Any = {"type": "reasoning", "encrypted_content": "ZW5j"}
    assert new_items().item(blob, 0, (), final=True) == [Unread(reason="media", size=4)]


@pytest.mark.parametrize("item", ["x y", ["x y"], {"type": "new", "deep": {"id": "x y"}}])
def test_what_nobody_knows_is_read(item: Any) -> None:
    assert texts(new_items().item(item, 0, (), final=True)) == [(ChannelKind.OTHER, "x y")]


def test_a_place_is_remembered_by_the_items_id() -> None:
    items = new_items()
    assert items.place("a", 3) == 3
    assert items.place("a", None) == 3
    assert items.place("a", 0) == 3  # in the final list, whatever is before it
    assert items.place("b", None) == 0
