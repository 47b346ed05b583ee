"""Writes messages of AWS event streams."""

import struct
from collections.abc import Mapping
from typing import Final
from zlib import crc32

_STRING_TYPE: Final = 7


def event_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Write one message of an AWS event stream. Headers are texts, names up to 255 bytes.

    Source: Smithy 2.0, "Amazon Event Stream specification".
    """
    packed = b"".join(
        struct.pack("!B", len(name)) + name + struct.pack("!BH", _STRING_TYPE, len(value)) + value
        for name, value in ((n.encode(), v.encode()) for n, v in headers.items())
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack("!I", crc32(prelude)) + packed + payload
    return message + struct.pack("!I", crc32(message))
