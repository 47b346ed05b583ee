"""Counts of what happened, by name and one label; bounded, so that no peer can grow them."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

MAX_SERIES: Final = 1000


class Counters:
    """Counts events of one process. Not thread-safe: the event loop counts.

    Past ``MAX_SERIES`` label values, further ones are counted under ``other``.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, label: str = "", amount: int = 1) -> None:
        """Add ``amount`` to a series."""
        key = (name, label)
        if key not in self._counts and len(self._counts) >= MAX_SERIES:
            key = (name, "other")
        self._counts[key] += amount

    def get(self, name: str, label: str = "") -> int:
        """Return one series, 0 if it never counted."""
        return self._counts[name, label]

    def snapshot(self) -> Mapping[str, int]:
        """Return all series as ``name`` or ``name{label}``."""
        return {f"{n}{{{label}}}" if label else n: v for (n, label), v in self._counts.items()}
