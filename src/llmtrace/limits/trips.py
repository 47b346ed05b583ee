"""One trip to a ledger with what waits at a desk, and what becomes of it if the ledger fails."""

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Final

from llmtrace.limits.waiting import Later, Outcome
from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    BadAmount,
    Denied,
    Ledger,
    LedgerUnavailable,
)

logger = logging.getLogger(__name__)

FAULTS: Final = (Exception,)
"""What a ledger may raise, whatever it promises."""


def exchange(
    ledger: Ledger, later: Sequence[Later], asked: Sequence[Admission]
) -> Sequence[Admitted | Denied]:
    """Settle, then admit; calls that the ledger has yet to hear of are made known before."""
    for each in later:
        if each.admission is not None:
            ledger.admit(each.admission)
    return ledger.exchange([each.settlement for each in later], asked)


def extend(
    ledger: Ledger, calls: Sequence[tuple[str, str]], most: int, *, lease_seconds: float
) -> None:
    """Extend the leases of calls, tenant and id, so many at a time. Raises: LedgerUnavailable."""
    for group in itertools.batched(calls, most):
        ledger.extend(group, lease_seconds=lease_seconds)


def settle_each(ledger: Ledger, later: Sequence[Later]) -> int:
    """Settle one by one; return how many cannot be settled, and are left to the recovery."""
    lost = 0
    for each in later:
        try:
            exchange(ledger, [each], ())
        except FAULTS as error:
            lost += 1
            logger.error("call %s: not settled: %s", each.settlement.id, type(error).__name__)
    return lost


def admit_alone(ledger: Ledger, asked: Admission, count: Callable[[str], None]) -> Outcome:
    """Have one call admitted; a fault inside the ledger counts as one that cannot be reached."""
    try:
        return exchange(ledger, (), [asked])[0]
    except (LedgerUnavailable, BadAmount) as error:
        return error
    except FAULTS as error:
        logger.error("the ledger failed inside: %s", type(error).__name__)
        count("ledger_failed")
        return LedgerUnavailable(f"the ledger failed inside: {type(error).__name__}")
