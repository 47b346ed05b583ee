"""Each model's own answers of Invoke are told by their shape, whole and streamed."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.answers import Answer, AnswerEvent, Channel, ChannelKind, Failed, Unread
from llmtrace.providers.anthropic_answers import AnthropicReader
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.bedrock_invoke_answers import METRICS, InvokeReader, invoke_answer
from llmtrace.providers.collector import AnswerCollector

EXAMPLES = Path(__file__).parent / "examples"
TEXT = Channel(0, ChannelKind.TEXT)


def put_together(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


def chunk(inner: Json) -> Frame:
    data = base64.b64encode(json.dumps(inner).encode()).decode()
    return Frame(event="chunk", data=json.dumps({"bytes": data, "p": "abc"}).encode())


def stream(*inner: Json) -> Answer:
    reader = InvokeReader()
    events = [event for item in inner for event in reader.receive(chunk(item))]
    return put_together(events + reader.close())


CHAT_END: Json = {"index": 0, "delta": {"content": "llo"}, "finish_reason": "stop"}
COUNTS: Json = {"inputTokenCount": 3, "outputTokenCount": 2}


def test_anthropic_s_events_are_read_as_by_its_own_reader() -> None:
    example: dict[str, Any] = json.loads((EXAMPLES / "anthropic.messages.json").read_text())
    inner = [frame["data"] for frame in example["frames"]]
    reader = AnthropicReader()
    frames = [Frame(event="", data=json.dumps(item).encode()) for item in inner]
    expected = [event for frame in frames for event in reader.receive(frame)] + reader.close()
    assert stream(*inner) == put_together(expected)


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(
            [{"generation": "He"}, {"generation": "llo", "stop_reason": "stop", METRICS: COUNTS}],
            id="llama",
        ),
        pytest.param(
            [
                {"outputText": "He"},
                {"outputText": "llo", "completionReason": "stop", METRICS: COUNTS},
            ],
            id="titan",
        ),
        pytest.param(
            [
                {"outputs": [{"text": "He", "stop_reason": None}]},
                {"outputs": [{"text": "llo", "stop_reason": "stop"}], METRICS: COUNTS},
            ],
            id="mistral",
        ),
        pytest.param(
            [
                {"choices": [{"delta": {"content": "He"}}]},
                {"choices": [CHAT_END], METRICS: COUNTS},
            ],
            id="chat",
        ),
        pytest.param(
            [
                {"messageStart": {"role": "assistant"}},
                {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "He"}}},
                {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "llo"}}},
                {"messageStop": {"stopReason": "stop"}},
                {"metadata": {"metrics": {}}, METRICS: COUNTS},
            ],
            id="nova",
        ),
    ],
)
def test_streams_of_other_models(inner: list[Json]) -> None:
    answer = stream(*inner)
    assert answer.texts == {TEXT: "Hello"}
    assert (answer.stop_reasons, answer.complete, answer.usage) == (("stop",), True, COUNTS)
    assert not stream(*inner[:1]).complete


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        pytest.param(
            {
                "generation": "Hello",
                "stop_reason": "stop",
                "prompt_token_count": 3,
                "generation_token_count": 2,
            },
            {"prompt_token_count": 3, "generation_token_count": 2},
            id="llama",
        ),
        pytest.param(
            {
                "inputTextTokenCount": 3,
                "results": [{"tokenCount": 2, "outputText": "Hello", "completionReason": "stop"}],
            },
            {"inputTextTokenCount": 3, "totalOutputTextTokenCount": 2},
            id="titan",
        ),
        pytest.param({"outputs": [{"text": "Hello", "stop_reason": "stop"}]}, None, id="mistral"),
        pytest.param(
            {"generations": [{"text": "Hello", "finish_reason": "stop"}]}, None, id="cohere"
        ),
        pytest.param({"text": "Hello", "finish_reason": "stop"}, None, id="cohere-chat"),
        pytest.param(
            {
                "type": "message",
                "content": [{"type": "text", "text": "Hello"}],
                "stop_reason": "stop",
                "usage": {"input_tokens": 3},
            },
            {"input_tokens": 3},
            id="anthropic",
        ),
        pytest.param(
            {
                "output": {"message": {"content": [{"text": "Hello"}]}},
                "stopReason": "stop",
                "usage": {"inputTokens": 3},
            },
            {"inputTokens": 3},
            id="nova",
        ),
        pytest.param(
            {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]},
            None,
            id="chat",
        ),
    ],
)
def test_whole_answers(body: Json, usage: Json) -> None:
    answer = put_together(invoke_answer(body))
    assert answer.texts == {TEXT: "Hello"}
    assert (answer.stop_reasons, answer.complete, answer.usage) == (("stop",), True, usage)


def test_embeddings_are_complete_and_counted() -> None:
    answer = put_together(invoke_answer({"embedding": [0.1], "inputTextTokenCount": 3}))
    assert (answer.complete, answer.usage) == (True, {"inputTextTokenCount": 3})


def test_several_results_are_choices() -> None:
    body: Json = {"outputs": [{"text": "a"}, {"text": "b"}]}
    texts = put_together(invoke_answer(body)).texts
    assert texts == {TEXT: "a", Channel(1, ChannelKind.TEXT): "b"}


@pytest.mark.parametrize("data", [b"{}", b'{"bytes":"!"}', b'{"bytes":1}', b"[]"])
def test_a_chunk_without_its_bytes_is_said_to_be_unread(data: bytes) -> None:
    events = InvokeReader().receive(Frame(event="chunk", data=data))
    assert events[-1] == Unread(reason="bad_frame", size=len(data))


def test_bytes_that_are_no_json_are_said_to_be_unread() -> None:
    data = json.dumps({"bytes": base64.b64encode(b"{cut").decode()}).encode()
    assert InvokeReader().receive(Frame(event="chunk", data=data)) == [
        Unread(reason="bad_json", size=4)
    ]


def test_an_exception_is_a_failure() -> None:
    headers = {":message-type": "exception", ":exception-type": "modelStreamErrorException"}
    frame = Frame(event="x", data=b'{"message":"Gone."}', headers=headers)
    assert InvokeReader().receive(frame) == [
        Failed(code="modelStreamErrorException", message="Gone.")
    ]


def test_a_last_event_too_deep_to_be_written_again_is_read() -> None:
    deep: Json = "some words"
    for _ in range(300):
        deep = [deep]
    answer = stream({"generation": "a", "more": deep, METRICS: COUNTS})
    assert "some words" in answer.texts.values()
    assert answer.usage == COUNTS
