"""The bytes of a spool segment: checksummed records one after another. Sans-io.

A record is a header of 44 bytes and a payload, little-endian::

    magic 4 | version u8 | kind u8 | flags u8 | 0 u8 | length u32 | trace id 16 | time u64
    | payload crc u32 | header crc u32 | payload

``time`` is nanoseconds since the epoch. The header has a checksum of its own, so a length is
trusted only when it is right: one flipped bit in it can neither hide the records behind it nor
make a reader wait for bytes that will never come.

Both checksums start from the *seed* of the segment, a random number in its file name. Bodies
hold what strangers wrote; without knowing the seed, nobody can put bytes into a prompt that a
reader would take for a record when it looks for the next one behind a damaged spot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, Literal

# CRC-32 as of zlib, not CRC-32C: both detect every burst of up to 32 bits, and zlib's is in the
# standard library and runs at several GB/s there; CRC-32C would need one more compiled package.
from zlib import crc32

MAGIC: Final = b"\xf5LT\n"  # \xf5 is in no UTF-8 text, so text alone is never a candidate
VERSION: Final = 1
MAX_PAYLOAD: Final = 256 << 20
"""Bytes. A header that claims more is damaged; a writer leaves the bodies out instead."""

_PREFIX: Final = Struct("<4sBBBxI16sQI")
_CRC: Final = Struct("<I")
HEADER_SIZE: Final = _PREFIX.size + _CRC.size


class Kind(IntEnum):
    """What a record says about its call."""

    START = 1
    """It was admitted: the pending trace and the request body."""
    SENT = 2
    """The provider is about to be asked. No payload."""
    PROGRESS = 3
    """The trace as far as it is known; replaces the one of START."""
    END = 4
    """It is over: the final trace, the answer body and the texts."""


class Flag(IntFlag):
    """How a record is to be read."""

    NONE = 0
    ZSTD = 1
    """The payload is compressed."""
    SENT = 2
    """A START that is SENT as well: one write instead of two."""
    STRIPPED = 4
    """Bodies and texts were left out because the spool was full or they were too large."""


_KINDS: Final = frozenset(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A whole record. ``begin`` and ``end`` are offsets in its segment, half-open."""

    kind: Kind
    flags: Flag
    trace_id: bytes
    time_ns: int
    payload: bytes
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes that were skipped: ``checksum``, or ``version`` for a record of a newer release."""

    begin: int
    end: int
    reason: Literal["checksum", "version"] = "checksum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Torn:
    """The segment ends within a record: its writer died, or the disk was full."""

    begin: int
    end: int


type Event = Entry | Damage | Torn


def encode(
    kind: Kind,
    trace_id: bytes,
    *,
    time_ns: int,
    seed: int,
    payload: bytes = b"",
    flags: Flag = Flag.NONE,
) -> bytes:
    """Return one record. ``trace_id`` has 16 bytes, the payload at most ``MAX_PAYLOAD``."""
    prefix = _PREFIX.pack(
        MAGIC, VERSION, kind, flags, len(payload), trace_id, time_ns, crc32(payload, seed)
    )
    return b"".join((prefix, _CRC.pack(crc32(prefix, seed)), payload))


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    kind: int
    flags: int
    length: int
    trace_id: bytes
    time_ns: int
    payload_crc: int


class Decoder:
    """Finds the records of one segment in bytes that come in pieces of any size.

    Where a checksum is wrong it goes on at the next valid header and reports what it skipped
    as ``Damage``. It holds at most one record and one piece.
    """

    def __init__(self, seed: int, *, offset: int = 0) -> None:
        self._seed = seed
        self._buffer = bytearray()
        self._offset = offset
        self._skipped_from: int | None = None
        self._skipped_cut = False
        self._skipped_zeros = False

    @property
    def received(self) -> int:
        """Where the next byte to be received lies in the segment."""
        return self._offset + len(self._buffer)

    def receive(self, data: bytes) -> Sequence[Event]:
        """Return what is complete now."""
        self._buffer += data
        return list(self._events(final=False))

    def finish(self) -> Sequence[Event]:
        """Return what is left, knowing that nothing more will be appended.

        A tail is ``Torn`` if it is the beginning of a record, or zeros that a file system left
        after a power cut; anything else is ``Damage``.
        """
        events = list(self._events(final=True))
        end = self.received
        if self._skipped_from is not None:
            torn = self._skipped_cut or self._skipped_zeros
            tail = Torn if torn else Damage
            events.append(tail(begin=self._skipped_from, end=end))
        elif self._buffer:
            events.append(Torn(begin=self._offset, end=end))
        self._buffer.clear()
        self._offset, self._skipped_from = end, None
        return events

    def _events(self, *, final: bool) -> Iterator[Event]:
        while self._buffer:
            if not self._magic_at_front():
                self._skip(cut=False)
                continue
            if len(self._buffer) < HEADER_SIZE:
                return
            header = self._header()
            if header is None:
                self._skip(cut=False)
                continue
            size = HEADER_SIZE + header.length
            if len(self._buffer) < size:
                if not final:
                    return
                self._skip(cut=True)
                continue
            payload = bytes(memoryview(self._buffer)[HEADER_SIZE:size])
            if crc32(payload, self._seed) != header.payload_crc:
                self._skip(cut=False)
                continue
            if self._skipped_from is not None:
                yield Damage(begin=self._skipped_from, end=self._offset)
                self._skipped_from = None
            yield self._event(header, payload, size)
            self._consume(size)

    def _event(self, header: _Header, payload: bytes, size: int) -> Event:
        begin, end = self._offset, self._offset + size
        if header.version != VERSION or header.kind not in _KINDS:
            return Damage(begin=begin, end=end, reason="version")
        return Entry(
            kind=Kind(header.kind),
            flags=Flag(header.flags),
            trace_id=header.trace_id,
            time_ns=header.time_ns,
            payload=payload,
            begin=begin,
            end=end,
        )

    def _magic_at_front(self) -> bool:
        """Whether the buffer begins as a record does, as far as it goes."""
        return MAGIC.startswith(bytes(self._buffer[: len(MAGIC)]))

    def _header(self) -> _Header | None:
        prefix = bytes(self._buffer[: _PREFIX.size])
        (crc,) = _CRC.unpack_from(self._buffer, _PREFIX.size)
        if crc32(prefix, self._seed) != crc:
            return None
        header = _Header(*_PREFIX.unpack(prefix)[1:])
        return header if header.length <= MAX_PAYLOAD else None

    def _skip(self, *, cut: bool) -> None:
        """Go on to the next place where a record may begin."""
        if self._skipped_from is None:
            self._skipped_from, self._skipped_cut, self._skipped_zeros = self._offset, cut, True
        end = self._buffer.find(MAGIC, 1)
        if end < 0:
            end = next(
                (
                    len(self._buffer) - size
                    for size in range(len(MAGIC) - 1, 0, -1)
                    if len(self._buffer) > size and self._buffer.endswith(MAGIC[:size])
                ),
                len(self._buffer),
            )
        if self._skipped_zeros:
            self._skipped_zeros = self._buffer.count(0, 0, end) == end
        self._consume(end)

    def _consume(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size
