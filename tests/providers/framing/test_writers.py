import json
import struct
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]  # no stubs exist
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.base import Frame
from llmtrace.providers.framing.event_stream import EventStreamFraming
from llmtrace.providers.framing.json_array import JsonArrayFraming
from llmtrace.providers.framing.ndjson import NdjsonFraming
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.framing.sse import SseFraming
from llmtrace.providers.framing.writers import KEEPALIVE, SseWriter, message, writer_for

LINES = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12)
NAMES = st.from_regex(r"[!-9;-~]{0,12}", fullmatch=True)
EVENTS = st.lists(
    st.builds(
        lambda name, number, lines: Frame(event=name, id=number, data="\n".join(lines).encode()),
        NAMES,
        st.none() | NAMES,
        st.lists(LINES, min_size=1, max_size=3),
    ),
    max_size=5,
)


@settings(max_examples=80)
@given(frames=EVENTS)
def test_written_events_are_read_as_they_were(frames: list[Frame]) -> None:
    written = SseWriter().write(frames)
    assert SseFraming().receive(written) == frames


def test_events_are_written_in_one_way() -> None:
    odd = b'\xef\xbb\xbf: hello you\r\nevent:a\rid: 7\rdata: {"x":\r\ndata:1}\r\n\r\nretry: 5\n\n'
    framing = SseFraming(comments=True)
    frames = framing.receive(odd)
    assert writer_for(framing).write(frames) == (
        KEEPALIVE + b'event: a\nid: 7\ndata: {"x":\ndata: 1}\n\n'
    )
    assert framing.ignored == len(b": hello you")


@pytest.mark.parametrize("name", ["two words", "a" * 300, "é"])
def test_a_name_that_is_a_text_is_left_out(name: str) -> None:
    assert SseWriter().write([Frame(event=name, data=b"{}")]) == b"data: {}\n\n"


def test_lines_are_written_one_by_one() -> None:
    framing = NdjsonFraming()
    frames = framing.receive(b'{"a":1}\r\n\n {"b":2}\n')
    writer = writer_for(framing)
    assert writer.write(frames) + writer.close() == b'{"a":1}\n{"b":2}\n'


@pytest.mark.parametrize(
    ("source", "written"),
    [
        pytest.param(b'[{"a":1}\n,{"b":[2]}]', '[{"a":1},{"b":[2]}]', id="array"),
        pytest.param(b'{"error":1}', '{"error":1}', id="lone-object"),
        pytest.param(b"[ ]", "[]", id="empty-array"),
        pytest.param(b"", "", id="nothing"),
    ],
)
def test_elements_stand_as_they_stood(source: bytes, written: str) -> None:
    framing = JsonArrayFraming()
    writer = writer_for(framing)
    out = b""
    for at in range(len(source)):
        out += writer.write(framing.receive(source[at : at + 1]))
    out += writer.close()
    assert out.decode().replace("\n", "") == written
    assert not written or json.loads(out) == json.loads(source)


def test_messages_can_be_read_by_the_sdk() -> None:
    headers = {":event-type": "chunk", ":message-type": "event", "x": "ü"}
    framing = EventStreamFraming()
    frames = framing.receive(message(headers, b'{"a":1}'))
    written = writer_for(framing).write(frames)
    assert written == message(headers, b'{"a":1}')
    buffer = EventStreamBuffer()
    buffer.add_data(written)
    (read,) = buffer
    assert (read.headers, read.payload) == (headers, b'{"a":1}')


def test_a_long_header_is_cut() -> None:
    name, raw = b"x", b"\x06" + struct.pack("!H", 60_000) + bytes(60_000)  # bytes: base64 is longer
    packed = bytes([len(name)]) + name + raw
    prelude = struct.pack("!II", 16 + len(packed), len(packed))
    head = prelude + struct.pack("!I", crc32(prelude)) + packed
    framing = EventStreamFraming()
    frames = framing.receive(head + struct.pack("!I", crc32(head)))
    again = EventStreamFraming()
    (frame,) = again.receive(writer_for(framing).write(frames))
    assert len(frame.headers["x"]) == 0xFFFF


@pytest.mark.parametrize(
    "media_type",
    ["text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"],
)
def test_each_framing_has_a_writer(media_type: str) -> None:
    framing = framing_for(media_type)
    assert framing is not None
    assert writer_for(framing).write([]) == b""
