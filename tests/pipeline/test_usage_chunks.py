"""The chunk that only the gateway asked for goes nowhere; every other byte goes on."""

import pytest

from llmtrace.pipeline.usage_chunks import UsageChunkFilter

WORD = b'data: {"choices":[{"index":0,"delta":{"content":"a \\"usage\\""}}],"usage":null}'
USAGE = b'data: {"id":"c","choices": [],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
DONE = b"data: [DONE]"
FILTERED = b'data: {"choices":[],"prompt_filter_results":[{"usage":{}}]}'


def stream(*events: bytes, gap: bytes = b"\n\n") -> bytes:
    return b"".join(event + gap for event in events)


@pytest.mark.parametrize("gap", [b"\n\n", b"\r\n\r\n", b"\r\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_cutting_changes_nothing(size: int, gap: bytes) -> None:
    whole = stream(WORD, b": a comment", USAGE, FILTERED, DONE, gap=gap)
    passing = UsageChunkFilter(max_event=1000)
    out = b"".join(passing.receive(whole[i : i + size]) for i in range(0, len(whole), size))
    assert out + passing.close() == stream(WORD, b": a comment", FILTERED, DONE, gap=gap)


def test_an_event_goes_on_as_soon_as_it_is_whole() -> None:
    passing = UsageChunkFilter(max_event=1000)
    assert passing.receive(WORD + b"\n") == b""
    assert passing.receive(b"\n") == WORD + b"\n\n"


def test_what_never_ends_goes_on_when_the_bound_is_met() -> None:
    passing = UsageChunkFilter(max_event=8)
    assert passing.receive(b"data: [1234") == b"data: [1234"
    assert passing.receive(USAGE + b"\n\n") == USAGE + b"\n\n"


def test_the_last_bytes_go_on_at_the_end() -> None:
    passing = UsageChunkFilter(max_event=1000)
    assert passing.receive(b"data: [DO") == b""
    assert passing.close() == b"data: [DO"
