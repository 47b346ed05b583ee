"""What a ledger of budgets and paces promises: money is set aside before a call, settled after.

A call is admitted by one ``admit``, all or nothing over its budgets (``Node``) and rates
(``Pace``), and ended by one ``settle``. Both are idempotent by the id of the call, so whoever
is in doubt calls again. A reservation goes ::

    OPEN -> SETTLED | RELEASED | EXPIRED_CHARGED | EXPIRED_RELEASED
    EXPIRED_* -> SETTLED | RELEASED, once: who was thought dead knows better

and every other ``settle`` changes nothing and answers with the outcome that stands. It is
settled in the periods in which it was reserved, whenever that is.

Amounts are integers of a unit: ``usd`` counts nano-USD (1e-9), ``tokens`` and ``calls`` ones;
below 2**53, which all stores count exactly. A pace is the generic cell rate algorithm
(https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm).

The time is the ledger's, one for all who share it: ``Ledger.now`` is what to choose periods by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

from llmtrace.domain.values import dataclass
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.ledger_checks import LARGEST as LARGEST
from llmtrace.storage.ledger_checks import UNITS as UNITS
from llmtrace.storage.ledger_checks import BadAmount as BadAmount
from llmtrace.storage.ledger_checks import (
    check_amount,
    check_amounts,
    check_call,
    check_key,
    check_moment,
    check_seconds,
    check_unit,
)

MAX_NODES: Final = 32
"""Most budgets, and most paces, of one call."""

GRACE: Final = timedelta(days=40)
"""How long a node is kept after its period."""

KEEP_SETTLED: Final = timedelta(minutes=15)
"""How long a settled or released call is remembered, so that a second time changes nothing."""

KEEP_EXPIRED: Final = timedelta(days=31)
"""How long after its expiry a call may still be settled with what it really used: of a batch that
is told when somebody fetches its results."""

MAX_STEP_BACK: Final = timedelta(minutes=5)
"""A clock that is set back by no more than this stands still instead."""

MAX_LISTED: Final = 10_000
"""Most rows of any list."""

MAX_HOLDS: Final = 10_000

type Unit = Literal["usd", "tokens", "calls"]
type DenialReason = Literal["exhausted", "too_large", "contended", "paced"]
type SettlementKind = Literal["settle", "release", "expire_charge", "expire_release"]


class LedgerUnavailable(StorageUnavailable):
    """The ledger did not answer. The message names it and the way out, never a password.

    What was asked may have been done all the same. The same call again is safe. Who gives up on
    an ``admit`` settles it with ``release`` as soon as the ledger answers: that returns what was
    perhaps reserved, and an ``admit`` still under way then reserves nothing.
    """


class LedgerFull(RuntimeError):
    """``MAX_HOLDS`` keys are held. Release some (``llmtrace agents release NAME``)."""


class State(StrEnum):
    """Where a reservation stands."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED_CHARGED = "expired_charged"
    EXPIRED_RELEASED = "expired_released"
    UNKNOWN = "unknown"
    """There is none with this id, or it is forgotten (``KEEP_SETTLED``)."""


ENDS_AS: Final[Mapping[SettlementKind, State]] = {
    "settle": State.SETTLED,
    "release": State.RELEASED,
    "expire_charge": State.EXPIRED_CHARGED,
    "expire_release": State.EXPIRED_RELEASED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A budget in one period.

    ``key`` is opaque and names the period too; a node is known by tenant and key, so the same
    key under another tenant is another node. ``limit`` None counts without end, 0 denies
    everything. ``ends`` is when the period ends (aware), None for a total: the node is forgotten
    ``GRACE`` after it.
    """

    key: str
    unit: Unit
    limit: int | None
    ends: datetime | None

    def __post_init__(self) -> None:
        check_key(self.key)
        check_unit(self.unit)
        check_moment(self.ends)
        if self.limit is not None:
            check_amount("limit", self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A rate: one unit every ``emission_ns`` nanoseconds, and ``burst`` units at once at most.

    ``calls`` are taken when a call is admitted and stay taken. Of ``tokens`` the upper bound is
    taken then, and the difference to what was used given back (or taken too) when it is
    settled, so that the mean of what is used stays within the rate.
    """

    key: str
    unit: Literal["tokens", "calls"]
    emission_ns: int
    burst: int

    def __post_init__(self) -> None:
        check_key(self.key)
        if self.unit not in ("tokens", "calls"):
            raise ValueError(f"pace {self.key!r}: unit {self.unit!r}, expected tokens or calls")
        if self.emission_ns < 1 or self.burst < 1 or self.emission_ns * self.burst > LARGEST:
            raise ValueError(
                f"pace {self.key!r}: {self.burst} units at {self.emission_ns} ns; both must be "
                "1 or more, and their product at most 104 days"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A call that asks to be let through.

    ``id`` is the trace id. ``tenant`` is what its nodes and paces are kept under, on one machine
    of a Redis Cluster: callers that share a budget need the same one (``""`` will do).
    ``amounts`` are upper bounds and name the unit of each node and pace. The reservation counts
    as abandoned ``lease_seconds`` after it was made or extended; ``strict`` and ``owner``, the
    name of the worker, are for whoever recovers it then.

    Raises:
        BadAmount: An amount is no integer from 0 to 2**53 - 1.
        ValueError: A unit is missing or unknown, or there is more than ``MAX_NODES`` of a kind.
    """

    id: str
    tenant: str
    amounts: Mapping[str, int]
    nodes: tuple[Node, ...] = ()
    paces: tuple[Pace, ...] = ()
    lease_seconds: float = 900.0
    strict: bool = True
    owner: str = ""

    def __post_init__(self) -> None:
        check_call(self.tenant, self.id)
        check_amounts(self.amounts)
        check_seconds(self.lease_seconds)
        for asked in (self.nodes, self.paces):
            if len(asked) > MAX_NODES:
                raise ValueError(
                    f"call {self.id!r}: {len(asked)} nodes or paces, at most {MAX_NODES}"
                )
            if len(asked) > 1 and len({each.key for each in asked}) < len(asked):
                raise ValueError(f"call {self.id!r}: two of its nodes or paces have the same key")
            for each in asked:
                if each.unit not in self.amounts:
                    raise ValueError(f"call {self.id!r}: no amount of {each.unit}")


class Standing(NamedTuple):
    """What is spent (settled) and reserved (open) of a node. ``unit`` is empty where nothing is
    known of it."""

    key: str
    tenant: str = ""
    unit: str = ""
    spent: int = 0
    reserved: int = 0
    limit: int | None = None
    ends: datetime | None = None


class PaceState(NamedTuple):
    """What is left of a pace: units that could go at once, and seconds until all could."""

    key: str
    unit: str
    burst: int
    remaining: int
    reset_seconds: float


class Admitted(NamedTuple):
    """The call may go. ``standings`` and ``paces`` are in the order asked, after the call.

    ``duplicate`` means that the id was known already, and ``state`` where that call stands;
    nothing was reserved anew.
    """

    id: str
    duplicate: bool = False
    state: State = State.OPEN
    standings: tuple[Standing, ...] = ()
    paces: tuple[PaceState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The call may not go, and nothing was reserved. Either ``node`` or ``pace`` says why.

    Of several reasons the one that lasts longest is told: ``exhausted`` (spent >= limit),
    ``too_large`` (more than limit - spent, or than a pace ever lets through at once),
    ``contended`` (it would fit if nothing were reserved), ``paced``. ``spent``, ``reserved``
    and ``requested`` are in the unit of the node; for a pace ``reserved`` is what it holds now.
    ``retry_after`` is in seconds, None where waiting cannot help.
    """

    reason: DenialReason
    requested: int
    node: Node | None = None
    pace: Pace | None = None
    spent: int = 0
    reserved: int = 0
    retry_after: float | None = None
    paces: tuple[PaceState, ...] = ()
    """What is left of the paces, in the order asked: for headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How a reservation ends.

    ``settle`` charges ``amounts``, more than reserved too; a unit it does not name is charged as
    reserved. ``release`` charges nothing. ``expire_charge`` charges what is reserved and
    ``expire_release`` nothing, both only while it is open.
    """

    id: str
    tenant: str
    kind: SettlementKind
    amounts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_call(self.tenant, self.id)
        check_amounts(self.amounts)
        if self.kind not in ENDS_AS:
            raise ValueError(f"call {self.id!r}: no such settlement as {self.kind!r}")


class Settled(NamedTuple):
    """Where the reservation stands now, and what it is charged in all.

    ``first`` is False where an earlier outcome stands and nothing changed.
    """

    id: str
    state: State
    first: bool
    charged: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A reservation that nobody has settled."""

    id: str
    tenant: str
    owner: str
    amounts: Mapping[str, int]
    strict: bool
    lease_ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something that is stopped until ``until``, or until a person releases it (None)."""

    key: str
    reason: str
    since: datetime
    until: datetime | None = None


class Ledger(Protocol):
    """Keeps budgets, paces, holds and small counters. Safe to share between threads.

    Every method but ``now`` and ``close`` raises LedgerUnavailable where the store cannot do it;
    ``healthy`` answers False instead. Each admission and each settlement is atomic, and lists
    are of one moment for each tenant.
    """

    def now(self) -> datetime:
        """Return the ledger's time (UTC), without a trip. It never runs back, except where the
        clock was set back by more than ``MAX_STEP_BACK``."""
        ...

    def admit(self, admission: Admission) -> Admitted | Denied:
        """Reserve the amounts in all nodes and take them from all paces, or nothing at all.

        A node admits iff ``spent + reserved + amount <= limit`` and its limit is not 0.
        """
        ...

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        """End reservations; answers are in the order asked.

        Those of one tenant are one transaction; after LedgerUnavailable some may be done.
        """
        ...

    def exchange(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied]:
        """Settle, then admit in the order asked, in as few trips as the store needs.

        After LedgerUnavailable some of it may be done.
        """
        ...

    def exchange_now(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied] | None:
        """Do as ``exchange`` if nobody has to be waited for, process or network; else None."""
        ...

    def extend(self, ids: Sequence[tuple[str, str]], *, lease_seconds: float) -> None:
        """Let the leases of open calls, (tenant, id) each, end no sooner than in so long."""
        ...

    def open(self, *, owner: str | None = None) -> Sequence[Open]:
        """Return what is open, of one owner or of all; soonest lease first, bounded."""
        ...

    def expired(self) -> Sequence[Open]:
        """Return the open reservations whose lease has ended, soonest first, bounded."""
        ...

    def standings(self, tenant: str, keys: Sequence[str]) -> Mapping[str, Standing]:
        """Return how nodes stand, by key; zeros for one that no call has met yet."""
        ...

    def current(self) -> Sequence[Standing]:
        """Return the nodes whose period has not ended, by tenant and key, bounded."""
        ...

    def raise_spent(self, tenant: str, node: Node, spent: int) -> None:
        """Let at least so much be spent of the node: what the traces tell after a loss."""
        ...

    def once(self, key: str, *, ends: datetime | None) -> bool:
        """Whether this is the first time for the key, until ``ends`` (None: ever)."""
        ...

    def bump(self, key: str, *, by: int = 1, window_seconds: int) -> int:
        """Count, and return the count of the window that the ledger's time is in."""
        ...

    def hold(self, key: str, reason: str, *, until: datetime | None = None) -> None:
        """Stop something; again, it changes reason and end. Raises: LedgerFull."""
        ...

    def release(self, key: str) -> bool:
        """Let it go on; return whether it was held."""
        ...

    def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        """Return which of the keys are held now."""
        ...

    def holds(self) -> Sequence[Hold]:
        """Return all that is held now, by key."""
        ...

    def healthy(self) -> bool:
        """Whether the ledger answers now."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
