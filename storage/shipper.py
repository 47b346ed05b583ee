"""Moves what the workers spooled into the store: at least once, to a store that knows repeats."""

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from llmtrace.domain.traces import Outcome, Record
from llmtrace.storage.base import TraceRepository
from llmtrace.storage.codec import encode_record
from llmtrace.storage.spool_deadletter import DeadLetters
from llmtrace.storage.spool_errors import describe, is_permanent
from llmtrace.storage.spool_files import worker_directories
from llmtrace.storage.spool_io import OS_IO, SpoolIO
from llmtrace.storage.spool_join import Lost, interrupted
from llmtrace.storage.spool_lane import DEFAULT_LIMITS, Batch, Lane, Limits
from llmtrace.storage.spool_reader import ReaderCounters

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long to wait after a failure: random, up to a bound that doubles. Seconds."""

    first: float = 0.5
    most: float = 30.0
    give_up_after: float | None = None
    """None tries for as long as it takes, which is what a recorder does."""

    def bound(self, attempt: int) -> float:
        """Return the longest wait after failure number ``attempt``, counted from 0."""
        return min(self.most, self.first * 2.0 ** min(attempt, 32))


DEFAULT_RETRY: Final = Retry()


@dataclass(slots=True)
class ShipperCounters:
    """What became of what was read."""

    shipped_total: int = 0
    """Records that the store took; one shipped again counts again."""
    dead_letters_total: int = 0
    retries_total: int = 0
    errors_total: int = 0
    """Failures to read, acknowledge or delete segments."""
    last_error: str = ""
    last_error_at: datetime | None = None


class GaveUp(Exception):
    """The store did not take a batch in time, or the shipper was told to stop."""


class _Refused(Exception):
    """A call that would fail again, and what it raised."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(type(reason).__name__)
        self.reason = reason


class Shipper:
    """Ships the records of all workers under one spool, one batch of each in turn.

    Nothing is acknowledged before the store has returned from ``put``; what is in flight when
    this process dies is shipped again. There must be one shipper for a spool at a time.
    """

    def __init__(
        self,
        root: Path,
        sink: TraceRepository,
        *,
        stop: threading.Event | None = None,
        limits: Limits = DEFAULT_LIMITS,
        retry: Retry = DEFAULT_RETRY,
        dead_letters: DeadLetters | None = None,
        io: SpoolIO = OS_IO,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[float, float], float] = random.uniform,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """``stop`` ends any wait; ``on_failure`` is called before each wait."""
        self.counters = ShipperCounters()
        self.found = ReaderCounters()
        self.dead_letters = dead_letters or DeadLetters(root, io=io)
        self._root = root
        self._sink = sink
        self._stop = stop or threading.Event()
        self._limits = limits
        self._retry = retry
        self._io = io
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._on_failure = on_failure
        self._lanes: dict[Path, Lane] = {}

    def ship(self, limits: Limits | None = None) -> bool:
        """Ship one batch of each worker; return whether more is waiting already.

        ``limits`` are for this time, in the place of those that it was made with.

        Raises:
            GaveUp: See ``Retry.give_up_after`` and ``stop``; it may be called again.
        """
        self._discover()
        more = False
        for directory, lane in list(self._lanes.items()):
            lane.limits = limits or self._limits
            try:
                more = self._ship(lane) or more
                if lane.done:
                    lane.reader.remove()
                    del self._lanes[directory]
            except OSError as exc:
                self.counters.errors_total += 1
                self._note(exc, f"spool {directory.name}")
        return more

    def run(
        self,
        *,
        tick: float = 0.2,
        turn: Callable[["Shipper"], bool] = lambda shipper: shipper.ship(),
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Ship until told to stop, looking for more every ``tick`` seconds, then once more.

        ``turn`` makes each round, and ``after`` is called after it.
        """
        while not self._stop.is_set():
            try:
                more = turn(self)
            except GaveUp:
                more = False
            after()
            if not more:
                self._stop.wait(tick)

    def drain(self) -> int:
        """Ship until nothing is left to be read, and return how many records were shipped.

        Raises:
            GaveUp: As ``ship``.
        """
        before = self.counters.shipped_total
        errors = self.counters.errors_total
        while self.ship() and self.counters.errors_total == errors:
            pass
        return self.counters.shipped_total - before

    def backlog_bytes(self) -> int:
        """Return how many bytes of segments are not acknowledged."""
        self._discover()
        return sum(lane.reader.backlog_bytes() for lane in self._lanes.values())

    def lag_seconds(self) -> float:
        """Return how old the newest record in the store is, of the worker furthest behind."""
        now = self._now().timestamp()
        lags = [
            now - lane.acknowledged_ns / 1e9
            for lane in self._lanes.values()
            if lane.acknowledged_ns and lane.reader.backlog_bytes()
        ]
        return max(0.0, *lags) if lags else 0.0

    def close(self) -> None:
        """Close all segments."""
        for lane in self._lanes.values():
            lane.reader.close()
        self._lanes.clear()

    def _discover(self) -> None:
        try:
            for directory in worker_directories(self._root, self._io):
                if directory not in self._lanes:
                    self._lanes[directory] = Lane(
                        directory,
                        limits=self._limits,
                        io=self._io,
                        counters=self.found,
                        clock=self._clock,
                    )
        except OSError as exc:
            self.counters.errors_total += 1
            self._note(exc, "spool")

    def _ship(self, lane: Lane) -> bool:
        left_over = lane.has_batch  # nothing was read since, so there may be more
        batch = lane.batch()
        full = lane.full
        if len(batch):
            self._deliver(batch)
        lane.acknowledge()
        return full or left_over

    def _deliver(self, batch: Batch) -> None:
        for each in batch.unreadable:
            self._bury(each.trace_id, each.content, each.reason)
        ended = [record for each in batch.lost if (record := self._given_up(each)) is not None]
        parts: list[Sequence[Record]] = [[*batch.records, *ended]]
        while parts:
            part = parts.pop()
            refusal = self._put(part) if part else None
            if refusal is None:
                self.counters.shipped_total += len(part)
            elif len(part) > 1:
                middle = len(part) // 2
                parts += (part[middle:], part[:middle])
            else:
                reason = f"{type(refusal).__name__}: {refusal}"
                self._bury(part[0].trace.trace_id, encode_record(part[0]), reason)

    def _put(self, records: Sequence[Record]) -> Exception | None:
        """Return why the store refuses the records for good, None if it took them."""
        try:
            self._persist(lambda: self._sink.put(records))
        except _Refused as exc:
            return exc.reason
        return None

    def _given_up(self, lost: Lost) -> Record | None:
        try:
            trace = self._persist(lambda: self._sink.get(lost.trace_id))
        except _Refused:
            return None  # purged meanwhile
        if trace.outcome is not Outcome.PENDING:
            return None
        return Record(trace=interrupted(trace, sent=lost.sent, code=lost.code))

    def _bury(self, trace_id: str, content: bytes, reason: str) -> None:
        at = self._now()
        self._persist(lambda: self.dead_letters.bury(trace_id, content, reason, at))
        self.counters.dead_letters_total += 1
        kind = reason.partition(":")[0]
        logger.error("trace %s cannot be stored (%s); see deadletter/", trace_id, kind)

    def _persist[T](self, call: Callable[[], T]) -> T:
        """Try until it works.

        Raises:
            GaveUp: It took too long.
            _Refused: It never will.
        """
        began = self._clock()
        for attempt in itertools.count():
            try:
                return call()
            except Exception as exc:  # whatever a store may raise: it is noted, or passed on
                if is_permanent(exc):
                    raise _Refused(exc) from exc
                self.counters.retries_total += 1
                self._note(exc, "store")
            self._on_failure()
            patience = self._retry.give_up_after
            late = patience is not None and self._clock() - began >= patience
            if late or self._stop.wait(self._jitter(0.0, self._retry.bound(attempt))):
                raise GaveUp("the store did not take the records")
        raise AssertionError("count has no end")

    def _note(self, error: Exception, where: str) -> None:
        text = f"{where}: {describe(error)}"
        if text != self.counters.last_error:
            logger.warning("%s; trying again", text)
        self.counters.last_error, self.counters.last_error_at = text, self._now()
