import struct
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]  # no stubs exist
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.base import Frame, FrameTooLarge, Framing
from llmtrace.providers.framing.event_stream import EventStreamFraming


def text(name: str, value: str) -> bytes:
    raw = value.encode()
    return header(name, 7, struct.pack("!H", len(raw)) + raw)


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name.encode())]) + name.encode() + bytes([kind]) + value


def message(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    start = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return start + struct.pack("!I", crc32(start))


def event(name: str, payload: bytes) -> bytes:
    return message(text(":message-type", "event") + text(":event-type", name), payload)


STREAM = (
    event("contentBlockDelta", '{"delta":{"text":"é"}}'.encode())
    + event("messageStop", b"{}")
    + message(
        text(":message-type", "exception") + text(":exception-type", "throttlingException"),
        b'{"message":"slow down"}',
    )
)
EVENTS = ["contentBlockDelta", "messageStop", "throttlingException"]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_chunking_changes_nothing(size: int, cut: Callable[..., list[Frame]]) -> None:
    framing = EventStreamFraming()
    frames = cut(framing, STREAM, size)
    assert [frame.event for frame in frames] == EVENTS
    assert frames[0].data == '{"delta":{"text":"é"}}'.encode()
    assert frames[2].headers == {
        ":message-type": "exception",
        ":exception-type": "throttlingException",
    }
    assert (framing.pending, framing.broken) == (0, "")


def oracle(stream: bytes) -> list[tuple[dict[str, object], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    return [(dict(found.headers), found.payload) for found in buffer]


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.text("abc:-é", min_size=1, max_size=9), st.text(max_size=9)),
            st.binary(max_size=40),
        ),
        max_size=4,
    ),
    st.integers(1, 50),
)
@settings(max_examples=100)
def test_botocore_reads_the_same(messages: list[tuple[dict[str, str], bytes]], size: int) -> None:
    stream = b"".join(
        message(b"".join(text(k, v) for k, v in headers.items()), payload)
        for headers, payload in messages
    )
    framing = EventStreamFraming()
    cuts = range(0, len(stream), size)
    frames = [f for at in cuts for f in framing.receive(stream[at : at + size])]
    assert [(dict(frame.headers), frame.data) for frame in frames] == oracle(stream)


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param(0, b"", "true", id="true"),
        pytest.param(1, b"", "false", id="false"),
        pytest.param(2, b"\xff", "-1", id="byte"),
        pytest.param(3, struct.pack("!h", -300), "-300", id="short"),
        pytest.param(4, struct.pack("!i", 70_000), "70000", id="integer"),
        pytest.param(5, struct.pack("!q", -(2**40)), str(-(2**40)), id="long"),
        pytest.param(6, b"\x00\x03abc", "YWJj", id="bytes-as-base64"),
        pytest.param(7, b"\x00\x02\xc3\xa9", "é", id="string"),
        pytest.param(
            8,
            struct.pack("!q", int(NOON.timestamp()) * 1000),
            str(int(NOON.timestamp()) * 1000),
            id="timestamp-in-ms",
        ),
        pytest.param(9, bytes(range(16)), str(UUID(bytes=bytes(range(16)))), id="uuid"),
    ],
)
def test_every_header_type(kind: int, value: bytes, expected: str) -> None:
    stream = message(header("h", kind, value) + text("after", "x"), b"")
    (frame,) = EventStreamFraming().receive(stream)
    assert frame.headers == {"h": expected, "after": "x"}
    assert list(oracle(stream)[0][0]) == ["h", "after"]


def test_an_error_is_named_by_its_code() -> None:
    stream = message(text(":message-type", "error") + text(":error-code", "Internal"), b"")
    assert EventStreamFraming().receive(stream)[0].event == "Internal"


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


GOOD = event("a", b"{}")


@pytest.mark.parametrize("at", range(len(GOOD)))
def test_a_flipped_bit_anywhere_ends_the_reading(at: int) -> None:
    framing = EventStreamFraming()
    frames = framing.receive(GOOD + flipped(GOOD, at) + GOOD)
    assert [frame.event for frame in frames] == ["a"]
    assert framing.broken
    assert framing.receive(GOOD) == []
    assert framing.pending == 3 * len(GOOD)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(text("a", "1") + text("a", "1"), id="name-twice"),
        pytest.param(header("a", 10, b""), id="unknown-type"),
        pytest.param(header("a", 7, b"\x00\x09x"), id="string-too-long"),
        pytest.param(header("a", 4, b"\x00"), id="integer-too-short"),
        pytest.param(b"\x09a", id="name-too-long"),
        pytest.param(b"\x01a", id="no-type"),
        pytest.param(header("a", 7, b"\x00\x01\xff"), id="bad-utf8"),
    ],
)
def test_headers_that_cannot_be_read_end_the_reading(headers: bytes) -> None:
    framing = EventStreamFraming()
    assert framing.receive(message(headers, b"{}")) == []
    assert framing.broken
    assert framing.pending == len(message(headers, b"{}"))


def prelude(total: int, headers: int) -> bytes:
    lengths = struct.pack("!II", total, headers)
    return lengths + struct.pack("!I", crc32(lengths))


@pytest.mark.parametrize(
    ("total", "headers"),
    [
        pytest.param(15, 0, id="shorter-than-its-frame"),
        pytest.param(20, 8, id="headers-past-the-end"),
        pytest.param(1 << 20, (128 << 10) + 1, id="headers-over-their-bound"),
    ],
)
def test_lengths_that_contradict_end_the_reading(total: int, headers: int) -> None:
    framing = EventStreamFraming()
    assert framing.receive(prelude(total, headers)) == []
    assert framing.broken


@pytest.mark.parametrize("size", [1, 1000], ids=["bytewise", "whole"])
def test_bound(size: int) -> None:
    framing = EventStreamFraming(max_message=100)
    frames: list[Frame] = []
    stream = GOOD + prelude(101, 0)

    def feed() -> None:
        for at in range(0, len(stream), size):
            frames.extend(framing.receive(stream[at : at + size]))
        framing.receive(b"")

    with pytest.raises(FrameTooLarge):
        feed()
    assert [frame.event for frame in frames] == ["a"]
    assert framing.close() == []
    assert framing.pending == 12


def test_a_long_message_in_single_bytes_is_read_once(
    reads_per_byte: Callable[[Framing, str, bytes], float],
) -> None:
    assert reads_per_byte(EventStreamFraming(), "_buffer", event("a", b"x" * 20_000)) < 4
