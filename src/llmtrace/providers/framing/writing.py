"""Writes the frames of a stream again, each format in one way that all its readers agree on.

An event stream that comes with a byte order mark, odd line ends or comments is read in different
ways by different clients. What was scanned is what is written.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from llmtrace.providers.base import Frame, Framing
from llmtrace.providers.framing.event_stream import EventStreamFraming
from llmtrace.providers.framing.json_array import JsonArrayFraming
from llmtrace.providers.framing.messages import event_message
from llmtrace.providers.framing.ndjson import NdjsonFraming
from llmtrace.providers.framing.sse import SseFraming


class FrameWriter(Protocol):
    """Writes the frames of one stream, in order."""

    keepalive: bytes
    """What says nothing and shows that the connection lives; empty where there is no such thing."""

    def write(self, frame: Frame) -> bytes:
        """Return a frame as bytes."""
        ...

    def close(self) -> bytes:
        """The stream ended well: return what belongs to its end."""
        ...


class SseWriter:
    """``event:`` where there is a name, ``data:`` a line, and a blank line."""

    keepalive = b": keepalive\n\n"

    def write(self, frame: Frame) -> bytes:
        """Return an event."""
        name = f"event: {frame.event}\n".encode() if frame.event else b""
        if b"\n" not in frame.data:
            return name + b"data: " + frame.data + b"\n\n"
        lines = b"".join(b"data: " + line + b"\n" for line in frame.data.split(b"\n"))
        return name + lines + b"\n"

    def close(self) -> bytes:
        """Return nothing: the events say themselves which is the last."""
        return b""


class NdjsonWriter:
    """A line for each document."""

    keepalive = b""

    def write(self, frame: Frame) -> bytes:
        """Return a line."""
        return frame.data + b"\n"

    def close(self) -> bytes:
        """Return nothing."""
        return b""


class JsonArrayWriter:
    """The elements of one array."""

    keepalive = b""

    def __init__(self) -> None:
        self._count = 0

    def write(self, frame: Frame) -> bytes:
        """Return an element with what stands before it."""
        self._count += 1
        return (b"[" if self._count == 1 else b",\r\n") + frame.data

    def close(self) -> bytes:
        """Return the closing bracket."""
        return b"]" if self._count else b"[]"


class EventStreamWriter:
    """Messages with lengths and checksums."""

    keepalive = b""

    def write(self, frame: Frame) -> bytes:
        """Return a message. Headers are written as texts, whatever type they came in."""
        return event_message(frame.headers, frame.data)

    def close(self) -> bytes:
        """Return nothing."""
        return b""


WRITERS: Final[Mapping[type[Framing], Callable[[], FrameWriter]]] = {
    SseFraming: SseWriter,
    NdjsonFraming: NdjsonWriter,
    JsonArrayFraming: JsonArrayWriter,
    EventStreamFraming: EventStreamWriter,
}


def writer_for(framing: Framing) -> FrameWriter:
    """Return a writer of what ``framing`` reads."""
    return WRITERS[type(framing)]()
