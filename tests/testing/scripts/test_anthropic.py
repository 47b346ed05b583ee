import json
from collections.abc import Callable
from typing import Any

from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.scripts.anthropic import (
    SIGNATURE,
    count_tokens,
    entries,
    error,
    messages,
)
from llmtrace.testing.wire import Entry, Reply, Request

type Ask = Callable[..., Request]
type Events = Callable[[Reply], list[dict[str, Any]]]

PATH = "/v1/messages"
TOOL = ScriptedTool(name="Bash", arguments='{"command": "ls"}')
STREAM = {"model": "claude-sonnet-4-5", "stream": True}


def test_the_events_of_a_text_are_in_order(ask: Ask, events: Events) -> None:
    reply = messages(ask(PATH, STREAM), Script(chunks=2))
    found = events(reply)
    assert [event["type"] for event in found] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    named = [line[7:].decode() for line in reply.body.split(b"\n") if line.startswith(b"event: ")]
    assert named == [event["type"] for event in found]


def test_a_stream_rebuilds_the_whole_message(ask: Ask, events: Events) -> None:
    script = Script(reasoning="think twice", tool_calls=(TOOL,))
    whole = json.loads(messages(ask(PATH), script).body)
    blocks: dict[int, dict[str, Any]] = {}
    pieces: dict[int, str] = {}
    for event in events(messages(ask(PATH, STREAM), script)):
        if event["type"] == "content_block_start":
            blocks[event["index"]] = event["content_block"]
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "signature_delta":
                blocks[event["index"]]["signature"] = delta["signature"]
            text = delta.get("thinking") or delta.get("partial_json") or ""
            pieces[event["index"]] = pieces.get(event["index"], "") + text
    blocks[0]["thinking"], blocks[1]["input"] = pieces[0], json.loads(pieces[1])
    assert list(blocks.values()) == whole["content"]
    assert blocks[0]["signature"] == SIGNATURE
    assert whole["stop_reason"] == "tool_use"


def test_the_cache_is_no_part_of_input_tokens(ask: Ask) -> None:
    script = Script(input_tokens=100, cached=60, cache_write=20, cache_write_1h=10)
    usage = json.loads(messages(ask(PATH), script).body)["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (10, 60)
    assert usage["cache_creation_input_tokens"] == 30
    assert usage["cache_creation"]["ephemeral_1h_input_tokens"] == 10


def test_an_error_in_mid_stream_ends_it(ask: Ask, events: Events) -> None:
    found = events(messages(ask(PATH, STREAM), Script(error_after=1)))
    assert found[-1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
    }


def test_vertex_streams_by_its_path(ask: Ask) -> None:
    assert messages(ask("/publishers/anthropic/models/m:streamRawPredict"), Script()).streamed
    assert not messages(ask("/publishers/anthropic/models/m:rawPredict"), Script()).streamed


def test_refusals_and_overrides(ask: Ask) -> None:
    refused = json.loads(messages(ask(PATH), Script(refusal="No.", answer_model="x")).body)
    assert (refused["stop_reason"], refused["model"]) == ("refusal", "x")
    stopped = json.loads(messages(ask(PATH), Script(stop="max_tokens")).body)
    assert (stopped["stop_reason"], stopped["content"][0]["text"]) == ("max_tokens", DEFAULT_TEXT)


def test_a_conversation_is_read_with_its_tools() -> None:
    body = {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1"}]},
            {"role": "user", "content": [{"type": "tool_result"}, {"type": "text", "text": "x"}]},
        ]
    }
    assert entries(body) == [
        Entry("user", "hi"),
        Entry("assistant", ""),
        Entry("tool", ""),
        Entry("user", "x"),
    ]


def test_counts_and_errors(ask: Ask) -> None:
    assert json.loads(count_tokens(ask(PATH), Script()).body) == {"input_tokens": 12}
    assert error(Script(status=529), "m")["error"]["type"] == "overloaded_error"
