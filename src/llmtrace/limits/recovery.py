"""Settles what nobody settles any more: by the traces, which outlive the workers.

A reservation has the id of its call's trace. Where that trace is final, it tells what the call
came to, whoever made the reservation. Where the worker is gone and there is no trace, nothing
was sent. And where nobody can tell and the lease is over, the reservation is charged (strict
budgets) or given back, until somebody tells after all.

All of it may be done twice, or by two at once: a ledger settles once.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from llmtrace.domain.traces import Outcome, Record, Trace
from llmtrace.limits.charging import CHARGED, charge_of
from llmtrace.limits.replay import SUFFIX, abandoned
from llmtrace.storage.base import TraceNotFound, TraceRepository
from llmtrace.storage.ledger import Ledger, LedgerUnavailable, Open, Settlement, SettlementKind

logger = logging.getLogger(__name__)

YOUNG: Final = timedelta(seconds=5)
"""Reservations younger than this are left alone: their worker is at work on them."""
BATCH: Final = 256

type IsGone = Callable[[str], bool]
"""Whether a worker is gone for sure, and all that it had recorded is in the store."""


@dataclass(slots=True)
class RecoveryStatus:
    """What was recovered."""

    settled: int = 0
    released: int = 0
    expired: int = 0
    replayed: int = 0
    failures: int = 0


class Recovery:
    """Goes over what is open, and settles what can be told."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        is_gone: IsGone,
        unbooked: Path | None = None,
        lease_seconds: float = 900.0,
        young: timedelta = YOUNG,
    ) -> None:
        """``unbooked`` is the folder in which workers note what no ledger knows yet."""
        self.status = RecoveryStatus()
        self._ledger = ledger
        self._is_gone = is_gone
        self._unbooked = unbooked
        self._lease = timedelta(seconds=lease_seconds)
        self._young = young

    def run(self, traces: TraceRepository) -> int:
        """Settle what can be settled now; return how many reservations that were.

        A ledger that cannot be reached is counted: the next run finds the same.

        Raises:
            StorageError: The store of the traces cannot be read.
        """
        try:
            self._replay()
            found = [s for s in (self._settlement(one, traces) for one in self._old()) if s]
            for start in range(0, len(found), BATCH):
                self._ledger.settle(found[start : start + BATCH])
        except LedgerUnavailable as error:
            self.status.failures += 1
            logger.warning("budgets: %s; trying again", error)
            return 0
        return len(found)

    def _old(self) -> Sequence[Open]:
        before = self._ledger.now() + self._lease - self._young
        return [one for one in self._ledger.open() if one.lease_ends <= before]

    def _settlement(self, one: Open, traces: TraceRepository) -> Settlement | None:
        try:
            trace = traces.get(one.id)
        except TraceNotFound:
            return self._without_trace(one, self._ledger.now())
        charge = charge_of(trace, one.amounts, strict=one.strict)
        if charge is None:
            return self._without_end(one, self._ledger.now())
        if trace.outcome is Outcome.INTERRUPTED and charge.usd:
            _note(trace, charge.usd, traces)
        self.status.settled += 1
        return charge.settlement(one.id, one.tenant)

    def _without_trace(self, one: Open, now: datetime) -> Settlement | None:
        """A call that was never sent leaves no trace, unless its worker is at it right now."""
        if self._is_gone(one.owner):
            self.status.released += 1
            return Settlement(id=one.id, tenant=one.tenant, kind="release")
        return self._without_end(one, now)

    def _without_end(self, one: Open, now: datetime) -> Settlement | None:
        if one.lease_ends > now:
            return None
        self.status.expired += 1
        kind: SettlementKind = "expire_charge" if one.strict else "expire_release"
        return Settlement(id=one.id, tenant=one.tenant, kind=kind)

    def _replay(self) -> None:
        """Book what dead workers let through while the ledger could not be reached."""
        if self._unbooked is None:
            return
        for path in sorted(self._unbooked.glob(f"*{SUFFIX}")):
            try:
                with abandoned(path) as found:
                    if found is None:
                        continue
                    admissions, settlements = found
                    for admission in admissions:
                        self._ledger.admit(admission)
                    self._ledger.settle(settlements)
                    self.status.replayed += len(admissions)
            except OSError as error:
                logger.warning("%s: %s; trying again", path, error.strerror)


def _note(trace: Trace, usd: int, traces: TraceRepository) -> None:
    """Let the trace tell what was charged for it, so that the sum over the traces stays true."""
    attributes = {**trace.attributes, CHARGED: str(usd)}
    traces.put([Record(trace=replace(trace, attributes=attributes))])
