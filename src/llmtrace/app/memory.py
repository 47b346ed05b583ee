"""Gives memory back to the system, which the C library would keep once it was needed."""

import asyncio
import ctypes
from collections.abc import Callable
from typing import Final

ALLOCATION: Final = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "262144"}
"""For the environment of a process: glibc keeps what large bodies took, unless it is told."""
EVERY_SECONDS: Final = 10.0
"""How often memory is given back. Of 64 TLS connections that are gone 25 MB were kept; to give
them back holds the C library's lock 2 ms, and where there is nothing to give, 0.2 ms."""


def trimmer() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``; None where the C library is another."""
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


async def give_back(trim: Callable[[int], int] | None, *, every: float = EVERY_SECONDS) -> None:
    """Give free memory back every few seconds, in a thread, until cancelled."""
    while trim is not None:
        await asyncio.sleep(every)
        await asyncio.to_thread(trim, 0)
