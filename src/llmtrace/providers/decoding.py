"""Content codings (RFC 9110 §8.4), undone within bounds.

Requests are decoded strictly: what two servers could read differently is refused, so that the
text that is read here is the text that any server reads. Answers are decoded as clients do,
piece by piece while they pass. The libraries release the GIL; at worst one call
takes about 0.4 s for 64 MiB, so large bodies belong in a thread.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

import brotli  # type: ignore[import-untyped]  # no stubs exist
import zstandard

MAX_RATIO: Final = 100
"""Most bytes that a byte of an answer may decode to, beyond ``RATIO_AFTER`` in all."""
RATIO_AFTER: Final = 1 << 20
PIECE: Final = 256 << 10
"""Most bytes that are decoded at once, except by zstd (8 MiB)."""

_SLICE: Final = 16 << 10
_ZSTD_SLICE: Final = 256
"""Bytes fed to zstd at once: it has no bound on output, but 4 bytes give at most 128 KiB."""
_ZSTD_WINDOW: Final = 8 << 20  # RFC 9659 §3
_IDENTITY: Final = frozenset({"", "identity", "none"})


class Reason(StrEnum):
    """Why a body cannot be decoded."""

    SEVERAL_CODINGS = "several_codings"
    UNKNOWN_CODING = "unknown_coding"
    BROKEN = "broken"
    TRUNCATED = "truncated"
    TRAILING_DATA = "trailing_data"


class UndecodableBody(ValueError):
    """A body is not what its Content-Encoding says, or that says too much."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"the body cannot be decoded: {reason}")
        self.reason = reason


class BodyTooLarge(ValueError):
    """A body is larger than its bound once it is decoded. ``limit`` is in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body has more than {limit} bytes once it is decoded")
        self.limit = limit


class _CodingError(Exception):
    """The bytes are not of the coding."""


class _Unit(Protocol):
    """One gzip member, zlib or brotli stream, or zstd frame."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` decodes to, in bounded pieces, up to the end of the unit."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the end of the unit was read, and its checksum is right."""
        ...

    @property
    def rest(self) -> bytes:
        """What came after the end."""
        ...


class _Zlib:
    """``window`` says which container: 31 gzip, 15 zlib, -15 none."""

    def __init__(self, window: int) -> None:
        self._zlib = zlib.decompressobj(window)
        self.rest = b""

    @property
    def ended(self) -> bool:
        return self._zlib.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _SLICE):
            piece = data[at : at + _SLICE]
            while not self._zlib.eof:
                try:
                    decoded = self._zlib.decompress(piece, PIECE)
                except zlib.error as error:
                    raise _CodingError from error
                piece = self._zlib.unconsumed_tail
                if decoded:
                    yield decoded
                if not piece and len(decoded) < PIECE:
                    break
            if self._zlib.eof:
                self.rest = self._zlib.unused_data + data[at + _SLICE :]
                return


class _Deflate:
    """What answers call deflate: a zlib stream, or as some servers have it, a bare one."""

    def __init__(self) -> None:
        self._head = b""
        self._unit: _Zlib | None = None

    @property
    def ended(self) -> bool:
        return self._unit is not None and self._unit.ended

    @property
    def rest(self) -> bytes:
        return self._unit.rest if self._unit else b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._unit is None:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return
            has_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._unit = _Zlib(15 if has_header else -15)
        yield from self._unit.feed(data)


class _Brotli:
    def __init__(self) -> None:
        self._brotli = brotli.Decompressor()
        self.rest = b""

    @property
    def ended(self) -> bool:
        return bool(self._brotli.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _SLICE):
            if self.ended:
                self.rest = data[at:]
                return
            piece = data[at : at + _SLICE]
            while True:
                try:
                    decoded = self._brotli.process(piece, output_buffer_limit=PIECE)
                except brotli.error as error:
                    raise _CodingError from error
                piece = b""
                if decoded:
                    yield decoded
                if not decoded or self.ended:
                    break


class _Zstd:
    def __init__(self) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._zstd = decompressor.decompressobj(write_size=_SLICE)
        self.rest = b""

    @property
    def ended(self) -> bool:
        return self._zstd.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_SLICE):
            try:
                decoded = self._zstd.decompress(data[at : at + _ZSTD_SLICE])
            except zstandard.ZstdError as error:
                raise _CodingError from error
            if decoded:
                yield decoded
            if self._zstd.eof:
                self.rest = self._zstd.unused_data + data[at + _ZSTD_SLICE :]
                return


_REQUEST_CODINGS: Final[Mapping[str, Callable[[], _Unit]]] = {
    "gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
    "br": _Brotli,
    "zstd": _Zstd,
}

_ANSWER_CODINGS: Final[Mapping[str, Callable[[], _Unit]]] = {
    **_REQUEST_CODINGS,
    "x-gzip": _REQUEST_CODINGS["gzip"],
    "deflate": _Deflate,
}

_MAX_UNITS: Final = 1 << 16
"""Most units of one answer: each costs time, even where it decodes to nothing."""

_SEVERAL_UNITS: Final = frozenset({"gzip", "x-gzip", "zstd"})
"""Codings whose format allows several units after each other (RFC 1952 §2.2, RFC 8878 §3)."""


def decode_request(
    body: bytes,
    content_encoding: str | Sequence[str],
    *,
    max_size: int,
    max_ratio: int = 100,
    ratio_after: int = 1 << 20,
) -> bytes:
    """Undo the content coding of a request.

    Args:
        body: As it came.
        content_encoding: The header's value, or the values of all such headers.
        max_size: Most bytes of the decoded body.
        max_ratio: Most bytes of the decoded body for each byte that came, beyond
            ``ratio_after`` bytes.

    Raises:
        UndecodableBody: It is not exactly one unit of one known coding, or not whole.
        BodyTooLarge: It exceeds a bound.
    """
    coding = _only_coding(content_encoding)
    if coding in _IDENTITY:
        if len(body) > max_size:
            raise BodyTooLarge(max_size)
        return body
    if coding not in _REQUEST_CODINGS:
        raise UndecodableBody(Reason.UNKNOWN_CODING)
    unit = _REQUEST_CODINGS[coding]()
    limit = min(max_size, max(ratio_after, max_ratio * len(body)))
    decoded = bytearray()
    try:
        for piece in unit.feed(body):
            decoded += piece
            if len(decoded) > limit:
                raise BodyTooLarge(limit)
    except _CodingError as error:
        raise UndecodableBody(Reason.BROKEN) from error
    if not unit.ended:
        raise UndecodableBody(Reason.TRUNCATED)
    if unit.rest:
        raise UndecodableBody(Reason.TRAILING_DATA)
    return bytes(decoded)


def _only_coding(content_encoding: str | Sequence[str]) -> str:
    values = [content_encoding] if isinstance(content_encoding, str) else content_encoding
    if len(values) > 1 or any("," in value for value in values):
        raise UndecodableBody(Reason.SEVERAL_CODINGS)
    return values[0].strip(" \t").lower() if values else ""


class IncrementalDecoder:
    """Undoes the content coding of an answer while it passes. Never raises on data.

    At most ``max_size`` bytes are decoded in all, and past ``RATIO_AFTER`` at most ``MAX_RATIO``
    for each byte that came; then ``overflowed`` is True and nothing more is. Where the bytes are
    not of the coding, ``broken`` says why (a ``Reason``) and nothing more is decoded; how much of
    the chunk that broke it was, is not certain.
    """

    def __init__(self, coding: str, *, max_size: int) -> None:
        self._new: Callable[[], _Unit] | None = _ANSWER_CODINGS.get(coding)
        self._most_units = _MAX_UNITS if coding in _SEVERAL_UNITS else 1
        self._unit: _Unit | None = None
        self._left = max_size
        self._credit = RATIO_AFTER
        self._units = 0
        self.overflowed = False
        self.broken: Reason | None = None

    def receive(self, chunk: bytes) -> bytes:
        """Return what ``chunk`` decodes to."""
        if self._new is None:
            return self._bounded(chunk)
        self._credit += MAX_RATIO * len(chunk)
        pieces: list[bytes] = []
        try:
            for at in range(0, len(chunk), _SLICE):
                pieces.extend(self._decoded(chunk[at : at + _SLICE], self._new))
        except _CodingError:
            self.broken = Reason.BROKEN
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> bytes:
        """The answer ended: find out whether it was cut short. Returns no bytes."""
        if self._unit and not (self.overflowed or self.broken or self._unit.ended):
            self.broken = Reason.TRUNCATED
        return b""

    def _bounded(self, piece: bytes) -> bytes:
        self.overflowed = self.overflowed or len(piece) > self._left
        piece = piece[: self._left]
        self._left -= len(piece)
        return piece

    def _decoded(self, data: bytes, new: Callable[[], _Unit]) -> Iterator[bytes]:
        while data and not (self.broken or self.overflowed):
            if self._unit is None or self._unit.ended:
                if self._units == self._most_units:
                    self.broken = Reason.TRAILING_DATA
                    return
                self._unit = new()
                self._units += 1
            for piece in self._unit.feed(data):
                self._credit -= len(piece)
                self.overflowed = self._credit < 0
                yield self._bounded(piece)
                if self.overflowed:
                    return
            data = self._unit.rest


def decoder_for(
    content_encoding: str | Sequence[str], *, max_size: int
) -> IncrementalDecoder | None:
    """Return a decoder for an answer, or None where its coding is not known.

    ``content_encoding`` is the header's value, or the values of all such headers.
    """
    values = [content_encoding] if isinstance(content_encoding, str) else content_encoding
    names = [name.strip(" \t").lower() for value in values for name in value.split(",")]
    codings = [name for name in names if name not in _IDENTITY]
    if not codings:
        return IncrementalDecoder("identity", max_size=max_size)
    if len(codings) > 1 or codings[0] not in _ANSWER_CODINGS:
        return None
    return IncrementalDecoder(codings[0], max_size=max_size)
