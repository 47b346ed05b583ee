"""What a record carries: a trace with its bodies, compressed where that pays."""

import threading
from typing import Final
from uuid import UUID

import zstandard

from llmtrace.storage.spool_format import MAX_PAYLOAD, Entry, Flag

MIN_COMPRESSED: Final = 16 * 1024
"""Bytes. Smaller payloads stay as they are: what is in the spool is read and deleted within the
second, and compressing a call's two records cost 4 % of the call."""

STRIPPED: Final = "spool_stripped"
"""Attribute of a trace whose bodies were left out because the spool was full."""

_LEVEL: Final = 1
_local = threading.local()


def compress(payload: bytes) -> tuple[bytes, Flag]:
    """Return the payload as it is to be written, and whether it is compressed. Thread-safe."""
    if len(payload) < MIN_COMPRESSED:
        return payload, Flag.NONE
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:  # one per thread: it must not be used by two at once
        compressor = _local.compressor = zstandard.ZstdCompressor(
            level=_LEVEL, write_checksum=False, write_content_size=True
        )
    small = compressor.compress(payload)
    return (small, Flag.ZSTD) if len(small) < len(payload) else (payload, Flag.NONE)


def content(entry: Entry) -> bytes:
    """Return the payload of a record, decompressed.

    Raises:
        ValueError: It is not what its flags say, or larger than ``MAX_PAYLOAD``.
    """
    if Flag.ZSTD not in entry.flags:
        return entry.payload
    try:
        size = zstandard.frame_content_size(entry.payload)
        if not 0 <= size <= MAX_PAYLOAD:
            raise ValueError(f"spool payload says {size} bytes, at most {MAX_PAYLOAD} are read")
        return zstandard.ZstdDecompressor().decompress(entry.payload)
    except zstandard.ZstdError as exc:
        raise ValueError(f"spool payload is no zstd frame: {exc}") from exc


def id_bytes(trace_id: str) -> bytes:
    """Return the 16 bytes of a trace id. Raises: ValueError: it is not a UUID."""
    raw = bytes.fromhex(trace_id.replace("-", ""))
    if len(raw) != 16:
        raise ValueError(f"trace id of {len(raw)} bytes, expected 16")
    return raw


def id_text(raw: bytes) -> str:
    """Return a trace id in its canonical form."""
    return str(UUID(bytes=raw))
