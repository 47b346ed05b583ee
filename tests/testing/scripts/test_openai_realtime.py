import json
from collections.abc import Callable
from typing import Any

from llmtrace.testing.script import DEFAULT_TEXT, Script
from llmtrace.testing.scripts.openai_realtime import opened, turn
from llmtrace.testing.wire import Chunk, Request

type Ask = Callable[..., Request]


def read(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [json.loads(chunk.data) for chunk in chunks]


def test_a_session_opens_with_its_model(ask: Ask) -> None:
    [event] = read(opened(ask("/v1/realtime", model="m")))
    assert (event["type"], event["session"]["model"]) == ("session.created", "m")


def test_a_response_ends_with_its_usage(ask: Ask) -> None:
    events = read(turn(ask("/v1/realtime", {"type": "response.create"}), Script()))
    deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    assert "".join(deltas) == DEFAULT_TEXT
    assert events[-1]["response"]["usage"]["total_tokens"] == 21
    assert len({event["event_id"] for event in events}) == len(events)


def test_other_events_are_acknowledged(ask: Ask) -> None:
    def kinds(body: dict[str, Any]) -> list[str]:
        return [event["type"] for event in read(turn(ask("/v1/realtime", body), Script()))]

    assert kinds({"type": "session.update"}) == ["session.updated"]
    item = {"type": "conversation.item.create", "item": {"type": "message"}}
    assert kinds(item) == ["conversation.item.added", "conversation.item.done"]
    assert kinds({"type": "input_audio_buffer.append"}) == []
    assert kinds({"type": "input_audio_buffer.append", "audio": "AAAA"})[0] == "response.created"
