"""How full a spool may become, and what is still written when it is full."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final, Literal

from llmtrace.storage.spool_files import spooled_bytes
from llmtrace.storage.spool_io import SpoolIO

type OnFull = Literal["block", "drop_payload", "drop_new"]

MEASURED_EVERY: Final = 1.0
"""Seconds for which a measurement holds as long as there is room."""

MEASURED_WHEN_FULL_EVERY: Final = 0.1
"""Seconds for which one holds when there is none, so that a freed spool is noticed soon."""

RESERVE: Final = 16
"""One part in this many of ``max_bytes`` is kept for ending the calls that have begun."""


class Level(IntEnum):
    """How full it is."""

    ROOM = 0
    RESERVE = 1
    """Over the bound, within the reserve."""
    FULL = 2


class Call(StrEnum):
    """Whether the spool has the beginning of the call that a record belongs to."""

    NEW = "new"
    BEGUN = "begun"


class Answer(StrEnum):
    """What becomes of a record."""

    WRITE = "write"
    STRIP = "strip"
    """Written without bodies and texts."""
    DROP = "drop"


WITHIN_RESERVE: Final[Mapping[tuple[OnFull, Call], Answer]] = {
    ("block", Call.NEW): Answer.DROP,
    ("block", Call.BEGUN): Answer.WRITE,
    ("drop_payload", Call.NEW): Answer.STRIP,
    ("drop_payload", Call.BEGUN): Answer.STRIP,
    ("drop_new", Call.NEW): Answer.DROP,
    ("drop_new", Call.BEGUN): Answer.WRITE,
}
"""The answers between the bound and the end of the reserve. Before it all is written, behind
it nothing."""


def answer(level: Level, on_full: OnFull, call: Call) -> Answer:
    """Return what becomes of a record."""
    if level is Level.ROOM:
        return Answer.WRITE
    return WITHIN_RESERVE[on_full, call] if level is Level.RESERVE else Answer.DROP


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bytes that all workers together may have spooled, and that must stay free on the disk."""

    max_bytes: int = 2 << 30
    min_free_bytes: int = 512 << 20


class Room:
    """Knows how full a spool is without asking the file system each time.

    What others write or free shows at the next measurement, so with several workers the bound
    may be overrun by what they write in one second.
    """

    def __init__(self, root: Path, bounds: Bounds, io: SpoolIO) -> None:
        self._root = root
        self._bounds = bounds
        self._io = io
        self._measured_at: float | None = None
        self._used = 0
        self._free = 0

    def add(self, size: int) -> None:
        """Note that ``size`` bytes were written."""
        self._used += size
        self._free -= size

    def level(self, size: int, now: float) -> Level:
        """Return how full it is with ``size`` bytes more. ``now`` is monotonic, in seconds.

        Raises:
            OSError: It could not be measured.
        """
        if self._outdated(size, now):
            self._used = spooled_bytes(self._root, self._io)
            self._free = self._io.free_bytes(self._root)
            self._measured_at = now
        return self._level(size)

    def _outdated(self, size: int, now: float) -> bool:
        if self._measured_at is None:
            return True
        full = self._level(size) is not Level.ROOM
        return now - self._measured_at >= (MEASURED_WHEN_FULL_EVERY if full else MEASURED_EVERY)

    def _level(self, size: int) -> Level:
        most, least = self._bounds.max_bytes, self._bounds.min_free_bytes
        used, free = self._used + size, self._free - size
        if used <= most and free >= least:
            return Level.ROOM
        if used <= most + most // RESERVE and free >= least // 2:
            return Level.RESERVE
        return Level.FULL
