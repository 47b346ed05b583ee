import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.ids import new_trace_id
from llmtrace.storage.spool_format import MAX_PAYLOAD, Entry, Flag, Kind
from llmtrace.storage.spool_payload import (
    MIN_COMPRESSED,
    compress,
    content,
    id_bytes,
    id_text,
)


def entry(payload: bytes, flags: Flag) -> Entry:
    return Entry(
        kind=Kind.END, flags=flags, trace_id=bytes(16), time_ns=0, payload=payload, begin=0, end=0
    )


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000) | st.text(max_size=8).map(lambda t: t.encode() * MIN_COMPRESSED))
def test_any_payload_comes_back(payload: bytes) -> None:
    assert content(entry(*compress(payload))) == payload


@pytest.mark.parametrize(
    ("payload", "flags"),
    [
        pytest.param(b"a" * (MIN_COMPRESSED - 1), Flag.NONE, id="small"),
        pytest.param(random.Random(1).randbytes(MIN_COMPRESSED), Flag.NONE, id="incompressible"),  # noqa: S311
        pytest.param(b"a" * MIN_COMPRESSED, Flag.ZSTD, id="compressible"),
    ],
)
def test_it_is_compressed_where_that_pays(payload: bytes, flags: Flag) -> None:
    written, found = compress(payload)
    assert found is flags
    assert len(written) <= len(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"no frame", id="no-frame"),
        pytest.param(zstandard.compress(b"a" * 500)[:-3], id="cut"),
        pytest.param(
            zstandard.ZstdCompressor(write_content_size=False).compress(b"a"), id="without-size"
        ),
        pytest.param(b"\x28\xb5\x2f\xfd\xa0" + (MAX_PAYLOAD + 1).to_bytes(4, "little"), id="bomb"),
    ],
)
def test_a_frame_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="spool payload"):
        content(entry(payload, Flag.ZSTD))


def test_threads_do_not_share_a_compressor() -> None:
    payloads = [bytes([n]) * 50_000 for n in range(32)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(compress, payloads))
    assert [content(entry(*each)) for each in written] == payloads


def test_ids_come_back() -> None:
    trace_id = new_trace_id()
    assert id_text(id_bytes(trace_id)) == trace_id


@pytest.mark.parametrize("trace_id", ["", "abcd", "no id at all", "0" * 34])
def test_what_is_no_id_is_refused(trace_id: str) -> None:
    with pytest.raises(ValueError, match=r"trace id|hex"):
        id_bytes(trace_id)
