import json
from collections.abc import Callable
from typing import Any

from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.scripts.cohere import chat, error
from llmtrace.testing.wire import Reply, Request

type Ask = Callable[..., Request]
type Events = Callable[[Reply], list[dict[str, Any]]]

STREAM = {"stream": True}
TOOLS = (ScriptedTool(name="ls", arguments='{"path": "/"}'),)


def test_a_stream_says_what_the_whole_says(ask: Ask, events: Events) -> None:
    whole = json.loads(chat(ask("/v2/chat"), Script()).body)
    found = events(chat(ask("/v2/chat", STREAM), Script()))
    deltas = [e["delta"] for e in found if e["type"] == "content-delta"]
    text = "".join(delta["message"]["content"]["text"] for delta in deltas)
    assert text == whole["message"]["content"][0]["text"] == DEFAULT_TEXT
    assert found[-1]["delta"]["usage"] == whole["usage"]


def test_tool_arguments_come_in_pieces(ask: Ask, events: Events) -> None:
    found = events(chat(ask("/v2/chat", STREAM), Script(tool_calls=TOOLS)))
    pieces = [
        event["delta"]["message"]["tool_calls"]["function"]["arguments"]
        for event in found
        if event["type"] == "tool-call-delta"
    ]
    assert "".join(pieces) == TOOLS[0].arguments
    assert found[-1]["delta"]["finish_reason"] == "TOOL_CALL"
    whole = json.loads(chat(ask("/v2/chat"), Script(tool_calls=TOOLS)).body)
    assert whole["message"]["tool_calls"][0]["function"]["name"] == "ls"


def test_errors_have_a_message() -> None:
    assert error(Script(), "m")["message"] == "m"
