"""Writes frames as bytes again: canonical, so that a client reads what was read here."""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol
from zlib import crc32

from llmtrace.providers.base import Frame, Framing
from llmtrace.providers.framing.event_stream import EventStreamFraming
from llmtrace.providers.framing.json_array import JsonArrayFraming
from llmtrace.providers.framing.ndjson import NdjsonFraming
from llmtrace.providers.framing.sse import SseFraming
from llmtrace.providers.leaves import is_token

KEEPALIVE: Final = b": keepalive\n\n"

_STRING_TYPE: Final = 7
_MAX_VALUE: Final = 0xFFFF


class FrameWriter(Protocol):
    """Writes the frames of one stream, in order."""

    def write(self, frames: Iterable[Frame]) -> bytes:
        """Return the bytes of the next frames."""
        ...

    def close(self) -> bytes:
        """Return what ends the stream."""
        ...


class SseWriter:
    """Writes server-sent events: ``event``, ``id`` and ``data`` lines, ended by LF.

    A comment has always the same words. A name that is no token is left out: it would be a text
    that nobody reads.
    """

    def write(self, frames: Iterable[Frame]) -> bytes:
        """Return the events."""
        return b"".join([_event(frame) for frame in frames])

    def close(self) -> bytes:
        """Return nothing: an event stream has no end of its own."""
        return b""


def _event(frame: Frame) -> bytes:
    if frame.is_comment:
        return KEEPALIVE
    head = b""
    if frame.event and is_token(frame.event):
        head = b"event: %b\n" % frame.event.encode()
    if frame.id is not None:
        head += b"id: %b\n" % frame.id.encode("utf-8", "replace")
    data = frame.data
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    return b"%bdata: %b\n\n" % (head, data)


class NdjsonWriter:
    """Writes documents, one a line."""

    def write(self, frames: Iterable[Frame]) -> bytes:
        """Return the lines."""
        return b"".join([frame.data + b"\n" for frame in frames])

    def close(self) -> bytes:
        """Return nothing: the last line has its end."""
        return b""


class JsonArrayWriter:
    """Writes the elements of an array, or the one object that came instead of one."""

    def __init__(self, framing: JsonArrayFraming) -> None:
        self._framing = framing
        self._count = 0

    def write(self, frames: Iterable[Frame]) -> bytes:
        """Return the elements, each behind a bracket or a comma."""
        written = b""
        for frame in frames:
            written += (b"," if self._count else b"[") if self._framing.is_array else b""
            written += frame.data + b"\n"
            self._count += 1
        return written

    def close(self) -> bytes:
        """Return the closing bracket."""
        if not self._framing.is_array:
            return b""
        return b"]" if self._count else b"[]"


class EventStreamWriter:
    """Writes AWS messages. All headers are written as strings."""

    def write(self, frames: Iterable[Frame]) -> bytes:
        """Return the messages, with their checksums."""
        return b"".join([message(frame.headers, frame.data) for frame in frames])

    def close(self) -> bytes:
        """Return nothing: the last message has its end."""
        return b""


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Write one message of an AWS event stream. Names have up to 255 bytes, values up to 65,535.

    Source: Smithy 2.0, "Amazon Event Stream specification".
    """
    packed = b"".join(
        struct.pack("!B", len(name)) + name + struct.pack("!BH", _STRING_TYPE, len(value)) + value
        for name, value in ((n.encode(), v.encode()[:_MAX_VALUE]) for n, v in headers.items())
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    written = prelude + struct.pack("!I", crc32(prelude)) + packed + payload
    return written + struct.pack("!I", crc32(written))


def _json_array(framing: Framing) -> FrameWriter:
    if not isinstance(framing, JsonArrayFraming):
        raise TypeError(f"expected a framing of arrays, found {type(framing).__name__}")
    return JsonArrayWriter(framing)


WRITERS: Final[Mapping[type, Callable[[Framing], FrameWriter]]] = {
    SseFraming: lambda _: SseWriter(),
    NdjsonFraming: lambda _: NdjsonWriter(),
    JsonArrayFraming: _json_array,
    EventStreamFraming: lambda _: EventStreamWriter(),
}
"""What writes the frames that a framing has read."""


def writer_for(framing: Framing) -> FrameWriter:
    """Return a writer of the same format as this framing reads."""
    return WRITERS[type(framing)](framing)
