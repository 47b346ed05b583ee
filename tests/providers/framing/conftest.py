"""What the tests of all framings share: cutting, and counting what is read again."""

from collections.abc import Callable
from typing import Any

import pytest

from llmtrace.providers.base import Frame, Framing

type Cut = Callable[[Framing, bytes, int], list[Frame]]
type ReadsPerByte = Callable[[Framing, str, bytes], float]


class CountingBuffer(bytearray):
    """Counts the bytes that are read out of it, so that rescanning shows without a clock."""

    read: int = 0

    def __buffer__(self, flags: int, /) -> memoryview:
        self.read += len(self)
        return super().__buffer__(flags)

    def __getitem__(self, key: Any) -> Any:  # overloaded in the base: index or slice
        self.read += len(range(*key.indices(len(self)))) if isinstance(key, slice) else 1
        return super().__getitem__(key)


def feed(framing: Framing, data: bytes, size: int) -> list[Frame]:
    """Feed a framing in chunks of one size, and close it."""
    frames: list[Frame] = []
    for at in range(0, len(data), size):
        frames += framing.receive(data[at : at + size])
    return frames + framing.close()


def feed_counted(framing: Framing, buffer: str, data: bytes) -> float:
    """Feed byte by byte; return how often the named buffer was read, per byte of data."""
    counting = CountingBuffer()
    setattr(framing, buffer, counting)
    feed(framing, data, 1)
    if getattr(framing, buffer) is not counting:
        raise LookupError(f"{buffer!r} was replaced, so nothing was counted")
    reads: int = counting.read
    return reads / len(data)


@pytest.fixture(name="cut")
def cut_fixture() -> Cut:
    return feed


@pytest.fixture
def reads_per_byte() -> ReadsPerByte:
    return feed_counted
