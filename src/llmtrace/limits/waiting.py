"""What waits at a ledger's desk."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    Denied,
    Ledger,
    LedgerUnavailable,
    Settlement,
)

MOST_UNSETTLED: Final = 10_000
"""Settlements that are kept; those beyond are left to the recovery, which reads the traces."""
MOST_WAITING: Final = 10_000
"""Admissions that wait; those beyond are answered as if the ledger could not be reached."""
MOST_ERRANDS: Final = 1_000
AT_ONCE: Final = 64
"""Calls that are admitted, or settled in the event loop, in one trip: it takes about 2 ms."""
RESTING: Final = "the ledger could not be reached a moment ago"

type Outcome = Admitted | Denied | Exception
type Answer = asyncio.Future[Admitted | Denied | None]
"""None is for a call that asks for nothing."""


class NotAsked(LedgerUnavailable):
    """The ledger was not even asked: it could not be reached a moment ago, or too many wait."""


@dataclass(slots=True)
class Asked:
    """An admission, and where its answer is waited for."""

    admission: Admission
    answer: Answer


@dataclass(slots=True)
class Fresh:
    """A call that has just come: what says its admission, and where the answer is waited for."""

    prepare: Callable[[], Admission | None]
    answer: Answer
    asked: Asked | None = None


@dataclass(slots=True)
class Later:
    """A settlement; with ``admission`` it is of a call that the ledger has yet to hear of."""

    settlement: Settlement
    admission: Admission | None = None


@dataclass(slots=True)
class Errand:
    """Something to be done with the ledger, and who is told in the event loop what came of it."""

    run: Callable[[Ledger], Any]
    told: Callable[[Any], None] | None = None


@dataclass(slots=True)
class DeskStatus:
    """How the desk fares."""

    unsettled: int = 0
    lost: int = 0
    """Settlements that were too many to be kept; the recovery finds them by their traces."""
    failures: int = 0
    """Calls on the ledger that failed."""


@dataclass(slots=True)
class Queues:
    """All that waits, oldest first."""

    asked: deque[Asked] = field(default_factory=deque)
    later: deque[Later] = field(default_factory=deque)
    errands: deque[Errand] = field(default_factory=deque)
    open: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Calls that hold a reservation: id → tenant, and when they were admitted."""

    @property
    def has_left(self) -> bool:
        """Whether settlements or errands wait."""
        return bool(self.later or self.errands)

    def may_go_at_once(self, most: int) -> bool:
        """Whether all that waits are so few settlements at most, of calls that the ledger knows."""
        if self.asked or len(self.later) > most:
            return False
        return all(each.admission is None for each in self.later)

    def opened(self, asked: Sequence[Admission], outcomes: Sequence[object], now: float) -> None:
        """Note the calls that were admitted."""
        for admission, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Admitted):
                self.open[admission.id] = (admission.tenant, now)

    def open_since(self, before: float) -> Sequence[tuple[str, str]]:
        """Return the calls, tenant and id, that have been open since then."""
        return [(tenant, id) for id, (tenant, at) in self.open.items() if at <= before]


def prepared(calls: Sequence[Fresh]) -> list[Asked]:
    """Return what calls ask for; those that ask for nothing, or fail to say it, are answered."""
    group = []
    for each in calls:
        if each.answer.done():
            continue
        if each.asked is not None:
            group.append(each.asked)
            continue
        try:
            admission = each.prepare()
        except Exception as error:  # noqa: BLE001  # it is raised where the answer is waited for
            each.answer.set_exception(error)
            continue
        if admission is None:
            each.answer.set_result(None)
        else:
            each.asked = Asked(admission, each.answer)
            group.append(each.asked)
    return group


def answer(group: Sequence[Asked], outcomes: Sequence[Outcome]) -> None:
    """Tell those who wait, in their event loop, what came of it."""
    for asked, outcome in zip(group, outcomes, strict=True):
        if asked.answer.done():
            continue  # it was given up, and whoever did so has seen to it
        if isinstance(outcome, Exception):
            asked.answer.set_exception(outcome)
        else:
            asked.answer.set_result(outcome)


def unlimited(admission: Admission) -> Admission:
    """Return an admission that no limit denies: of a call that has gone on already."""
    nodes = tuple(replace(node, limit=None) for node in admission.nodes)
    return replace(admission, nodes=nodes, paces=())
