import json
from typing import Any

import pytest

from llmtrace.providers.base import Frame
from llmtrace.providers.chat_answers import ChatReader
from llmtrace.providers.endings.chat import ChatEnding, CompletionsEnding, whole_chat


def chunk(*choices: dict[str, Any]) -> Frame:
    head = {"id": "c1", "object": "o", "created": 7, "model": "m", "system_fingerprint": None}
    return Frame(event="", data=json.dumps({**head, "choices": choices, "usage": None}).encode())


def ended(*frames: Frame, text: str = "", filtered: bool = False) -> list[Any]:
    ending, reader = ChatEnding(), ChatReader()
    for frame in frames:
        ending.sent(frame, reader.receive(frame))
    *chunks, done = ending.end(text, filtered=filtered)
    assert done.data == b"[DONE]"
    return [json.loads(frame.data) for frame in chunks]


def test_the_end_looks_like_what_came_before() -> None:
    first = chunk({"index": 0, "delta": {"content": "so"}})
    said, stop = ended(first, text="why")
    assert said == {
        "id": "c1",
        "object": "o",
        "created": 7,
        "model": "m",
        "system_fingerprint": None,
        "choices": [{"index": 0, "delta": {"content": "why"}, "finish_reason": None}],
    }
    assert stop["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


def test_each_choice_that_is_open_ends() -> None:
    frames = [chunk({"index": n, "delta": {"content": "a"}}) for n in range(3)]
    frames.append(chunk({"index": 1, "delta": {}, "finish_reason": "stop"}))
    ends = [one["choices"][0] for one in ended(*frames, filtered=True)]
    assert [(e["index"], e["finish_reason"]) for e in ends] == [
        (0, "content_filter"),
        (2, "content_filter"),
    ]


def test_calls_that_were_sent_are_to_be_made() -> None:
    call = {"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}
    (stop,) = ended(chunk({"index": 0, "delta": {"tool_calls": [call]}}))
    assert stop["choices"][0]["finish_reason"] == "tool_calls"


def test_a_completion_ends_in_its_own_shape() -> None:
    said, stop, _ = CompletionsEnding().end("why", filtered=False)
    assert json.loads(said.data)["choices"] == [{"index": 0, "text": "why", "finish_reason": None}]
    assert json.loads(stop.data)["choices"] == [{"index": 0, "text": "", "finish_reason": "stop"}]


@pytest.mark.parametrize(
    ("content", "keep", "expected"),
    [
        pytest.param(None, 0, "why", id="no-text"),
        pytest.param("so", 1, "so\n\nwhy", id="behind-a-text"),
        pytest.param([{"type": "text", "text": "so"}], 2, "list", id="behind-blocks"),
    ],
)
def test_a_whole_answer_keeps_its_first_calls(content: Any, keep: int, expected: str) -> None:
    calls = [{"id": f"t{n}"} for n in range(3)]
    message = {"role": "assistant", "content": content, "tool_calls": calls, "function_call": {}}
    other = {"index": 0, "message": {"content": "other"}, "finish_reason": "stop"}
    body: dict[str, Any] = {"choices": [other, {"index": 1, "message": message}], "usage": {}}
    whole_chat(body, "why", choice=1, keep=keep)
    assert body["choices"][0] == other
    chosen = body["choices"][1]
    assert chosen["message"].get("tool_calls", []) == calls[:keep]
    assert "function_call" not in chosen["message"]
    assert chosen["finish_reason"] == ("tool_calls" if keep else "stop")
    if expected == "list":
        assert chosen["message"]["content"][-1] == {"type": "text", "text": "why"}
    else:
        assert chosen["message"]["content"] == expected
