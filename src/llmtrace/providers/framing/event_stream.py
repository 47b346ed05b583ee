"""AWS event streams, ``application/vnd.amazon.eventstream``.

A message is: total length and length of the headers (4 bytes each, big-endian), CRC-32 of
these 8 bytes, headers, payload, CRC-32 of all before it.

Source: Smithy 2.0, "Amazon Event Stream specification".
"""

import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID
from zlib import crc32

from llmtrace.providers.base import Frame, FrameTooLarge

MAX_MESSAGE: Final = 4 << 20
MAX_HEADERS: Final = 128 << 10

_PRELUDE: Final = struct.Struct("!III")
_CRC: Final = struct.Struct("!I")
_SMALLEST: Final = _PRELUDE.size + _CRC.size
_STRING_TYPE: Final = 7


class _MessageError(ValueError):
    """A message is not what its lengths and checksums say."""


class EventStreamFraming:
    """Cuts an event stream into its messages.

    ``Frame.event`` is ``:event-type``, or ``:exception-type`` (``:error-code``) where the
    message is one; ``Frame.headers`` has all headers as text. A message whose checksum or
    headers are wrong ends the reading: ``broken`` then says why, and it and what follows it
    are counted in ``pending``. ``max_message`` is in bytes; where it is met, the messages
    before are returned first and the next ``receive`` raises.
    """

    def __init__(self, *, max_message: int = MAX_MESSAGE) -> None:
        self._max = max_message
        self._buffer = bytearray()
        self._need = _PRELUDE.size  # bytes before anything new can be read
        self._headers_size = 0
        self._lost = 0
        self._error: FrameTooLarge | None = None
        self.broken = ""
        """Why the rest of the stream cannot be read; empty while it can."""

    def receive(self, chunk: bytes) -> list[Frame]:
        """Return the messages that ``chunk`` completes."""
        if self._error:
            raise self._error
        if self.broken:
            self._lost += len(chunk)
            return []
        self._buffer += chunk
        frames: list[Frame] = []
        at = 0
        try:
            while len(self._buffer) - at >= self._need:
                at = self._step(at, frames)
        except FrameTooLarge as error:
            self._error = error
            if not frames:
                raise
        except _MessageError as error:
            self.broken = str(error)
            self._lost = len(self._buffer) - at
            at = len(self._buffer)
        if at:
            del self._buffer[:at]
        return frames

    def close(self) -> list[Frame]:
        """Return nothing: a message that is cut short is none."""
        return []

    @property
    def pending(self) -> int:
        """Bytes of the message that is not complete, or that are not to be read."""
        return len(self._buffer) + self._lost

    def _step(self, at: int, frames: list[Frame]) -> int:
        if self._need == _PRELUDE.size:
            self._need, self._headers_size = self._prelude(at)
            return at
        message = bytes(memoryview(self._buffer)[at : at + self._need])
        frames.append(_frame(message, self._headers_size))
        at += self._need
        self._need = _PRELUDE.size
        return at

    def _prelude(self, at: int) -> tuple[int, int]:
        total, headers, crc = _PRELUDE.unpack_from(self._buffer, at)
        if crc32(self._buffer[at : at + 8]) != crc:
            raise _MessageError("the checksum of a prelude is wrong")
        if headers > MAX_HEADERS or total < _SMALLEST + headers:
            raise _MessageError("the lengths in a prelude contradict each other")
        if total > self._max:
            raise FrameTooLarge(f"a message has {total} bytes, more than {self._max}")
        return total, headers


def _frame(message: bytes, headers_size: int) -> Frame:
    end = len(message) - _CRC.size
    if crc32(message[:end]) != _CRC.unpack_from(message, end)[0]:
        raise _MessageError("the checksum of a message is wrong")
    payload_at = _PRELUDE.size + headers_size
    headers = _headers(message[_PRELUDE.size : payload_at])
    return Frame(event=_event(headers), data=message[payload_at:end], headers=headers)


def _event(headers: Mapping[str, str]) -> str:
    for name in (":event-type", ":exception-type", ":error-code"):
        if value := headers.get(name):
            return value
    return ""


def _headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            raw, at = _counted(data, at + 1, data[at])
            name = raw.decode()
            if name in headers:
                raise _MessageError("a message has a header twice")
            headers[name], at = _value(data, at + 1, data[at])
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise _MessageError("the headers of a message cannot be read") from error
    return headers


def _counted(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """Return the ``size`` bytes at ``at``, and where they end."""
    end = at + size
    if end > len(data):
        raise IndexError(end)
    return data[at:end], end


def _value(data: bytes, at: int, kind: int) -> tuple[str, int]:
    if kind in _COUNTED:
        size = int.from_bytes(_counted(data, at, 2)[0])
        raw, end = _counted(data, at + 2, size)
        return _COUNTED[kind](raw), end
    size, read = _FIXED[kind]
    raw, end = _counted(data, at, size)
    return read(raw), end


def _integer(raw: bytes) -> str:
    return str(int.from_bytes(raw, signed=True))


_COUNTED: Final[dict[int, Callable[[bytes], str]]] = {
    6: lambda raw: b64encode(raw).decode(),
    _STRING_TYPE: bytes.decode,
}
"""Header types with a 2-byte length: how each one's value is written as text."""

_FIXED: Final[dict[int, tuple[int, Callable[[bytes], str]]]] = {
    0: (0, lambda _: "true"),
    1: (0, lambda _: "false"),
    2: (1, _integer),
    3: (2, _integer),
    4: (4, _integer),
    5: (8, _integer),
    8: (8, _integer),  # a timestamp, in milliseconds since 1970
    9: (16, lambda raw: str(UUID(bytes=raw))),
}
"""The other header types: size in bytes, and how the value is written as text."""
