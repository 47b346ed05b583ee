"""Where a worker's event loop brings what a ledger is to do: one trip for each call.

Where the ledger can do it at once, the trip is made in the loop itself: a thread would have to be
woken, and would compete with the loop for the interpreter at each step. Where somebody has to be
waited for, one thread makes it, for all calls that wait by then.

Admissions are awaited. Settlements are not: they wait in a queue, go out in batches, and always
before the next admission of this worker. What the ledger does not take is kept and tried again.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

from llmtrace.limits.gathering import Gathering
from llmtrace.limits.replay import Replay
from llmtrace.limits.trips import FAULTS, admit_alone, exchange, extend, settle_each
from llmtrace.limits.waiting import (
    AT_ONCE,
    MOST_ERRANDS,
    MOST_UNSETTLED,
    MOST_WAITING,
    RESTING,
    Asked,
    DeskStatus,
    Errand,
    Fresh,
    Later,
    NotAsked,
    Outcome,
    Queues,
    answer,
    prepared,
    unlimited,
)
from llmtrace.storage.ledger import (
    Admission,
    Admitted,
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
BATCH: Final = 256
LINGER_SECONDS: Final = 0.03
"""How long settlements wait for a call that is to be admitted, and go with it."""

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
        self._is_out = False  # the thread is on a trip: it has taken what waited
        self._is_due = False  # it is to do what waits, admissions or not
        self._gathering = Gathering(self._ask)
        self._lingers = False  # the loop will look after what waits in a moment
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # --- in the event loop ------------------------------------------------------------------

    async def admit(self, prepare: Callable[[], Admission | None]) -> Admitted | Denied | None:
        """Ask the ledger for room. What was settled before is in the ledger by then.

        ``prepare`` says what is asked for, None for nothing: so is the answer then. Calls that
        come together are prepared together: code that has just run is in the processor's cache.

        Raises:
            LedgerUnavailable: It cannot be reached in time. Who gives the call up then settles
                it with ``release``, unless it was ``NotAsked``.
            BadAmount: It asks for what no ledger counts.
        """
        loop = self._started()
        if self._is_resting() or len(self._queues.asked) + len(self._gathering) >= MOST_WAITING:
            raise NotAsked(RESTING)
        fresh = Fresh(prepare, loop.create_future())
        if self._gathering.is_alone and not self._queues.open:  # nobody who could come along
            group = prepared([fresh])
            if group and (answers := self._at_once([group[0].admission])):
                return answers[0]
        self._gathering.join(fresh, loop)
        try:
            return await fresh.answer
        except asyncio.CancelledError:  # nobody waits for it any more, reserved or not
            if fresh.asked:
                one = fresh.asked.admission
                self.settle(Settlement(id=one.id, tenant=one.tenant, kind="release"))
            raise

    def settle(self, settlement: Settlement) -> None:
        """Have a reservation settled, soon and once."""
        self._later(Later(settlement))

    def admit_unbooked(self, admission: Admission) -> bool:
        """Note a call that goes on although the ledger cannot be reached. False if it must not."""
        if len(self._queues.later) >= self._most_unsettled:
            return False
        return self._replay is None or self._replay.admitted(admission)

    def book(self, admission: Admission, settlement: Settlement) -> None:
        """Have a call booked that went on without the ledger, whatever the limits say."""
        if self._replay is not None:
            self._replay.settled(settlement)
        self._later(Later(settlement, unlimited(admission)))

    def soon[T](
        self, errand: Callable[[Ledger], T], told: Callable[[T], None] | None = None
    ) -> bool:
        """Have something done with the ledger, beside the event loop, after all that waits.

        ``told`` is called in the event loop with what came of it. It may fail, and is not
        repeated. Errands beyond ``MOST_ERRANDS`` are not done: False then.
        """
        with self._wake:
            if len(self._queues.errands) >= MOST_ERRANDS:
                self.count("ledger_errands_dropped")
                return False
            self._queues.errands.append(Errand(errand, told))
        self._linger()
        return True

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
        with self._wake:
            self._queues.open.pop(later.settlement.id, None)
            if len(self._queues.later) >= self._most_unsettled:
                self._lost(1, "settlements_lost")
                return
            self._queues.later.append(later)
        self._linger()

    def _ask(self, taken: Sequence[Fresh]) -> None:
        """Have calls admitted that have come together: in one transaction."""
        group = prepared(taken)
        outcomes: Sequence[Outcome]
        try:
            outcomes = self._at_once([each.admission for each in group])
        except LedgerUnavailable as error:
            outcomes = [error] * len(group)
        if outcomes or not group:
            answer(group, outcomes)
            return
        with self._wake:
            self._queues.asked.extend(group)
            self._wake.notify()
        self._started().call_later(self._patience, self._give_up, group)

    def _give_up(self, group: Sequence[Asked]) -> None:
        """Wait no longer for the answers that are not there yet."""
        late = [each for each in group if not each.answer.done()]
        if late:
            self._resting_until = self._clock() + self._pause
            reason = f"the ledger did not answer within {self._patience:g} s"
            answer(late, [LedgerUnavailable(reason)] * len(late))

    def _linger(self) -> None:
        if not self._lingers:
            self._lingers = True
            self._started().call_later(LINGER_SECONDS, self._look_after)

    def _look_after(self) -> None:
        """Do what waits and no call has taken along, or leave it to the thread."""
        self._lingers = False
        if self._closing is not None:
            return
        if self._is_resting():
            self._linger()
            return
        with suppress(LedgerUnavailable):  # it is kept, and counted
            self._at_once(())
        with self._wake:
            if self._queues.has_left:
                self._is_due = True
                self._wake.notify()

    def _at_once(self, admissions: Sequence[Admission]) -> Sequence[Admitted | Denied]:
        """Settle what waits, then admit, if nobody has to be waited for; else return nothing."""
        with self._wake:  # the thread stays where it is meanwhile
            later = self._queues.later
            nothing = not later and not admissions
            if nothing or self._is_out or not self._queues.may_go_at_once(AT_ONCE):
                return ()
            try:
                answers = self._ledger.exchange_now([one.settlement for one in later], admissions)
            except LedgerUnavailable as error:
                self._failed(error)
                raise
            except FAULTS:  # the thread finds out which one it is
                return ()
            if answers is None:
                return ()
            later.clear()
            self.status.unsettled = 0
            self._queues.opened(admissions, answers, self._clock())
            return answers

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
        queues = self._queues
        while True:
            with self._wake:
                while not self._has_work():
                    ends = self._closing
                    if ends is not None and (not queues.has_left or self._clock() >= ends):
                        return
                    self._wake.wait(self._longest_wait())
                asked = [each for each in queues.asked if not each.answer.done()]
                queues.asked.clear()
                self._is_out = True
            self._work(asked)

    def _longest_wait(self) -> float:
        """Return for how many seconds there is nothing to do unless somebody says so."""
        if self._closing is not None:
            return LINGER_SECONDS
        until = min(self._next_beat, self._resting_until) if self._is_due else self._next_beat
        return max(until - self._clock(), 0.001)

    def _has_work(self) -> bool:
        now, queues = self._clock(), self._queues
        if queues.asked or now >= self._next_beat:
            return True
        is_due = self._is_due or self._closing is not None
        return queues.has_left and is_due and now >= self._resting_until

    def _work(self, asked: Sequence[Asked]) -> None:
        for group in itertools.batched(asked, AT_ONCE):
            self._trip(group)
        while self._queues.later and not self._is_resting():
            self._trip(())
        self._is_out = False
        if self._clock() >= self._next_beat:
            self._next_beat = self._clock() + self._heartbeat
            self._extend()
            self._on_beat()
        self._run_errands()
        with self._wake:
            self._is_due = self._queues.has_left

    def _is_resting(self) -> bool:
        return self._clock() < self._resting_until

    def _run_errands(self) -> None:
        errands = self._queues.errands
        while errands and not self._queues.asked and not self._is_resting():
            errand = errands.popleft()
            try:
                made = errand.run(self._ledger)
                if errand.told:
                    self._call_in_loop(partial(errand.told, made))
            except LedgerUnavailable as error:
                self._failed(error)
            except FAULTS as error:  # calls are to be admitted all the same
                logger.error("an errand to the ledger failed: %s", type(error).__name__)

    def _trip(self, asked: Sequence[Asked]) -> None:
        """Settle what waits, then admit; what cannot be settled stays, first in its line."""
        if self._is_resting():
            self._tell(asked, [NotAsked(RESTING)] * len(asked))
            return
        batch = list(itertools.islice(self._queues.later, BATCH))
        outcomes: Sequence[Outcome]
        try:
            outcomes = exchange(self._ledger, batch, [each.admission for each in asked])
        except LedgerUnavailable as error:
            self._failed(error)
            outcomes = [error] * len(asked)
        except FAULTS:  # one that is bad must not hold up the others
            self._lost(settle_each(self._ledger, batch), "settle_failed")
            self._settled(batch)
            outcomes = [admit_alone(self._ledger, each.admission, self.count) for each in asked]
        else:
            self._settled(batch)
        self._tell(asked, outcomes)

    def _settled(self, batch: Sequence[Later]) -> None:
        for each in batch:
            self._queues.later.popleft()
            if each.admission is not None and self._replay is not None:
                self._replay.booked(each.settlement.id)
        self.status.unsettled = len(self._queues.later)

    def _lost(self, settlements: int, event: str) -> None:
        self.status.lost += settlements
        for _ in range(settlements):
            self.count(event)

    def _tell(self, asked: Sequence[Asked], outcomes: Sequence[Outcome]) -> None:
        if not asked:
            return
        with self._wake:
            admissions = [each.admission for each in asked]
            self._queues.opened(admissions, outcomes, self._clock())
        self._call_in_loop(lambda: answer(asked, outcomes))

    def _extend(self) -> None:
        """Extend the leases of calls that have been open for a while."""
        with self._wake:
            due = self._queues.open_since(self._clock() - self._heartbeat)
        try:
            extend(self._ledger, due, BATCH, lease_seconds=self.lease_seconds)
        except LedgerUnavailable as error:
            self._failed(error)

    def _failed(self, error: LedgerUnavailable) -> None:
        self.status.failures += 1
        self.status.unsettled = len(self._queues.later)
        if self._clock() >= self._resting_until + self._pause:
            logger.warning("budgets: %s; trying again", error)
        self._resting_until = self._clock() + self._pause
        self.count("ledger_unavailable")

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(call)
