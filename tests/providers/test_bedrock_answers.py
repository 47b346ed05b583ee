"""Converse's events add up to what the whole answer says; exceptions are failures."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.answers import Answer, AnswerEvent, Channel, ChannelKind, Failed, Unread
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.bedrock import BedrockConverse
from llmtrace.providers.bedrock_answers import ConverseReader, converse_answer
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.framing.event_stream import EventStreamFraming
from llmtrace.providers.framing.writers import message as event_message

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "examples" / "bedrock.converse.json").read_text()
)
WIRE = b"".join(
    event_message(frame["headers"], json.dumps(frame["data"]).encode())
    for frame in EXAMPLE["frames"]
)


def put_together(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


def stream(data: bytes, size: int = 1 << 20) -> list[AnswerEvent]:
    framing, reader = EventStreamFraming(), ConverseReader()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    frames = [frame for piece in pieces for frame in framing.receive(piece)]
    return [event for frame in frames for event in reader.receive(frame)] + reader.close()


def event(name: str, data: Json) -> bytes:
    headers = {":event-type": name, ":message-type": "event"}
    return event_message(headers, json.dumps(data).encode())


@pytest.mark.parametrize("size", [1, 3, 100, 1 << 20])
def test_a_stream_says_what_the_whole_answer_says(size: int) -> None:
    assert put_together(stream(WIRE, size)) == put_together(converse_answer(EXAMPLE["answer"]))


def test_padding_is_not_text() -> None:
    delta: Json = {"contentBlockIndex": 0, "delta": {"text": "a"}, "p": "abcdefgh"}
    assert put_together(stream(event("contentBlockDelta", delta))).texts == {
        Channel(0, ChannelKind.TEXT): "a"
    }


def test_a_stream_is_complete_before_its_usage_comes() -> None:
    stopped = WIRE.index(b"messageStop")
    metadata = WIRE.index(b"metadata")
    assert not put_together(stream(WIRE[:stopped])).complete
    before_usage = put_together(stream(WIRE[:metadata]))
    assert (before_usage.complete, before_usage.usage) == (True, None)


@pytest.mark.parametrize(
    ("headers", "data", "code", "message"),
    [
        pytest.param(
            {":message-type": "exception", ":exception-type": "throttlingException"},
            b'{"message":"Slow down."}',
            "throttlingException",
            "Slow down.",
            id="exception",
        ),
        pytest.param(
            {":message-type": "error", ":error-code": "X", ":error-message": "Broken."},
            b"",
            "X",
            "Broken.",
            id="error",
        ),
        pytest.param(
            {":message-type": "exception"}, b'{"message":"Gone."}', "", "Gone.", id="unnamed"
        ),
        pytest.param(
            {":message-type": "exception", ":exception-type": "e"}, b"{cut", "e", "", id="cut"
        ),
    ],
)
def test_an_exception_is_a_failure(
    headers: dict[str, str], data: bytes, code: str, message: str
) -> None:
    events = stream(
        event("contentBlockDelta", {"delta": {"text": "a"}}) + event_message(headers, data)
    )
    assert Failed(code=code, message=message) in events
    assert not put_together(events).complete


def test_our_own_stream_error_is_a_failure() -> None:
    events = stream(BedrockConverse().stream_error(code="llmtrace_blocked", message="No."))
    assert events == [Failed(code="validationException", message="No.")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"message": "No."}, ""),
        ({"Message": "No."}, ""),
        ({"__type": "com.amazon#ValidationException", "message": "No."}, "ValidationException"),
    ],
    ids=["bare", "capital", "typed"],
)
def test_a_whole_error_is_a_failure(body: Json, code: str) -> None:
    assert converse_answer(body) == [Failed(code=code, message="No.")]


def test_a_picture_is_said_to_be_unread() -> None:
    delta: Json = {"contentBlockIndex": 0, "delta": {"image": {"source": {"bytes": "AAAA"}}}}
    assert Unread(reason="media", size=4) in stream(event("contentBlockDelta", delta))


def test_a_guardrail_s_trace_is_read() -> None:
    trace: Json = {"trace": {"guardrail": {"modelOutput": ["what it said"]}}}
    answer = put_together(stream(event("metadata", trace)))
    assert [*answer.texts.values()] == ["what it said"]


def test_the_router_names_the_model() -> None:
    body: Json = {
        "trace": {"promptRouter": {"invokedModelId": "arn:x"}},
        "serviceTier": {"type": "flex"},
    }
    answer = put_together(stream(event("metadata", body)))
    assert (answer.model, answer.service_tier) == ("arn:x", "flex")


def test_an_event_that_nobody_knows_is_read() -> None:
    frame = Frame(event="newEvent", data=b'{"note":"some words"}')
    assert [*put_together(ConverseReader().receive(frame)).texts.values()] == ["some words"]
