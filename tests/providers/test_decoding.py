import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import brotli  # type: ignore[import-untyped]  # no stubs exist
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.decoding import (
    PIECE,
    BodyTooLarge,
    Reason,
    UndecodableBody,
    decode_request,
    decoder_for,
)

BODY = b'{"messages":[{"role":"user","content":"hello"}]}' * 3
LIMIT = 8 << 20


def bare_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zstd_streamed(data: bytes) -> bytes:
    """A frame that does not say its size."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("coding", ENCODE)
def test_a_request_of_one_unit_is_decoded(coding: str) -> None:
    assert decode_request(ENCODE[coding](BODY), coding, max_size=LIMIT) == BODY
    assert decode_request(ENCODE[coding](b""), coding, max_size=LIMIT) == b""


@pytest.mark.parametrize(
    "content_encoding",
    ["", "identity", " Identity ", "none", [], [""], ["identity"]],
    ids=["empty", "identity", "case-and-space", "none", "no-header", "blank", "one-header"],
)
def test_a_plain_request_is_itself(content_encoding: str | Sequence[str]) -> None:
    assert decode_request(BODY, content_encoding, max_size=LIMIT) is BODY


def test_the_name_of_a_coding_has_no_case() -> None:
    assert decode_request(gzip.compress(BODY), " GZip\t", max_size=LIMIT) == BODY


def test_zstd_needs_no_size_in_its_head() -> None:
    assert decode_request(zstd_streamed(BODY), "zstd", max_size=LIMIT) == BODY


SKIPPABLE = b"\x50\x2a\x4d\x18\x02\x00\x00\x00hi"
G, Z, B, S = (ENCODE[name](BODY) for name in ENCODE)


@pytest.mark.parametrize(
    ("body", "content_encoding", "reason"),
    [
        pytest.param(G + G, "gzip", Reason.TRAILING_DATA, id="gzip-two-members"),
        pytest.param(G + b"\0", "gzip", Reason.TRAILING_DATA, id="gzip-trailing-byte"),
        pytest.param(G[:-1], "gzip", Reason.TRUNCATED, id="gzip-truncated"),
        pytest.param(b"", "gzip", Reason.TRUNCATED, id="gzip-empty"),
        pytest.param(BODY, "gzip", Reason.BROKEN, id="gzip-declared-but-plain"),
        pytest.param(G[:-8] + b"\0" * 8, "gzip", Reason.BROKEN, id="gzip-wrong-checksum"),
        pytest.param(Z, "gzip", Reason.BROKEN, id="gzip-that-is-zlib"),
        pytest.param(Z + Z, "deflate", Reason.TRAILING_DATA, id="deflate-two-streams"),
        pytest.param(Z[:-1], "deflate", Reason.TRUNCATED, id="deflate-truncated"),
        pytest.param(bare_deflate(BODY), "deflate", Reason.BROKEN, id="deflate-bare"),
        pytest.param(G, "deflate", Reason.BROKEN, id="deflate-that-is-gzip"),
        pytest.param(BODY, "deflate", Reason.BROKEN, id="deflate-declared-but-plain"),
        pytest.param(B + B, "br", Reason.BROKEN, id="br-two-streams"),
        pytest.param(B[:-1], "br", Reason.TRUNCATED, id="br-truncated"),
        pytest.param(BODY, "br", Reason.BROKEN, id="br-declared-but-plain"),
        pytest.param(S + S, "zstd", Reason.TRAILING_DATA, id="zstd-two-frames"),
        pytest.param(SKIPPABLE + S, "zstd", Reason.TRAILING_DATA, id="zstd-skippable-first"),
        pytest.param(S + SKIPPABLE, "zstd", Reason.TRAILING_DATA, id="zstd-skippable-last"),
        pytest.param(S + b"\0", "zstd", Reason.TRAILING_DATA, id="zstd-trailing-byte"),
        pytest.param(S[:-1], "zstd", Reason.TRUNCATED, id="zstd-truncated"),
        pytest.param(S[:-4] + b"\0" * 4, "zstd", Reason.BROKEN, id="zstd-wrong-checksum"),
        pytest.param(BODY, "zstd", Reason.BROKEN, id="zstd-declared-but-plain"),
        pytest.param(G, "x-gzip", Reason.UNKNOWN_CODING, id="x-gzip"),
        pytest.param(BODY.hex().encode(), "hex", Reason.UNKNOWN_CODING, id="hex"),
        pytest.param(BODY, "rot13", Reason.UNKNOWN_CODING, id="rot13"),
        pytest.param(BODY, "gzip\x0b", Reason.UNKNOWN_CODING, id="odd-space"),
        pytest.param(G, "gzip, identity", Reason.SEVERAL_CODINGS, id="gzip-and-identity"),
        pytest.param(gzip.compress(G), "gzip, gzip", Reason.SEVERAL_CODINGS, id="double"),
        pytest.param(G, "gzip,", Reason.SEVERAL_CODINGS, id="trailing-comma"),
        pytest.param(G, ["gzip", "identity"], Reason.SEVERAL_CODINGS, id="two-headers"),
        pytest.param(BODY, ["identity", "identity"], Reason.SEVERAL_CODINGS, id="twice-identity"),
    ],
)
def test_what_servers_could_read_differently_is_refused(
    body: bytes, content_encoding: str | Sequence[str], reason: Reason
) -> None:
    with pytest.raises(UndecodableBody) as caught:
        decode_request(body, content_encoding, max_size=LIMIT)
    assert caught.value.reason is reason


@pytest.mark.parametrize("coding", ["identity", *ENCODE])
def test_the_bound_itself_is_allowed(coding: str) -> None:
    body = ENCODE.get(coding, bytes)(BODY)
    assert decode_request(body, coding, max_size=len(BODY)) == BODY
    with pytest.raises(BodyTooLarge) as caught:
        decode_request(body, coding, max_size=len(BODY) - 1)
    assert caught.value.limit == len(BODY) - 1


def test_the_ratio_counts_only_beyond_its_start() -> None:
    body = gzip.compress(b"\0" * 50_000)
    assert len(decode_request(body, "gzip", max_size=LIMIT, ratio_after=50_000)) == 50_000
    with pytest.raises(BodyTooLarge):
        decode_request(body, "gzip", max_size=LIMIT, ratio_after=49_999)


BOMBS = ENCODE | {"br": lambda data: bytes(brotli.compress(data, quality=1))}
SLACK = {"zstd": 16 << 20}


@pytest.mark.parametrize("coding", ENCODE)
def test_a_bomb_holds_little_more_than_its_bound(coding: str) -> None:
    bomb = BOMBS[coding](b"\0" * (32 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decode_request(bomb, coding, max_size=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (1 << 20) * 2 + 4 * PIECE + SLACK.get(coding, 0)


# --- answers ---

ANSWERS = {
    "identity": [BODY],
    "gzip": [G],
    "x-gzip": [G, gzip.compress(b""), G],
    "deflate": [Z],
    "br": [B],
    "zstd": [S, SKIPPABLE, zstd_streamed(BODY)],
}


@pytest.mark.parametrize("coding", ANSWERS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunking_changes_nothing(coding: str, size: int) -> None:
    stream = b"".join(ANSWERS[coding])
    decoder = decoder_for(coding, max_size=LIMIT)
    assert decoder is not None
    text = b"".join(decoder.receive(stream[i : i + size]) for i in range(0, len(stream), size))
    assert text + decoder.close() == BODY * sum(1 for u in ANSWERS[coding] if len(u) > 40)
    assert (decoder.broken, decoder.overflowed) == (None, False)


@pytest.mark.parametrize("size", [1, 1000])
def test_a_bare_deflate_answer_is_read_too(size: int) -> None:
    stream = bare_deflate(BODY)
    decoder = decoder_for("deflate", max_size=LIMIT)
    assert decoder is not None
    text = b"".join(decoder.receive(stream[i : i + size]) for i in range(0, len(stream), size))
    assert (text, decoder.close(), decoder.broken) == (BODY, b"", None)


def flushed_zlib(window: int) -> bytes:
    compressor = zlib.compressobj(wbits=window)
    return compressor.compress(BODY) + compressor.flush(zlib.Z_SYNC_FLUSH)


def flushed_brotli() -> bytes:
    compressor = brotli.Compressor()
    return bytes(compressor.process(BODY) + compressor.flush())


def flushed_zstd() -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(BODY) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


@pytest.mark.parametrize(
    ("coding", "stream"),
    [
        pytest.param("gzip", flushed_zlib(31), id="gzip"),
        pytest.param("deflate", flushed_zlib(15), id="deflate"),
        pytest.param("deflate", flushed_zlib(-15), id="bare-deflate"),
        pytest.param("br", flushed_brotli(), id="br"),
        pytest.param("zstd", flushed_zstd(), id="zstd"),
    ],
)
def test_what_was_flushed_is_there_at_once(coding: str, stream: bytes) -> None:
    decoder = decoder_for(coding, max_size=LIMIT)
    assert decoder is not None
    assert decoder.receive(stream) == BODY
    decoder.close()
    assert decoder.broken is Reason.TRUNCATED


@pytest.mark.parametrize("coding", ["identity", *ENCODE])
def test_an_answer_over_its_bound_stops(coding: str) -> None:
    decoder = decoder_for(coding, max_size=100)
    assert decoder is not None
    stream = ENCODE.get(coding, bytes)(BODY)
    assert decoder.receive(stream) == BODY[:100]
    assert decoder.overflowed
    assert decoder.receive(stream) + decoder.close() == b""
    assert decoder.broken is None


@pytest.mark.parametrize(
    ("stream", "coding", "text", "reason"),
    [
        pytest.param(BODY, "gzip", b"", Reason.BROKEN, id="plain"),
        pytest.param(G + b"junk", "gzip", BODY, Reason.BROKEN, id="gzip-then-junk"),
        pytest.param(Z + b"junk", "deflate", BODY, Reason.TRAILING_DATA, id="deflate-then-junk"),
        pytest.param(S + b"junk", "zstd", BODY, Reason.BROKEN, id="zstd-then-junk"),
        pytest.param(b"\x78", "deflate", b"", Reason.TRUNCATED, id="one-byte"),
        pytest.param(S[:-1], "zstd", BODY, Reason.TRUNCATED, id="zstd-truncated"),
        pytest.param(b"", "gzip", b"", None, id="no-body-at-all"),
    ],
)
def test_a_broken_answer_says_so_and_does_not_raise(
    stream: bytes, coding: str, text: bytes, reason: Reason | None
) -> None:
    decoder = decoder_for(coding, max_size=LIMIT)
    assert decoder is not None
    assert decoder.receive(stream) + decoder.close() == text
    assert decoder.broken is reason
    assert decoder.receive(b"more" if reason else b"") == b""


@given(st.sampled_from(sorted(ENCODE)), st.binary(max_size=200), st.integers(0, 60))
@settings(max_examples=200)
def test_no_bytes_make_a_decoder_raise(coding: str, noise: bytes, keep: int) -> None:
    decoder = decoder_for(coding, max_size=1000)
    assert decoder is not None
    stream = ENCODE[coding](BODY)[:keep] + noise
    text = b"".join(decoder.receive(stream[i : i + 9]) for i in range(0, len(stream), 9))
    decoder.close()
    assert len(text) <= 1000
    with pytest.raises((UndecodableBody, BodyTooLarge)):
        decode_request(stream + b"\xff" * 40, coding, max_size=1000)


def test_empty_members_without_end_are_bounded() -> None:
    decoder = decoder_for("gzip", max_size=LIMIT)
    assert decoder is not None
    decoder.receive(gzip.compress(b"") * 65_600)
    assert decoder.broken is Reason.TRAILING_DATA


@pytest.mark.parametrize(
    "content_encoding",
    ["hex", "gzip, br", "compress", ["gzip", "gzip"]],
    ids=["unknown", "two-codings", "compress", "two-headers"],
)
def test_an_unknown_coding_has_no_decoder(content_encoding: str | Sequence[str]) -> None:
    assert decoder_for(content_encoding, max_size=LIMIT) is None


def test_identity_beside_a_coding_changes_nothing() -> None:
    decoder = decoder_for(["gzip", "identity"], max_size=LIMIT)
    assert decoder is not None
    assert decoder.receive(G) == BODY
