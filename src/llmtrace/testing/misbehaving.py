"""Ways in which a provider, or the net before it, can misbehave: two tables.

``BODY_MODES`` change a well-made reply, whatever carries it. ``WIRE_MODES`` write to an HTTP/1.1
connection by hand; over HTTP/2 and WebSocket all of them come as a reset in mid-stream.
A script asks for one by its name in ``misbehave``; its ``size``, where it says one, is in bytes.
"""

import enum
import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Final

import brotli  # type: ignore[import-untyped]  # it ships no stubs

from llmtrace.testing.script import Script
from llmtrace.testing.wire import Chunk, Headers, Reply

_MIB: Final = 1024 * 1024
_FLOOD: Final = 2000


class Act(enum.Enum):
    """What is done to a connection beside writing to it."""

    RESET = enum.auto()
    """Send a TCP reset."""
    HOLD = enum.auto()
    """Say nothing more until the client leaves."""
    TICK = enum.auto()
    """Pause for a moment."""


type WireMode = Callable[[Reply], Iterator[bytes | Act]]
type BodyMode = Callable[[Reply, Script], Reply]


def _head(reply: Reply, *extra: tuple[str, str], status: str = "") -> bytes:
    line = f"HTTP/1.1 {status or f'{reply.status} OK'}\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in (*reply.headers, *extra))
    return (line + fields + "\r\n").encode()


_CHUNKED: Final = ("transfer-encoding", "chunked")


def _frame(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _half(reply: Reply) -> list[bytes]:
    """Return the first half of a reply's chunks, or of its only one."""
    if len(reply.chunks) > 1:
        return [chunk.data for chunk in reply.chunks[: len(reply.chunks) // 2]]
    return [reply.body[: len(reply.body) // 2]]


def _started(reply: Reply) -> Iterator[bytes]:
    yield _head(reply, _CHUNKED)
    yield from (_frame(data) for data in _half(reply) if data)


def _reset_before_headers(reply: Reply) -> Iterator[bytes | Act]:
    yield Act.RESET


def _close_before_headers(reply: Reply) -> Iterator[bytes | Act]:
    return iter(())


def _reset_after_headers(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, _CHUNKED)
    yield Act.TICK
    yield Act.RESET


def _reset_mid_stream(reply: Reply) -> Iterator[bytes | Act]:
    yield from _started(reply)
    yield Act.TICK
    yield Act.RESET


def _cut_mid_stream(reply: Reply) -> Iterator[bytes | Act]:
    yield from _started(reply)


def _cut_in_chunk(reply: Reply) -> Iterator[bytes | Act]:
    yield from _started(reply)
    yield b"400\r\nhalf of a chunk"


def _length_too_long(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, ("content-length", str(len(reply.body) + 100))) + reply.body


def _length_too_short(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, ("content-length", str(max(0, len(reply.body) - 10)))) + reply.body


def _length_twice(reply: Reply) -> Iterator[bytes | Act]:
    size = len(reply.body)
    yield _head(reply, ("content-length", str(size)), ("content-length", str(size + 1)))
    yield reply.body


def _length_and_chunked(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, _CHUNKED, ("content-length", "3"))
    yield _frame(reply.body) + b"0\r\n\r\n"


def _length_negative(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, ("content-length", "-1")) + reply.body


def _no_end(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, _CHUNKED)
    yield from (_frame(chunk.data) for chunk in reply.chunks if chunk.data)
    yield Act.HOLD


def _silent(reply: Reply) -> Iterator[bytes | Act]:
    yield Act.HOLD


def _silent_after_headers(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, _CHUNKED)
    yield Act.HOLD


def _until_closed(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, ("connection", "close"))
    yield from (chunk.data for chunk in reply.chunks)


def _whole(reply: Reply) -> bytes:
    return _head(reply, ("content-length", str(len(reply.body)))) + reply.body


_HINTS: Final = b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n"


def _early_hints(reply: Reply) -> Iterator[bytes | Act]:
    yield _HINTS
    yield Act.TICK
    yield _whole(reply)


def _flood_1xx(reply: Reply) -> Iterator[bytes | Act]:
    for _ in range(_FLOOD):
        yield _HINTS
    yield _whole(reply)


def _trailers(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, _CHUNKED, ("trailer", "x-checksum"))
    yield _frame(reply.body) + b"0\r\nx-checksum: 1234\r\n\r\n"


def _garbage(reply: Reply) -> Iterator[bytes | Act]:
    yield b"\x00\xff\x16\x03 this is no status line\r\n\r\n" * 4


def _garbage_in_stream(reply: Reply) -> Iterator[bytes | Act]:
    yield from _started(reply)
    yield b"zz\r\nthis size is no number\r\n"


def _slow_drip(reply: Reply) -> Iterator[bytes | Act]:
    data = _whole(reply)
    for at in range(0, len(data), 16):
        yield data[at : at + 16]
        yield Act.TICK


def _body_on_304(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, ("content-length", str(len(reply.body))), status="304 Not Modified")
    yield reply.body


def _body_on_204(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, ("content-length", str(len(reply.body))), status="204 No Content")
    yield reply.body


def _huge_header(reply: Reply) -> Iterator[bytes | Act]:
    yield _head(reply, ("x-huge", "a" * _MIB), ("content-length", str(len(reply.body))))
    yield reply.body


def _many_headers(reply: Reply) -> Iterator[bytes | Act]:
    many = ((f"x-many-{number}", "1") for number in range(_FLOOD))
    yield _head(reply, *many, ("content-length", str(len(reply.body)))) + reply.body


def _folded_header(reply: Reply) -> Iterator[bytes | Act]:
    size = ("content-length", str(len(reply.body)))
    yield _head(reply, ("x-folded", "one\r\n two"), size) + reply.body


def _split_response(reply: Reply) -> Iterator[bytes | Act]:
    yield _whole(reply) + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond"


def _bad_version(reply: Reply) -> Iterator[bytes | Act]:
    yield _whole(reply).replace(b"HTTP/1.1", b"HTTP/9.9", 1)


WIRE_MODES: Final[Mapping[str, WireMode]] = {
    "bad_version": _bad_version,
    "body_on_204": _body_on_204,
    "body_on_304": _body_on_304,
    "close_before_headers": _close_before_headers,
    "cut_in_chunk": _cut_in_chunk,
    "cut_mid_stream": _cut_mid_stream,
    "early_hints": _early_hints,
    "flood_1xx": _flood_1xx,
    "folded_header": _folded_header,
    "garbage": _garbage,
    "garbage_in_stream": _garbage_in_stream,
    "huge_header": _huge_header,
    "length_and_chunked": _length_and_chunked,
    "length_negative": _length_negative,
    "length_too_long": _length_too_long,
    "length_too_short": _length_too_short,
    "length_twice": _length_twice,
    "many_headers": _many_headers,
    "no_end": _no_end,
    "reset_after_headers": _reset_after_headers,
    "reset_before_headers": _reset_before_headers,
    "reset_mid_stream": _reset_mid_stream,
    "silent": _silent,
    "silent_after_headers": _silent_after_headers,
    "slow_drip": _slow_drip,
    "split_response": _split_response,
    "trailers": _trailers,
    "until_closed": _until_closed,
}


def _named(reply: Reply, *fields: tuple[str, str]) -> Headers:
    """Return the reply's headers with ``fields`` in the place of those of the same names."""
    names = {name for name, _ in fields}
    return (*(field for field in reply.headers if field[0] not in names), *fields)


def _as_one(reply: Reply, body: bytes, *fields: tuple[str, str]) -> Reply:
    return replace(reply, chunks=(Chunk(body),), headers=_named(reply, *fields))


def _spliced(reply: Reply, *chunks: bytes) -> Reply:
    """Put ``chunks`` in the middle of a reply."""
    middle = len(reply.chunks) // 2
    added = tuple(Chunk(data) for data in chunks)
    return replace(reply, chunks=(*reply.chunks[:middle], *added, *reply.chunks[middle:]))


def _huge_line(reply: Reply, script: Script) -> Reply:
    size = script.size or 16 * _MIB
    blocks = [b"x" * min(_MIB, size - at) for at in range(0, size, _MIB)]
    return _spliced(reply, b"data: ", *blocks, b"\n\n")


def _comment_flood(reply: Reply, script: Script) -> Reply:
    return _spliced(reply, *([b": " + b"keep-alive " * 20 + b"\n\n"] * _FLOOD))


def _comment_secret(reply: Reply, script: Script) -> Reply:
    return _spliced(reply, b": " + b"AKIA" + b"IOSFODNN7EXAMPLE" + b"\n\n")


BOMB_SIZE: Final = 200 * _MIB


@cache
def bomb(size: int) -> bytes:
    """Return so many zeros, packed. The first time takes a second: a test does it beforehand."""
    return gzip.compress(bytes(size), compresslevel=9, mtime=0)


def _gzip_bomb(reply: Reply, script: Script) -> Reply:
    return _as_one(reply, bomb(script.size or BOMB_SIZE), ("content-encoding", "gzip"))


def _br_unasked(reply: Reply, script: Script) -> Reply:
    return _as_one(reply, brotli.compress(reply.body), ("content-encoding", "br"))


def _gzip_cut(reply: Reply, script: Script) -> Reply:
    packed = gzip.compress(reply.body, mtime=0)
    return _as_one(reply, packed[: len(packed) // 2], ("content-encoding", "gzip"))


def _encoding_lie(reply: Reply, script: Script) -> Reply:
    return replace(reply, headers=_named(reply, ("content-encoding", "gzip")))


def _encoding_unknown(reply: Reply, script: Script) -> Reply:
    return replace(reply, headers=_named(reply, ("content-encoding", "x-own")))


def _wrong_type(reply: Reply, script: Script) -> Reply:
    return replace(reply, headers=_named(reply, ("content-type", "text/plain")))


def _no_type(reply: Reply, script: Script) -> Reply:
    return replace(reply, headers=tuple(f for f in reply.headers if f[0] != "content-type"))


def _html_200(reply: Reply, script: Script) -> Reply:
    page = b"<!doctype html><title>Sign in</title><p>Please sign in to this network.</p>"
    return _as_one(replace(reply, streamed=False), page, ("content-type", "text/html"))


def _bad_json(reply: Reply, script: Script) -> Reply:
    return _spliced(reply, b'data: {"choices": [{"delta"\n\n')


def _json_cut(reply: Reply, script: Script) -> Reply:
    return _as_one(reply, reply.body[: len(reply.body) * 2 // 3])


def _empty(reply: Reply, script: Script) -> Reply:
    return replace(reply, chunks=())


def _bad_utf8(reply: Reply, script: Script) -> Reply:
    return _spliced(reply, b'data: {"text": "\xff\xfe\xc3"}\n\n')


def _one_byte_each(reply: Reply, script: Script) -> Reply:
    return replace(reply, chunks=tuple(Chunk(bytes([byte])) for byte in reply.body))


def _odd_headers(reply: Reply, script: Script) -> Reply:
    fields = (
        ("set-cookie", "session=1; Secure"),
        ("alt-svc", 'h3=":443"; ma=86400'),
        ("x-llmtrace-trace-id", "forged"),
        ("strict-transport-security", "max-age=1"),
    )
    return replace(reply, headers=_named(reply, *fields))


BODY_MODES: Final[Mapping[str, BodyMode]] = {
    "bad_json": _bad_json,
    "bad_utf8": _bad_utf8,
    "br_unasked": _br_unasked,
    "comment_flood": _comment_flood,
    "comment_secret": _comment_secret,
    "empty": _empty,
    "encoding_lie": _encoding_lie,
    "encoding_unknown": _encoding_unknown,
    "gzip_bomb": _gzip_bomb,
    "gzip_cut": _gzip_cut,
    "html_200": _html_200,
    "huge_line": _huge_line,
    "json_cut": _json_cut,
    "no_type": _no_type,
    "odd_headers": _odd_headers,
    "one_byte_each": _one_byte_each,
    "wrong_type": _wrong_type,
}

MODES: Final = frozenset(WIRE_MODES) | frozenset(BODY_MODES)
"""Every name that a script's ``misbehave`` may have."""
