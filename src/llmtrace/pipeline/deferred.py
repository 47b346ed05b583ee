"""Answers that come later: begun in the background, and fetched when they are done.

Such an answer may be fetched many times, with its usage in each; it is charged once. What is
remembered is of this worker alone, and bounded: a fetch that another worker sees costs nothing
rather than twice.
"""

import threading
from collections import OrderedDict
from typing import Final

MEMORY: Final = 10_000


class Deferred:
    """The response ids whose usage is still to come. Locked: large calls end in threads."""

    def __init__(self, size: int = MEMORY) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._open: OrderedDict[str, None] = OrderedDict()

    def begin(self, response_id: str) -> None:
        """Note an answer that is not there yet."""
        with self._lock:
            self._open[response_id] = None
            if len(self._open) > self._size:
                self._open.popitem(last=False)

    def charge(self, response_id: str) -> bool:
        """Say whether this fetch is the one to charge: the first that tells the usage."""
        with self._lock:
            return self._open.pop(response_id, self) is None
