"""Where a worker's event loop brings what a ledger is to do: one thread, one trip for each call.

Admissions are awaited. Settlements are not: they wait in a queue, go out in batches, and always
before the next admission of this worker. What the ledger does not take is kept and tried again.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from llmtrace.limits.replay import Replay
from llmtrace.limits.waiting import Asked, DeskStatus, Errand, Later, NotAsked, Queues, unlimited
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
AT_ONCE: Final = 16
"""Calls that are admitted in one trip."""
LINGER_SECONDS: Final = 0.01
"""How long settlements wait for a call that is to be admitted, and go with it."""
BUSY_SECONDS: Final = 1.0
"""For how long after the last call the desk looks again by itself."""
FAULTS: Final = (Exception,)
"""What a ledger may raise, whatever it promises."""

MOST_ERRANDS: Final = 1_000

type Outcome = Admitted | Denied | Exception
type OnEvent = Callable[[str, str], None]
"""Told in the event loop of what is to be counted: a name and a label."""


class LedgerDesk:
    """One thread between a worker's event loop and the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        lease_seconds: float = 900.0,
        replay: Replay | None = None,
        on_event: OnEvent = lambda _name, _label: None,
        on_beat: Callable[[], object] = lambda: None,
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
        self._on_beat = on_beat
        self._clock = clock
        self._heartbeat = heartbeat_seconds
        self._patience = patience_seconds
        self._pause = pause_seconds
        self._most_unsettled = most_unsettled
        self._queues = Queues()
        self._wake = threading.Condition()
        self._resting_until = float("-inf")
        self._next_beat = clock() + heartbeat_seconds
        self._closing: float | None = None
        self._worked_at = float("-inf")
        self._sleeps = False
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
        asked = Asked(admission, loop, loop.create_future())
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
        self._later(Later(settlement))

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
        self._later(Later(settlement, unlimited(admission)))

    def soon[T](
        self, errand: Callable[[Ledger], T], told: Callable[[T], None] = lambda _: None
    ) -> None:
        """Have something done with the ledger, beside the event loop, after all that waits.

        ``told`` is called in the event loop with what came of it. It may fail, and is not
        repeated. Errands beyond ``MOST_ERRANDS`` are not done.
        """
        self._started()
        with self._wake:
            if len(self._queues.errands) >= MOST_ERRANDS:
                self.count("ledger_errands_dropped")
                return
            self._queues.errands.append(Errand(errand, told))
            self._wake.notify()

    def count(self, name: str, label: str = "") -> None:
        """Have something counted in the event loop. May be called in any thread."""
        self._call_in_loop(lambda: self._on_event(name, label))

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

    def _later(self, later: Later) -> None:
        self._started()
        with self._wake:
            self._queues.open.pop(later.settlement.id, None)
            if len(self._queues.later) >= self._most_unsettled:
                self.status.lost += 1
                self.count("settlements_lost")
                return
            self._queues.later.append(later)
            if self._sleeps:
                self._wake.notify()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            self._thread.start()
        if self._loop is None:
            raise RuntimeError("the desk has no event loop")
        return self._loop

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._has_work():
                    if self._closing is not None and self._is_done():
                        return
                    self._wait()
                asked = [each for each in self._queues.asked if not each.answer.cancelled()]
                self._queues.asked.clear()
            self._work(asked)
            self._worked_at = self._clock()

    def _wait(self) -> None:
        """Wait for calls, or until something is due. Where much goes on, for a moment only."""
        self._sleeps = self._clock() - self._worked_at > BUSY_SECONDS
        most = max(self._next_beat - self._clock(), 0.001) if self._sleeps else LINGER_SECONDS
        self._wake.wait(min(most, LINGER_SECONDS) if self._has_backlog() else most)
        self._sleeps = False

    def _has_backlog(self) -> bool:
        return bool(self._queues.later or self._queues.errands or self._closing is not None)

    def _has_work(self) -> bool:
        now, queues = self._clock(), self._queues
        if queues.asked or now >= self._next_beat:
            return True
        due = self._closing is not None or now - self._worked_at >= LINGER_SECONDS
        return bool(queues.later or queues.errands) and due and now >= self._resting_until

    def _is_done(self) -> bool:
        late = self._closing is not None and self._clock() >= self._closing
        return late or not (self._queues.later or self._queues.errands)

    def _work(self, asked: Sequence[Asked]) -> None:
        for group in itertools.batched(asked, AT_ONCE):
            self._trip(group)
        while self._queues.later and not self._is_resting():
            self._trip(())
        if self._clock() >= self._next_beat:
            self._next_beat = self._clock() + self._heartbeat
            self._extend()
            self._on_beat()
        self._run_errands()

    def _is_resting(self) -> bool:
        return self._clock() < self._resting_until

    def _run_errands(self) -> None:
        errands = self._queues.errands
        while errands and not self._queues.asked and self._clock() >= self._resting_until:
            errand = errands.popleft()
            try:
                self._done(errand, errand.run(self._ledger))
            except LedgerUnavailable as error:
                self._failed(error)
            except FAULTS as error:  # whatever it does, calls are to be admitted
                logger.error("an errand to the ledger failed: %s", type(error).__name__)

    def _done(self, errand: Errand, result: object) -> None:
        self._call_in_loop(lambda: errand.told(result))

    def _trip(self, asked: Sequence[Asked]) -> None:
        """Settle what waits, then admit; what cannot be settled stays, first in its line."""
        batch = [] if self._is_resting() else list(itertools.islice(self._queues.later, BATCH))
        outcomes: Sequence[Outcome]
        try:
            outcomes = self._exchange(batch, asked)
        except LedgerUnavailable as error:
            self._failed(error)
            outcomes = [error] * len(asked)
        except FAULTS as error:  # one that is bad must not hold up the others
            self._isolate(batch, error)
            self._settled(batch)
            outcomes = [self._admit(each) for each in asked]
        else:
            self._settled(batch)
        self._tell(asked, outcomes)

    def _exchange(self, batch: Sequence[Later], asked: Sequence[Asked]) -> Sequence[Outcome]:
        if self._is_resting():
            return [NotAsked("the ledger could not be reached a moment ago")] * len(asked)
        for each in batch:
            if each.admission is not None:
                self._ledger.admit(each.admission)
        return self._ledger.exchange(
            [each.settlement for each in batch], [each.admission for each in asked]
        )

    def _settled(self, batch: Sequence[Later]) -> None:
        for each in batch:
            self._queues.later.popleft()
            if each.admission is not None and self._replay is not None:
                self._replay.booked(each.settlement.id)
        self.status.unsettled = len(self._queues.later)

    def _isolate(self, batch: Sequence[Later], error: Exception) -> None:
        """Settle one by one; what cannot be settled is left to the recovery."""
        for each in batch:
            fault = error
            try:
                self._exchange([each], ())
                continue
            except FAULTS as one:
                fault = one
            self.status.lost += 1
            self.count("settle_failed")
            logger.error("call %s: not settled: %s", each.settlement.id, type(fault).__name__)

    def _admit(self, asked: Asked) -> Outcome:
        try:
            return self._exchange((), [asked])[0]
        except (LedgerUnavailable, BadAmount) as error:
            return error
        except FAULTS as error:
            logger.error("the ledger failed inside: %s", type(error).__name__)
            self.count("ledger_failed")
            return LedgerUnavailable(f"the ledger failed inside: {type(error).__name__}")

    def _tell(self, asked: Sequence[Asked], outcomes: Sequence[Outcome]) -> None:
        if not asked:
            return
        answered = list(zip(asked, outcomes, strict=True))
        now = self._clock()
        with self._wake:
            for each, outcome in answered:
                if isinstance(outcome, Admitted):
                    self._queues.open[each.admission.id] = (each.admission.tenant, now)
        self._call_in_loop(lambda: _answer(answered))

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
        self.count("ledger_unavailable")

    def _rest(self) -> None:
        self._resting_until = self._clock() + self._pause

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop has ended meanwhile
            logger.debug("the event loop has ended")


def _answer(answered: Sequence[tuple[Asked, Outcome]]) -> None:
    for asked, outcome in answered:
        if asked.answer.done():
            continue  # it was given up, and whoever did so has seen to it
        if isinstance(outcome, BaseException):
            asked.answer.set_exception(outcome)
        else:
            asked.answer.set_result(outcome)
