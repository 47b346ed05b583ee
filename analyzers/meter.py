"""What a model does and how long it takes, in numbers that add up over processes."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

BOUNDS_MS: Final = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000)
"""Upper bounds, in milliseconds, of the classes in which times are counted; the last has none."""
QUANTILES: Final = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


class Meter:
    """Counts what one model reads. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times = [0] * (len(BOUNDS_MS) + 1)
        self._counts = {"texts": 0, "windows": 0, "truncated": 0}
        self._reading = self._most = 0
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
        """Count windows that the network was given."""
        with self._lock:
            self._counts["windows"] += windows

    def cut(self) -> None:
        """Count a text of which a rest was not read; it is told as a gap as well."""
        with self._lock:
            self._counts["truncated"] += 1

    def snapshot(self) -> Mapping[str, Any]:
        """Return all numbers. ``queue`` are texts that are being read or wait for it."""
        with self._lock:
            return {
                **self._counts,
                "queue": self._reading,
                "queue_most": self._most,
                "load_ms": round(self.load_ms, 1),
                "times": list(self._times),
            }


def total(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return the numbers of one model in several processes as one.

    Counts and queues add up, ``load_ms`` and ``queue_most`` are the largest; ``times`` become
    ``p50_ms``, ``p95_ms`` and ``p99_ms``.
    """
    made: dict[str, object] = {
        name: sum(one[name] for one in snapshots)
        for name in ("texts", "windows", "truncated", "queue")
    }
    for name in ("queue_most", "load_ms"):
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
