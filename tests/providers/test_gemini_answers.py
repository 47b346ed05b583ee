"""Gemini's chunks add up to what the whole answer says, however they come."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.answers import (
    Answer,
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Stopped,
    TextDelta,
    Unread,
)
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.framing.json_array import JsonArrayFraming
from llmtrace.providers.gemini_answers import GeminiReader, whole_answer

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "examples" / "gemini.generate.json").read_text()
)
CHUNKS: list[Json] = [frame["data"] for frame in EXAMPLE["frames"]]


def put_together(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


def stream(chunks: list[Json]) -> list[AnswerEvent]:
    reader = GeminiReader()
    frames = [Frame(event="", data=json.dumps(chunk).encode()) for chunk in chunks]
    return [event for frame in frames for event in reader.receive(frame)] + reader.close()


def chunk(*parts: Json, **more: Json) -> Json:
    return {"candidates": [{"content": {"role": "model", "parts": [*parts]}, **more}]}


def test_a_stream_says_what_the_whole_answer_says() -> None:
    assert put_together(stream(CHUNKS)) == put_together(whole_answer(EXAMPLE["answer"]))


@pytest.mark.parametrize("size", [1, 2, 7, 64, 4096])
def test_a_streamed_array_says_the_same(size: int) -> None:
    text = ("[" + "\n,\r\n".join(map(json.dumps, CHUNKS)) + "]").encode()
    framing, reader = JsonArrayFraming(), GeminiReader()
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    frames = [frame for piece in pieces for frame in framing.receive(piece)] + framing.close()
    events = [event for frame in frames for event in reader.receive(frame)] + reader.close()
    assert put_together(events) == put_together(stream(CHUNKS))


def test_an_array_as_a_whole_answer_says_the_same() -> None:
    assert put_together(whole_answer(CHUNKS)) == put_together(stream(CHUNKS))


def test_what_the_clis_service_wraps_says_the_same() -> None:
    wrapped: list[Json] = [{"response": chunk, "traceId": "t"} for chunk in CHUNKS]
    assert put_together(stream(wrapped)) == put_together(stream(CHUNKS))
    delta = next(e for e in stream(wrapped) if isinstance(e, TextDelta))
    assert delta.path[:2] == ("response", "candidates")


def test_thoughts_and_text_have_channels_of_their_own() -> None:
    answer = put_together(
        stream([chunk({"text": "hm", "thought": True}), chunk({"text": "so", "thought": False})])
    )
    assert answer.texts == {
        Channel(0, ChannelKind.REASONING): "hm",
        Channel(0, ChannelKind.TEXT): "so",
    }


def test_candidates_are_choices() -> None:
    body: Json = {
        "candidates": [
            {"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS"},
            {"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
        ]
    }
    answer = put_together(whole_answer(body))
    assert answer.texts == {Channel(1, ChannelKind.TEXT): "b", Channel(0, ChannelKind.TEXT): "a"}
    assert answer.stop_reasons == ("STOP", "MAX_TOKENS")


def test_parallel_calls_are_told_apart() -> None:
    call: Json = {"functionCall": {"name": "f", "args": {"n": 1}}}
    other: Json = {"functionCall": {"name": "f", "args": {"n": 2}}}
    answer = put_together(stream([chunk(call, other), chunk(call)]))
    assert [(c.channel.index, c.name, c.arguments) for c in answer.tool_calls] == [
        (0, "f", '{"n":1}'),
        (1, "f", '{"n":2}'),
        (2, "f", '{"n":1}'),
    ]


def test_the_end_is_when_every_candidate_has_stopped() -> None:
    two: Json = {"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1}]}
    assert Ended() not in stream([two])
    last: Json = {"candidates": [{"index": 1, "finishReason": "STOP"}]}
    assert stream([two, last]).count(Ended()) == 1


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    assert not put_together(stream(CHUNKS[:-1])).complete


def test_text_after_a_finish_reason_is_read() -> None:
    events = stream([chunk({"text": "a"}, finishReason="STOP"), chunk({"text": "b"})])
    assert put_together(events).texts == {Channel(0, ChannelKind.TEXT): "ab"}


def test_a_blocked_prompt_is_an_end() -> None:
    body: Json = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "g"}
    events = whole_answer(body)
    assert Stopped(choice=0, reason="PROHIBITED_CONTENT") in events
    assert events.count(Ended()) == 1


def test_usage_is_cumulative() -> None:
    answer = put_together(stream(CHUNKS))
    assert answer.usage is not None
    assert (answer.usage["promptTokenCount"], answer.usage["thoughtsTokenCount"]) == (10, 3)


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: [e]], ids=["object", "array"])
def test_an_error_is_told_by_its_status(wrap: Any) -> None:
    error: Json = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}
    assert whole_answer(wrap(error)) == [Failed(code="RESOURCE_EXHAUSTED", message="Slow down.")]
    assert stream([wrap(error)]) == [Failed(code="RESOURCE_EXHAUSTED", message="Slow down.")]


def test_a_picture_in_an_answer_is_said_to_be_unread() -> None:
    answer = put_together(
        stream([chunk({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})])
    )
    assert answer.unread == (Unread(reason="media", size=4),)


@pytest.mark.parametrize(
    "body", [{"totalTokens": 31}, {"embedding": {"values": [0.1, 0.2]}}], ids=["count", "embedding"]
)
def test_answers_without_a_text_are_complete(body: Json) -> None:
    assert whole_answer(body) == [Ended()]
