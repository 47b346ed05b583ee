"""A thread for work that can wait while there is other work to do."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

    def close(self) -> None:
        """End the thread, after what it does."""
        self._thread.shutdown()


def _step_back() -> None:
    if sys.platform == "linux":
        os.nice(NICENESS)
