import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.eventstream import (  # type: ignore[import-untyped]  # it ships no stubs
    EventStreamBuffer,
)

from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.scripts.bedrock import (
    DIALECT,
    converse,
    converse_stream,
    count_tokens,
    encode,
    entries,
    invoke,
    invoke_stream,
    model_of,
)
from llmtrace.testing.wire import Entry, Reply, Request

type Ask = Callable[..., Request]

CLAUDE = "/model/anthropic.claude-3-5-sonnet-20241022-v2:0"


def decoded(reply: Reply) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Read a stream as botocore does, checksums and all."""
    buffer = EventStreamBuffer()
    buffer.add_data(reply.body)
    return [(message.headers, json.loads(message.payload)) for message in buffer]


def test_botocore_reads_what_is_encoded() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(encode({":event-type": "x", "other": "é"}, b"payload"))
    [message] = list(buffer)
    assert (message.headers, message.payload) == ({":event-type": "x", "other": "é"}, b"payload")


def test_a_stream_says_what_the_whole_says(ask: Ask) -> None:
    script = Script(reasoning="hm", chunks=3)
    whole = json.loads(converse(ask(f"{CLAUDE}/converse"), script).body)
    found = decoded(converse_stream(ask(f"{CLAUDE}/converse-stream"), script))
    kinds = [headers[":event-type"] for headers, _ in found]
    assert kinds[0] == "messageStart"
    assert kinds[-2:] == ["messageStop", "metadata"]
    deltas = [value["delta"] for _, value in found if "delta" in value]
    assert "".join(delta.get("text", "") for delta in deltas) == DEFAULT_TEXT
    assert whole["output"]["message"]["content"][-1]["text"] == DEFAULT_TEXT
    assert found[-1][1]["usage"] == whole["usage"]


def test_tool_input_comes_in_pieces(ask: Ask) -> None:
    tools = (ScriptedTool(name="ls", arguments='{"path": "/"}'),)
    found = decoded(converse_stream(ask(f"{CLAUDE}/converse-stream"), Script(tool_calls=tools)))
    pieces = [value["delta"]["toolUse"]["input"] for _, value in found if "delta" in value]
    assert json.loads("".join(pieces)) == {"path": "/"}
    assert found[-2][1] == {"stopReason": "tool_use"}


def test_an_exception_in_mid_stream_ends_it(ask: Ask) -> None:
    found = decoded(converse_stream(ask(f"{CLAUDE}/converse-stream"), Script(error_after=1)))
    assert found[-1][0][":message-type"] == "exception"


def test_invoke_wraps_the_native_events(ask: Ask) -> None:
    reply = invoke_stream(ask(f"{CLAUDE}/invoke-with-response-stream"), Script(chunks=2))
    native = [json.loads(base64.b64decode(value["bytes"])) for _, value in decoded(reply)]
    assert native[0]["type"] == "message_start"
    metrics = native[-1]["amazon-bedrock-invocationMetrics"]
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (12, 9)


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "content"),
        ("meta.llama3-8b-instruct-v1:0", "generation"),
        ("amazon.titan-text-express-v1", "results"),
        ("amazon.titan-embed-text-v2:0", "embedding"),
    ],
)
def test_invoke_answers_in_the_makers_shape(ask: Ask, model: str, key: str) -> None:
    reply = invoke(ask(f"/model/{model}/invoke"), Script())
    assert key in json.loads(reply.body)
    assert ("x-amzn-bedrock-input-token-count", "12") in reply.headers


def test_llama_streams_its_generation(ask: Ask) -> None:
    path = "/model/meta.llama3-8b-instruct-v1:0/invoke-with-response-stream"
    native = [
        json.loads(base64.b64decode(value["bytes"]))
        for _, value in decoded(invoke_stream(ask(path), Script()))
    ]
    assert "".join(event["generation"] for event in native) == DEFAULT_TEXT


def test_conversations_and_models(ask: Ask) -> None:
    body = {
        "messages": [
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": [{"toolUse": {}}]},
            {"role": "user", "content": [{"toolResult": {}}]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "ls"}}]},
    }
    assert entries(body) == [Entry("user", "hi"), Entry("assistant", ""), Entry("tool", "")]
    assert entries({"prompt": "hi"}) == [Entry("user", "hi")]
    assert DIALECT.tools(body) == {"ls"}
    assert model_of(ask("/model/arn%3Aaws%3Am/converse")) == "arn:aws:m"
    assert json.loads(count_tokens(ask(CLAUDE), Script()).body) == {"inputTokens": 12}
