import json
from typing import Any

from llmtrace.providers.anthropic_answers import AnthropicReader
from llmtrace.providers.base import Frame
from llmtrace.providers.endings.anthropic import AnthropicEnding, whole_anthropic


def event(kind: str, **members: Any) -> Frame:
    return Frame(event=kind, data=json.dumps({"type": kind, **members}).encode())


START = event("message_start", message={"id": "m", "usage": {"output_tokens": 3}})


def ended(*frames: Frame, text: str = "", filtered: bool = False) -> list[Any]:
    ending, reader = AnthropicEnding(), AnthropicReader()
    for frame in frames:
        ending.sent(frame, reader.receive(frame))
    ends = ending.end(text, filtered=filtered)
    assert all(json.loads(frame.data)["type"] == frame.event for frame in ends)
    return [json.loads(frame.data) for frame in ends]


def test_open_blocks_are_closed_and_the_text_has_the_next_number() -> None:
    opened = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    ends = ended(START, opened, text="why")
    assert [(one["type"], one.get("index")) for one in ends] == [
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert ends[2]["delta"] == {"type": "text_delta", "text": "why"}
    assert ends[4]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert ends[4]["usage"] == {"output_tokens": 3}


def test_calls_that_were_sent_are_to_be_made() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    opened = event("content_block_start", index=0, content_block=tool)
    ends = ended(START, opened, event("content_block_stop", index=0))
    assert [one["type"] for one in ends] == ["message_delta", "message_stop"]
    assert ends[0]["delta"]["stop_reason"] == "tool_use"


def test_a_filtered_message_is_a_refusal() -> None:
    assert ended(START, filtered=True)[0]["delta"]["stop_reason"] == "refusal"


def test_a_message_that_has_not_begun_begins() -> None:
    ends = ended(text="why")
    assert [one["type"] for one in ends][:2] == ["message_start", "content_block_start"]
    assert ends[0]["message"]["content"] == []


def test_a_message_that_has_stopped_stops_once() -> None:
    stop = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
    assert [one["type"] for one in ended(START, stop)] == ["message_stop"]


def test_a_whole_message_is_cut_at_the_call() -> None:
    blocks: list[Any] = [
        {"type": "text", "text": "so"},
        {"type": "server_tool_use", "id": "s"},
        {"type": "tool_use", "id": "a"},
        {"type": "tool_use", "id": "b"},
        {"type": "text", "text": "behind"},
    ]
    said = {"type": "text", "text": "why"}
    for keep, stop in ((2, "end_turn"), (3, "tool_use")):
        body: dict[str, Any] = {"id": "m", "content": blocks, "usage": {"output_tokens": 1}}
        kept = 2 if keep == 2 else 3
        whole_anthropic(body, "why", choice=0, keep=keep - 1)
        assert body["content"] == [*blocks[:kept], said]
        assert body["stop_reason"] == stop
