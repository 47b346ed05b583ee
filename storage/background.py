"""A thread for work that can wait while there is other work to do."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

NICENESS: Final = 19
"""A sixtieth of a processor that others want too, and all of one that nobody wants."""


class Background:
    """Runs work in a thread of its own that leaves the processor to others.

    Only Linux lets one thread of a process step back by itself; elsewhere it is a thread as
    any other.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "background", initializer=_step_back)

    def run[T](self, work: Callable[[], T]) -> T:
        """Return what the work returns, or raise what it raises; one at a time."""
        return self._thread.submit(work).result()

    def __enter__(self) -> "Background":
        """Begin; the thread ends with the block, after what it does."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread."""
        self._thread.shutdown()


def _step_back() -> None:
    if sys.platform == "linux":
        with suppress(OSError):  # where a sandbox forbids it: then it is a thread as any other
            os.nice(NICENESS)
