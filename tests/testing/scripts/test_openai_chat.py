import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.scripts.openai_chat import (
    VECTOR,
    chat,
    completions,
    embeddings,
    error,
    models,
)
from llmtrace.testing.wire import Reply, Request

type Ask = Callable[..., Request]
type Events = Callable[[Reply], list[dict[str, Any]]]

PATH = "/v1/chat/completions"


def stream(**more: object) -> dict[str, object]:
    return {"model": "gpt-4o", "stream": True, **more}


def joined(events: list[dict[str, Any]], key: str, index: int = 0) -> str:
    choices = [c for event in events for c in event["choices"] if c["index"] == index]
    return "".join(choice["delta"].get(key) or "" for choice in choices)


def test_a_stream_says_what_the_whole_says(ask: Ask, events: Events) -> None:
    script = Script(reasoning="let me see", chunks=4)
    whole = json.loads(chat(ask(PATH, {"model": "gpt-4o"}), script).body)
    found = events(chat(ask(PATH, stream()), script))
    assert joined(found, "content") == whole["choices"][0]["message"]["content"] == DEFAULT_TEXT
    assert joined(found, "reasoning_content") == "let me see"
    assert {event["id"] for event in found} == {whole["id"]}
    assert found[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("asked", [True, False])
def test_usage_comes_last_and_only_where_it_is_asked_for(
    ask: Ask, events: Events, asked: bool
) -> None:
    body = stream(stream_options={"include_usage": asked})
    reply = chat(ask(PATH, body), Script())
    assert reply.body.endswith(b"data: [DONE]\n\n")
    usages = [event.get("usage") for event in events(reply)]
    assert (usages[-1] is not None) == asked
    assert not any(usages[:-1])


def test_tool_calls_come_in_pieces(ask: Ask, events: Events) -> None:
    tools = (ScriptedTool(name="a", arguments='{"x": 1}'), ScriptedTool(name="b"))
    found = events(chat(ask(PATH, stream()), Script(tool_calls=tools)))
    deltas = [
        call
        for event in found
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    texts = {0: "", 1: ""}
    for delta in deltas:
        texts[delta["index"]] += delta["function"]["arguments"]
    assert texts == {0: '{"x": 1}', 1: "{}"}
    assert [d["id"] for d in deltas if "id" in d] == ["call_7_0", "call_7_1"]
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_several_choices_are_streamed_side_by_side(ask: Ask, events: Events) -> None:
    found = events(chat(ask(PATH, stream(n=3)), Script()))
    assert [joined(found, "content", index) for index in range(3)] == [DEFAULT_TEXT] * 3


def test_a_refusal_is_no_content(ask: Ask) -> None:
    message = json.loads(chat(ask(PATH), Script(refusal="No.")).body)["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "No.")


def test_an_error_in_mid_stream_ends_it(ask: Ask, events: Events) -> None:
    found = events(chat(ask(PATH, stream()), Script(error_after=2)))
    assert "error" in found[-1]
    assert joined(found[:-1], "content") == "Hello from"


def test_azure_filters_the_prompt_first(ask: Ask, events: Events) -> None:
    found = events(chat(ask("/openai/deployments/d/chat/completions", stream()), Script()))
    assert found[0]["choices"] == []
    assert "prompt_filter_results" in found[0]


def test_legacy_completions(ask: Ask, events: Events) -> None:
    body = {"prompt": "x", "stream": True, "stream_options": {"include_usage": True}}
    found = events(completions(ask("/v1/completions", body), Script(chunks=3)))
    texts = [choice["text"] for event in found for choice in event["choices"]]
    assert "".join(texts) == DEFAULT_TEXT
    assert found[-1]["usage"]["total_tokens"] == 21
    whole = json.loads(completions(ask("/v1/completions", {"prompt": "x"}), Script()).body)
    assert whole["choices"][0]["text"] == DEFAULT_TEXT


def test_embeddings_as_numbers_and_packed(ask: Ask) -> None:
    plain = json.loads(embeddings(ask("/v1/embeddings", {"input": ["a", "b"]}), Script()).body)
    assert [row["embedding"] for row in plain["data"]] == [list(VECTOR)] * 2
    body = {"input": "a", "encoding_format": "base64"}
    [row] = json.loads(embeddings(ask("/v1/embeddings", body), Script()).body)["data"]
    assert struct.unpack("<4f", base64.b64decode(row["embedding"])) == VECTOR


def test_models_are_listed_in_the_shape_of_who_is_asked(ask: Ask) -> None:
    assert json.loads(models(ask("/v1/models"), Script()).body)["object"] == "list"
    asked = Request(method="GET", path="/v1/models", headers={"anthropic-version": "1"})
    assert json.loads(models(asked, Script()).body)["has_more"] is False


def test_errors_have_the_providers_types() -> None:
    assert error(Script(status=429), "m")["error"]["code"] == "rate_limit_exceeded"
    assert error(Script(status=503, code="own"), "m")["error"]["code"] == "own"
