import gzip

import brotli  # type: ignore[import-untyped]  # it ships no stubs
import pytest

from llmtrace.testing.misbehaving import BODY_MODES, MODES, WIRE_MODES, Act
from llmtrace.testing.script import Script
from llmtrace.testing.wire import Chunk, json_reply, stream_reply

STREAM = stream_reply([Chunk(b"data: %d\n\n" % number, delta=True) for number in range(6)])
WHOLE = json_reply({"answer": "yes"})


@pytest.mark.parametrize("name", sorted(WIRE_MODES))
@pytest.mark.parametrize("reply", [STREAM, WHOLE], ids=["stream", "whole"])
def test_every_wire_mode_ends(name: str, reply: object) -> None:
    acts = list(WIRE_MODES[name](STREAM if reply is STREAM else WHOLE))
    assert all(isinstance(act, bytes | Act) for act in acts)
    assert len(acts) < 5000


def written(name: str) -> bytes:
    return b"".join(act for act in WIRE_MODES[name](WHOLE) if isinstance(act, bytes))


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("length_too_long", b"content-length: 116\r\n"),
        ("length_too_short", b"content-length: 6\r\n"),
        ("length_negative", b"content-length: -1\r\n"),
        ("trailers", b"0\r\nx-checksum: 1234\r\n\r\n"),
        ("body_on_304", b"HTTP/1.1 304 Not Modified\r\n"),
        ("folded_header", b"x-folded: one\r\n two\r\n"),
        ("bad_version", b"HTTP/9.9 200"),
        ("cut_in_chunk", b"400\r\nhalf of a chunk"),
    ],
)
def test_a_wire_mode_lies_as_it_is_called(name: str, sign: bytes) -> None:
    assert sign in written(name)


def test_a_flood_comes_before_the_answer() -> None:
    flood, _, answer = written("flood_1xx").rpartition(b"HTTP/1.1 200")
    assert flood.count(b"HTTP/1.1 103") == 2000
    assert answer.endswith(WHOLE.body)


@pytest.mark.parametrize("name", sorted(BODY_MODES))
def test_every_body_mode_makes_a_reply(name: str) -> None:
    spoiled = BODY_MODES[name](STREAM, Script(size=100_000))
    assert spoiled.status == 200
    assert spoiled != STREAM


def test_codings_hold_what_they_hide() -> None:
    script = Script(size=1_000_000)
    assert brotli.decompress(BODY_MODES["br_unasked"](WHOLE, script).body) == WHOLE.body
    bomb = BODY_MODES["gzip_bomb"](WHOLE, script).body
    assert len(bomb) < 2000
    assert len(gzip.decompress(bomb)) == 1_000_000


def test_a_huge_line_has_the_size_asked_for() -> None:
    spoiled = BODY_MODES["huge_line"](STREAM, Script(size=3_000_000))
    assert max(len(line) for line in spoiled.body.split(b"\n")) == 3_000_000 + len(b"data: ")


def test_names_are_told_apart() -> None:
    assert not set(BODY_MODES) & set(WIRE_MODES)
    assert set(BODY_MODES) | set(WIRE_MODES) == MODES
