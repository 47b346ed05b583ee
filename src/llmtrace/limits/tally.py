"""The small counters and holds that the runaway guard needs: a ledger's, or of this process."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from llmtrace.storage.ledger import Hold

MOST: Final = 50_000
"""Counters of this process; the ones that were used longest ago go first."""


class Tally(Protocol):
    """What a ``Ledger`` keeps beside budgets. The same promises, and it may be unavailable."""

    def now(self) -> datetime:
        """Return the time (UTC)."""
        ...

    def bump(self, key: str, *, by: int = 1, window_seconds: int) -> int:
        """Count, and return the count of the window that the time is in."""
        ...

    def hold(self, key: str, reason: str, *, until: datetime | None = None) -> None:
        """Stop something."""
        ...

    def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        """Return which of the keys are held now."""
        ...


@dataclass(slots=True)
class _Count:
    window: int
    count: int


class MemoryTally:
    """Counts in this process, where no ledger is kept. Safe to share between threads."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, int], _Count] = OrderedDict()
        self._holds: dict[str, Hold] = {}
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the time (UTC)."""
        return self._clock()

    def bump(self, key: str, *, by: int = 1, window_seconds: int) -> int:
        """Count, and return the count of the window that the time is in."""
        window = int(self._clock().timestamp()) // window_seconds
        with self._lock:
            found = self._counts.setdefault((key, window_seconds), _Count(window, 0))
            self._counts.move_to_end((key, window_seconds))
            if found.window != window:
                found.window, found.count = window, 0
            found.count += by
            if len(self._counts) > MOST:
                self._counts.popitem(last=False)
            return found.count

    def hold(self, key: str, reason: str, *, until: datetime | None = None) -> None:
        """Stop something; again, it changes reason and end."""
        with self._lock:
            if len(self._holds) < MOST or key in self._holds:
                self._holds[key] = Hold(key=key, reason=reason, since=self._clock(), until=until)

    def release(self, key: str) -> bool:
        """Let it go on; return whether it was held."""
        with self._lock:
            return self._holds.pop(key, None) is not None

    def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        """Return which of the keys are held now."""
        now = self._clock()
        with self._lock:
            found = {key: self._holds[key] for key in keys if key in self._holds}
        return {key: hold for key, hold in found.items() if hold.until is None or hold.until > now}
