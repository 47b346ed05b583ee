import gzip
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import Channel, ChannelKind, Unread
from llmtrace.pipeline.answer import AnswerTap, MessageTap
from llmtrace.providers.registry import dialect

WHOLE = json.dumps(
    {
        "id": "c1",
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Grüße 😀"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
).encode()
STREAM = (
    'data: {"id":"c1","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Grüße "}}]}'
    "\r\n\r\n"
    ': ping\n\ndata: {"id":"c1","choices":[{"index":0,"delta":{"content":"😀"}}]}\n\n'
    'data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    "data: [DONE]\n\n"
).encode()
TEXT = Channel(0, ChannelKind.TEXT)


def tap(
    media_type: str, coding: str = "", *, max_bytes: int = 1 << 20, max_frame: int = 1 << 16
) -> AnswerTap:
    return AnswerTap(
        dialect("openai.chat"),
        media_type=media_type,
        content_encoding=coding,
        max_bytes=max_bytes,
        max_frame=max_frame,
    )


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(0, 600), max_size=12),
    stream=st.booleans(),
    packed=st.booleans(),
)
def test_any_cutting_of_either_form_says_the_same(
    cuts: list[int], stream: bool, packed: bool
) -> None:
    body = STREAM if stream else WHOLE
    wire = gzip.compress(body) if packed else body
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    reading = tap("text/event-stream" if stream else "application/json", "gzip" if packed else "")
    for start, end in itertools.pairwise(edges):
        reading.receive(wire[start:end])
    answer = reading.close()
    assert answer.texts == {TEXT: "Grüße 😀"}
    assert answer.usage == {"prompt_tokens": 3, "completion_tokens": 2}
    assert answer.stop_reasons == ("stop",)
    assert (reading.content, reading.gaps) == (body, ())
    assert (reading.received, reading.decoded) == (len(wire), len(body))


@pytest.mark.parametrize(
    ("media_type", "coding", "wire", "reason"),
    [
        pytest.param("application/json", "", b'{"choices":', "bad_json", id="cut-json"),
        pytest.param("text/html", "", b"<html>", "not_json", id="html"),
        pytest.param("application/json", "snappy", WHOLE, "unknown_coding", id="unknown-coding"),
        pytest.param("application/json", "gzip", WHOLE, "broken_coding", id="declared-but-plain"),
        pytest.param("text/event-stream", "", b'data: {"a"', "cut_frame", id="cut-event"),
        pytest.param(
            "text/event-stream",
            "",
            b"data: " + b"x" * (1 << 17) + b"\n\ndata: [DONE]\n\n",
            "frame_too_large",
            id="huge-event",
        ),
    ],
)
def test_what_is_not_read_is_told(media_type: str, coding: str, wire: bytes, reason: str) -> None:
    reading = tap(media_type, coding)
    for start in range(0, len(wire), 4096):
        reading.receive(wire[start : start + 4096])
    reading.close()
    assert reason in {gap.reason for gap in reading.gaps}


def test_past_the_limit_an_answer_is_not_kept_and_the_rest_is_told() -> None:
    reading = tap("text/plain", max_bytes=1000)
    for _ in range(10):
        reading.receive(b"x" * 400)
    reading.close()
    assert len(reading.content) == 1000
    gaps = {gap.reason: gap.size for gap in reading.gaps}
    assert gaps["answer_over_limit"] >= 3000 - 400


def test_messages_are_kept_within_bounds_and_unread_ones_told() -> None:
    reading = MessageTap(max_bytes=10, keep=True)
    reading.receive(b"12345")
    reading.receive(b"1234567")
    reading.take([Unread(reason="bad_json", size=7)])
    reading.close()
    assert reading.content == b"12345\n"
    assert {gap.reason: gap.size for gap in reading.gaps} == {"answer_over_limit": 7, "bad_json": 7}


@pytest.mark.parametrize("media_type", ["text/plain", "application/json", ""])
def test_a_stream_under_another_media_type_is_read_at_its_end(media_type: str) -> None:
    reading = tap(media_type)
    reading.receive(STREAM)
    answer = reading.close()
    assert (answer.texts, answer.complete) == ({TEXT: "Grüße 😀"}, True)
    assert reading.gaps == ()
