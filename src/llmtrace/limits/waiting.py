"""What waits at a ledger's desk."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    Denied,
    Ledger,
    LedgerUnavailable,
    Settlement,
)


class NotAsked(LedgerUnavailable):
    """The ledger was not even asked: it could not be reached a moment ago, or too many wait."""


@dataclass(slots=True)
class Asked:
    """An admission, and where its answer is waited for."""

    admission: Admission
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Admitted | Denied]"


@dataclass(slots=True)
class Later:
    """A settlement; with ``admission`` it is of a call that the ledger has yet to hear of."""

    settlement: Settlement
    admission: Admission | None = None


@dataclass(slots=True)
class Errand:
    """Something to be done with the ledger, and who is told in the event loop what came of it."""

    run: Callable[[Ledger], Any]
    told: Callable[[Any], None]


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
    """Calls that hold a reservation: id → tenant, and when its lease was extended last."""


def unlimited(admission: Admission) -> Admission:
    """Return an admission that no limit denies: of a call that has gone on already."""
    nodes = tuple(replace(node, limit=None) for node in admission.nodes)
    return replace(admission, nodes=nodes, paces=())
