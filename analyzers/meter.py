"""What a model does and how long it takes, in numbers that add up over processes."""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

BOUNDS_MS: Final = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000)
"""Upper bounds, in milliseconds, of the classes in which times are counted; the last has none."""
FAILING_SECONDS: Final = 300.0
"""How long after a text that could not be read a model counts as failing."""
TELL_SECONDS: Final = 60.0
"""How long after a fault was told of further ones are only counted."""
QUANTILES: Final = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


class Meter:
    """Counts what one model reads. Safe to share between threads.

    ``clock`` gives seconds that only rise.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times = [0] * (len(BOUNDS_MS) + 1)
        self._counts = {"texts": 0, "windows": 0, "truncated": 0, "failed": 0}
        self._reading = self._most = self._batch = 0
        self._fault, self._failed_at, self._told_at = "", -math.inf, -math.inf
        self.load_ms = 0.0
        """How long it took until the model could read."""

    @contextmanager
    def text(self) -> Iterator[None]:
        """Time the reading of one text, the wait for others included."""
        with self._lock:
            self._reading += 1
            self._most = max(self._most, self._reading)
        began = time.perf_counter()
        try:
            yield
        finally:
            took = (time.perf_counter() - began) * 1000
            with self._lock:
                self._reading -= 1
                self._counts["texts"] += 1
                self._times[bisect_left(BOUNDS_MS, took)] += 1

    def read(self, windows: int) -> None:
        """Count windows that the network was given in one pass."""
        with self._lock:
            self._counts["windows"] += windows
            self._batch = max(self._batch, windows)

    def cut(self) -> None:
        """Count a text of which a rest was not read; it is told as a gap as well."""
        with self._lock:
            self._counts["truncated"] += 1

    def fail(self, error: Exception) -> bool:
        """Count a text that could not be read. Return whether to tell of it, as now and then."""
        with self._lock:
            now = self._clock()
            self._counts["failed"] += 1
            self._fault, self._failed_at = type(error).__name__, now
            tell = now - self._told_at >= TELL_SECONDS
            if tell:
                self._told_at = now
            return tell

    def snapshot(self) -> Mapping[str, Any]:
        """Return all numbers.

        ``queue`` are texts that are being read or wait for it, ``batch`` the windows of the
        largest pass, ``failing`` the kind of the last fault, empty if it was long ago.
        """
        with self._lock:
            failing = self._clock() - self._failed_at < FAILING_SECONDS
            return {
                **self._counts,
                "failing": self._fault if failing else "",
                "queue": self._reading,
                "queue_most": self._most,
                "batch": self._batch,
                "load_ms": round(self.load_ms, 1),
                "times": list(self._times),
            }


def total(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return the numbers of one model in several processes as one.

    Counts and queues add up, ``load_ms``, ``queue_most`` and ``batch`` are the largest; ``times``
    become ``p50_ms``, ``p95_ms`` and ``p99_ms``.
    """
    made: dict[str, object] = {
        name: sum(one[name] for one in snapshots)
        for name in ("texts", "windows", "truncated", "failed", "queue")
    }
    for name in ("queue_most", "batch", "load_ms"):
        made[name] = max(one[name] for one in snapshots)
    times = [sum(counts) for counts in zip(*(one["times"] for one in snapshots), strict=True)]
    made |= {name: quantile(times, share) for name, share in QUANTILES.items()}
    return made


def quantile(times: Sequence[int], share: float) -> int | None:
    """Return the milliseconds within which a share of texts was read, None where none was.

    It is the upper bound of the class, so never too low; for the last class, its lower one.
    """
    count = sum(times)
    if not count:
        return None
    seen = 0
    for place, number in enumerate(times):
        seen += number
        if seen >= share * count:
            return BOUNDS_MS[min(place, len(BOUNDS_MS) - 1)]
    return BOUNDS_MS[-1]
