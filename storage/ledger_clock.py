"""The time of a ledger: never runs back, unless the clock was really set back."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from llmtrace.storage.ledger import MAX_STEP_BACK

logger = logging.getLogger(__name__)

_MAX_STEP_BACK: Final = MAX_STEP_BACK // MAX_STEP_BACK.resolution

type Clock = Callable[[], int]
"""Returns microseconds since 1970, UTC."""


def system_clock() -> int:
    """Return microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class SteadyClock:
    """Microseconds since 1970 that stand still while the clock behind them is set back a little.

    A step back of more than ``MAX_STEP_BACK`` is followed: else a clock that was wrong by a year
    for a moment would stop all periods for a year. Safe to share between threads.
    """

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = 0

    def read(self) -> int:
        """Return the time, and remember it."""
        with self._lock:
            now = self._clock()
            if self._seen - now > _MAX_STEP_BACK:
                logger.warning("the clock was set back by %d s", (self._seen - now) // 1_000_000)
            elif now < self._seen:
                return self._seen
            self._seen = now
            return now

    def read_after(self, seen: int) -> int:
        """Return the time, which is no earlier than what others have seen, unless that is off."""
        now = self.read()
        if 0 < seen - now <= _MAX_STEP_BACK:
            with self._lock:
                self._seen = max(self._seen, seen)
            return seen
        return now


class ServerClock:
    """The clock of a server, as told with each of its answers; the system's until the first."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._behind: int | None = None
        self.seen = 0
        """The latest that the server has told."""

    @property
    def told(self) -> bool:
        """Whether the server has answered yet."""
        return self._behind is not None

    def observe(self, told: int) -> None:
        """Take the time from an answer that has just come."""
        self._behind = told - _steady()
        self.seen = told

    def __call__(self) -> int:
        """Return microseconds since 1970, UTC."""
        return self._clock() if self._behind is None else _steady() + self._behind


def _steady() -> int:
    return time.monotonic_ns() // 1000
