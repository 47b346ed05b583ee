"""Where a worker's event loop brings what a ledger is to do: one thread, one trip for each call.

Admissions are awaited. Settlements are not: they wait in a queue, go out in batches, and always
before the next admission of this worker. What the ledger does not take is kept and tried again.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    BadAmount,
    Denied,
    Ledger,
    LedgerUnavailable,
    Settlement,
)

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 30.0
"""How often the leases of calls that go on for long are extended."""
PATIENCE_SECONDS: Final = 3.0
"""Longest that a call waits for the ledger."""
PAUSE_SECONDS: Final = 0.25
"""After a failure, how long the ledger is left alone: calls are answered at once meanwhile."""
MOST_UNSETTLED: Final = 10_000
"""Settlements that are kept; those beyond are left to the recovery, which reads the traces."""
MOST_WAITING: Final = 10_000
"""Admissions that wait; those beyond are answered as if the ledger could not be reached."""
BATCH: Final = 256
FAULTS: Final = (Exception,)
"""What a ledger may raise, whatever it promises."""

type OnEvent = Callable[[str], None]
"""Told in the event loop of what is to be counted."""


class NotAsked(LedgerUnavailable):
    """The ledger was not even asked: it could not be reached a moment ago, or too many wait."""


class Replay(Protocol):
    """Remembers, beyond this process, what was admitted while no ledger could be reached."""

    def admitted(self, admission: Admission) -> bool:
        """Note a call that went on unbooked. False if it cannot be noted."""
        ...

    def settled(self, settlement: Settlement) -> None:
        """Note what such a call came to."""
        ...

    def booked(self, id: str) -> None:
        """Forget a call: the ledger has it."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


@dataclass(slots=True)
class _Asked:
    """An admission, and where its answer is waited for."""

    admission: Admission
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Admitted | Denied]"


@dataclass(slots=True)
class _Later:
    """A settlement; with ``admission`` it is of a call that the ledger has yet to hear of."""

    settlement: Settlement
    admission: Admission | None = None


@dataclass(slots=True)
class DeskStatus:
    """How the desk fares."""

    unsettled: int = 0
    lost: int = 0
    """Settlements that were too many to be kept; the recovery finds them by their traces."""
    failures: int = 0
    """Calls on the ledger that failed."""


@dataclass(slots=True)
class _Queues:
    asked: deque[_Asked] = field(default_factory=deque)
    later: deque[_Later] = field(default_factory=deque)
    open: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Calls that hold a reservation: id → tenant, and when its lease was extended last."""


class LedgerDesk:
    """One thread between a worker's event loop and the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        lease_seconds: float = 900.0,
        replay: Replay | None = None,
        on_event: OnEvent = lambda _name: None,
        clock: Callable[[], float] = time.monotonic,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        most_unsettled: int = MOST_UNSETTLED,
    ) -> None:
        self.status = DeskStatus()
        self.lease_seconds = lease_seconds
        self._ledger = ledger
        self._replay = replay
        self._on_event = on_event
        self._clock = clock
        self._heartbeat = heartbeat_seconds
        self._patience = patience_seconds
        self._pause = pause_seconds
        self._most_unsettled = most_unsettled
        self._queues = _Queues()
        self._wake = threading.Condition()
        self._resting_until = float("-inf")
        self._next_beat = clock() + heartbeat_seconds
        self._closing: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # --- in the event loop ------------------------------------------------------------------

    async def admit(self, admission: Admission) -> Admitted | Denied:
        """Ask the ledger for room. What was settled before is in the ledger by then.

        Raises:
            LedgerUnavailable: It cannot be reached, or not in time. Whoever gives the call up
                then settles it with ``release``, unless it was ``NotAsked``.
            BadAmount: The admission asks for what no ledger counts.
        """
        loop = self._started()
        if self._clock() < self._resting_until or len(self._queues.asked) >= MOST_WAITING:
            raise NotAsked("the ledger could not be reached a moment ago")
        asked = _Asked(admission, loop, loop.create_future())
        with self._wake:
            self._queues.asked.append(asked)
            self._wake.notify()
        try:
            return await asyncio.wait_for(asked.answer, self._patience)
        except TimeoutError:
            self._rest()
            raise LedgerUnavailable(
                f"the ledger did not answer within {self._patience:g} s"
            ) from None
        except asyncio.CancelledError:  # nobody waits for it any more, reserved or not
            self.settle(Settlement(id=admission.id, tenant=admission.tenant, kind="release"))
            raise

    def settle(self, settlement: Settlement) -> None:
        """Have a reservation settled, soon and once."""
        self._later(_Later(settlement))

    def admit_unbooked(self, admission: Admission) -> bool:
        """Note a call that goes on although the ledger cannot be reached. False if it must not."""
        self._started()
        if len(self._queues.later) >= self._most_unsettled:
            return False
        return self._replay is None or self._replay.admitted(admission)

    def book(self, admission: Admission, settlement: Settlement) -> None:
        """Have a call booked that went on without the ledger, whatever the limits say."""
        if self._replay is not None:
            self._replay.settled(settlement)
        self._later(_Later(settlement, unlimited(admission)))

    def now(self) -> datetime:
        """Return the ledger's time."""
        return self._ledger.now()

    async def close(self, seconds: float = 5.0) -> bool:
        """Settle what is left, for so long at most; return whether all of it was."""
        thread = self._thread
        with self._wake:
            self._closing = self._clock() + seconds
            self._wake.notify()
        if thread is not None:
            await asyncio.to_thread(thread.join, seconds + 5.0)
        if self._replay is not None:
            self._replay.close()
        self._ledger.close()
        return not self._queues.later

    def _later(self, later: _Later) -> None:
        self._started()
        with self._wake:
            self._queues.open.pop(later.settlement.id, None)
            if len(self._queues.later) >= self._most_unsettled:
                self.status.lost += 1
                self._on_event("settlements_lost")
                return
            self._queues.later.append(later)
            self._wake.notify()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            self._thread.start()
        if self._loop is None:
            raise RuntimeError("the desk has no event loop")
        return self._loop

    @staticmethod
    def _answered(asked: _Asked, outcome: Admitted | Denied | BaseException) -> None:
        if asked.answer.done():
            return  # it was given up, and whoever did so has seen to it
        if isinstance(outcome, BaseException):
            asked.answer.set_exception(outcome)
        else:
            asked.answer.set_result(outcome)

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._has_work():
                    if self._closing is not None and self._is_done():
                        return
                    self._wake.wait(self._until_next())
                asked = list(self._queues.asked)
                self._queues.asked.clear()
            self._work(asked)

    def _has_work(self) -> bool:
        queues = self._queues
        resting = self._clock() < self._resting_until
        return bool(queues.asked) or (bool(queues.later) and not resting) or self._beat_is_due()

    def _is_done(self) -> bool:
        late = self._closing is not None and self._clock() >= self._closing
        return late or not self._queues.later

    def _until_next(self) -> float:
        now = self._clock()
        ends = [self._next_beat - now]
        if self._queues.later:
            ends.append(self._resting_until - now)
        if self._closing is not None:
            ends.append(min(self._closing - now, 0.05))
        return max(0.001, min(ends))

    def _beat_is_due(self) -> bool:
        return self._clock() >= self._next_beat

    def _work(self, asked: Sequence[_Asked]) -> None:
        self._settle_all()
        for number, each in enumerate(asked):
            self._admit(each)
            if number % 8 == 7:
                self._settle_all()
        if self._beat_is_due():
            self._next_beat = self._clock() + self._heartbeat
            self._extend()

    def _settle_all(self) -> None:
        """Settle what waits; what fails stays, first in its line."""
        later = self._queues.later
        while later and self._clock() >= self._resting_until:
            batch = list(itertools.islice(later, BATCH))
            try:
                self._book(batch)
            except LedgerUnavailable as error:
                self._failed(error)
                return
            except FAULTS as error:  # one bad settlement must not hold up the others
                self._isolate(batch, error)
            for each in batch:
                later.popleft()
                if each.admission is not None and self._replay is not None:
                    self._replay.booked(each.settlement.id)
        self.status.unsettled = len(later)

    def _book(self, batch: Sequence[_Later]) -> None:
        for each in batch:
            if each.admission is not None:
                self._ledger.admit(each.admission)
        self._ledger.settle([each.settlement for each in batch])

    def _lost(self, each: _Later, error: Exception) -> None:
        self.status.lost += 1
        self._tell("settle_failed")
        logger.error("call %s: not settled: %s", each.settlement.id, type(error).__name__)

    def _isolate(self, batch: Sequence[_Later], error: Exception) -> None:
        """Settle one by one; what cannot be settled is left to the recovery."""
        for each in batch:
            try:
                self._book([each])
            except LedgerUnavailable:
                self._lost(each, error)
            except FAULTS as one:  # as above
                self._lost(each, one)

    def _admit(self, asked: _Asked) -> None:
        outcome: Admitted | Denied | BaseException
        if asked.answer.cancelled():
            return
        if self._clock() < self._resting_until:
            outcome = NotAsked("the ledger could not be reached a moment ago")
        else:
            outcome = self._asked(asked.admission)
        if isinstance(outcome, Admitted):
            with self._wake:
                self._queues.open[asked.admission.id] = (asked.admission.tenant, self._clock())
        self._call_in_loop(lambda: self._answered(asked, outcome))

    def _asked(self, admission: Admission) -> Admitted | Denied | BaseException:
        try:
            return self._ledger.admit(admission)
        except LedgerUnavailable as error:
            self._failed(error)
            return error
        except BadAmount as error:
            return error
        except FAULTS as error:
            logger.error("the ledger failed inside: %s", type(error).__name__)
            self._tell("ledger_failed")
            return LedgerUnavailable(f"the ledger failed inside: {type(error).__name__}")

    def _extend(self) -> None:
        """Extend the leases of calls that have been open for a while."""
        before = self._clock() - self._heartbeat
        with self._wake:
            due = [(tenant, id) for id, (tenant, at) in self._queues.open.items() if at <= before]
        for start in range(0, len(due), BATCH):
            try:
                self._ledger.extend(due[start : start + BATCH], lease_seconds=self.lease_seconds)
            except LedgerUnavailable as error:
                self._failed(error)
                return

    def _failed(self, error: LedgerUnavailable) -> None:
        self.status.failures += 1
        self.status.unsettled = len(self._queues.later)
        if self._clock() >= self._resting_until + self._pause:
            logger.warning("budgets: %s; trying again", error)
        self._rest()
        self._tell("ledger_unavailable")

    def _rest(self) -> None:
        self._resting_until = self._clock() + self._pause

    def _tell(self, event: str) -> None:
        self._call_in_loop(lambda: self._on_event(event))

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop has ended meanwhile
            logger.debug("the event loop has ended")


def unlimited(admission: Admission) -> Admission:
    """Return an admission that no limit denies: of a call that has gone on already."""
    nodes = tuple(replace(node, limit=None) for node in admission.nodes)
    return replace(admission, nodes=nodes, paces=())
