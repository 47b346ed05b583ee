"""One worker's records on their way to the store, batch by batch."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmtrace.domain.traces import Record
from llmtrace.storage.spool_io import OS_IO, SpoolIO
from llmtrace.storage.spool_join import Item, Joiner, Lost, Unreadable
from llmtrace.storage.spool_ledger import Position
from llmtrace.storage.spool_reader import Located, ReaderCounters, SpoolReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a batch may be. A single record may be larger than ``bytes``."""

    records: int = 1000
    bytes: int = 8 << 20
    pending_after: float = 2.0
    """Seconds after which a call without an END is shipped as pending."""


DEFAULT_LIMITS: Final = Limits()


@dataclass(slots=True)
class Batch:
    """What is put into the store at once."""

    records: list[Record] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    size: int = 0
    newest_ns: int = 0
    """When the newest record of it was written."""

    def __len__(self) -> int:
        return len(self.records) + len(self.unreadable) + len(self.lost)

    def add(self, item: Item) -> None:
        """Add a record, a dead letter, or a call that is to be ended."""
        match item:
            case Record():
                self.records.append(item)
                self.size += _size(item)
            case Unreadable():
                self.unreadable.append(item)
                self.size += len(item.content)
            case Lost():
                self.lost.append(item)


class Lane:
    """Reads, joins and batches the records of one worker.

    A batch stays the same until it is acknowledged, so whoever was interrupted on the way may
    ask again. All methods raise OSError as the calls they make do.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limits: Limits = DEFAULT_LIMITS,
        io: SpoolIO = OS_IO,
        counters: ReaderCounters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the worker's directory where its ledger says."""
        self.reader = SpoolReader(directory, io=io, counters=counters)
        self.limits = limits
        """They count for the next batch that is begun."""
        self._joiner = Joiner(
            self.reader.ledger.open_calls, pending_after=limits.pending_after, clock=clock
        )
        self._unread: deque[Located] = deque()
        self._batch = Batch()
        self._complete = False
        self.acknowledged_ns = 0
        """When the newest record that the store has was written, 0 if that is not known."""

    @property
    def done(self) -> bool:
        """Whether the worker is dead and all that it left is acknowledged."""
        nothing_left = not self._unread and not len(self._batch) and not self._joiner.has_calls
        return self.reader.finished and nothing_left

    def batch(self) -> Batch:
        """Return what is to be shipped next; an empty one if there is nothing for now."""
        if not self._complete:
            try:
                self._fill()
            except OSError:
                if not len(self._batch):
                    raise
            self._complete = len(self._batch) > 0
        return self._batch

    @property
    def has_batch(self) -> bool:
        """Whether a batch waits that has been returned and not acknowledged."""
        return self._complete

    @property
    def full(self) -> bool:
        """Whether the batch has reached a limit, so that more may be waiting."""
        return len(self._batch) >= self.limits.records or self._batch.size >= self.limits.bytes

    def acknowledge(self) -> None:
        """Note that the store has the batch, and begin a new one."""
        if self._complete:
            self.acknowledged_ns = max(self.acknowledged_ns, self._batch.newest_ns)
            self._batch, self._complete = Batch(), False
            self._joiner.acknowledged()
        self.reader.acknowledge(self._safe_position(), self._joiner.open_calls())

    def _fill(self) -> None:
        while not self.full:
            if not self._unread:
                self._unread.extend(self.reader.read())
                if not self._unread:
                    break
            located = self._unread.popleft()
            self._batch.newest_ns = max(self._batch.newest_ns, located.entry.time_ns)
            for item in self._joiner.add(located):
                self._batch.add(item)
        self._add_while_room(self._joiner.excess())
        over = self.reader.finished and not self._unread
        self._add_while_room(self._joiner.abandoned() if over else self._joiner.due())

    def _add_while_room(self, items: Iterator[Item]) -> None:
        while not self.full:
            item = next(items, None)
            if item is None:
                return
            self._batch.add(item)

    def _safe_position(self) -> Position:
        """Where reading must begin again if this process dies now."""
        next_unread = self._unread[0].begin if self._unread else self.reader.position
        oldest = self._joiner.oldest()
        return next_unread if oldest is None else min(oldest, next_unread)


def _size(record: Record) -> int:
    bodies = sum(len(body.content) for body in (record.request, record.answer) if body is not None)
    return bodies + len(record.texts.prompt) + len(record.texts.answer)
