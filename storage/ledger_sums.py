"""What follows from the sums of a ledger: who is let through, and what a settlement charges."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from llmtrace.storage.ledger import (
    Admission,
    DenialReason,
    Denied,
    Node,
    Pace,
    PaceState,
    SettlementKind,
    Standing,
    State,
)
from llmtrace.storage.sqlite_values import time_out

CONTENDED_SECONDS: Final = 1.0
"""When to come back where other calls hold what is needed."""

_WORST_FIRST: Final[Sequence[DenialReason]] = ("exhausted", "too_large", "contended")
_NANOSECONDS: Final = 1_000_000_000
_NEVER: Final = float("inf")


def denial(
    admission: Admission, sums: Sequence[tuple[int, int]], held: Sequence[int], now: int
) -> Denied | None:
    """Return why a call is not let through, None if it is.

    ``sums`` are spent and reserved of each node, and ``held`` the nanoseconds until each pace is
    empty, before the call; ``now`` is in microseconds since 1970.
    """
    if _fits(admission, sums, held):
        return None
    return _over_budget(admission, sums, held, now) or _too_fast(admission, held)


def pace_states(paces: Sequence[Pace], held: Sequence[int]) -> tuple[PaceState, ...]:
    """Return what is left of paces that are empty in so many nanoseconds."""
    return tuple(map(_pace_state, paces, held))


def standings_of(asked: Admission, sums: Sequence[tuple[int, int]]) -> tuple[Standing, ...]:
    """Return how the nodes of a call stand with so much spent and reserved."""
    return tuple(
        [
            Standing(node.key, asked.tenant, node.unit, spent, reserved, node.limit, node.ends)
            for node, (spent, reserved) in zip(asked.nodes, sums, strict=True)
        ]
    )


def drained(held: int, since: int, now: int) -> int:
    """Return what a pace still holds, in nanoseconds; the times are in microseconds."""
    return max(0, held - max(0, now - since) * 1000)


def charge(
    kind: SettlementKind, reserved: Mapping[str, int], used: Mapping[str, int]
) -> dict[str, int]:
    """Return what a settlement charges of each unit that was reserved."""
    if kind == "settle":
        return {unit: used.get(unit, amount) for unit, amount in reserved.items()}
    return dict(reserved) if kind == "expire_charge" else dict.fromkeys(reserved, 0)


def stands(state: State, kind: SettlementKind) -> bool:
    """Whether a reservation stays as it is, whatever the settlement says."""
    if state in (State.SETTLED, State.RELEASED):
        return True
    return state is not State.OPEN and kind in ("expire_charge", "expire_release")


def _fits(admission: Admission, sums: Sequence[tuple[int, int]], held: Sequence[int]) -> bool:
    """Whether nothing stands against a call: what is nearly always so, and soon found."""
    amounts = admission.amounts
    for node, (spent, reserved) in zip(admission.nodes, sums, strict=True):
        if not _has_room(node, spent, reserved, amounts[node.unit]):
            return False
    for pace, level in zip(admission.paces, held, strict=True):
        if _wait(pace, level, amounts[pace.unit]):
            return False
    return True


def _over_budget(
    admission: Admission, sums: Sequence[tuple[int, int]], held: Sequence[int], now: int
) -> Denied | None:
    found: list[tuple[int, int]] = []  # how bad, and which node
    for index, (node, (spent, reserved)) in enumerate(zip(admission.nodes, sums, strict=True)):
        reason = _reason(node, spent, reserved, admission.amounts[node.unit])
        if reason is not None:
            found.append((_WORST_FIRST.index(reason), index))
    if not found:
        return None
    rank, index = min(found)
    node, (spent, reserved) = admission.nodes[index], sums[index]
    return Denied(
        reason=_WORST_FIRST[rank],
        requested=admission.amounts[node.unit],
        node=node,
        spent=spent,
        reserved=reserved,
        retry_after=_retry_after(_WORST_FIRST[rank], node, time_out(now)),
        paces=pace_states(admission.paces, held),
    )


def _reason(node: Node, spent: int, reserved: int, amount: int) -> DenialReason | None:
    if node.limit is None or _has_room(node, spent, reserved, amount):
        return None
    if spent >= node.limit:
        return "exhausted"
    return "too_large" if spent + amount > node.limit else "contended"


def _has_room(node: Node, spent: int, reserved: int, amount: int) -> bool:
    limit = node.limit
    return limit is None or (limit > 0 and spent + reserved + amount <= limit)


def _retry_after(reason: DenialReason, node: Node, now: datetime) -> float | None:
    if reason == "contended":
        return CONTENDED_SECONDS
    if reason == "too_large" or node.ends is None or node.limit == 0:
        return None
    return max(0.0, (node.ends - now).total_seconds())


def _too_fast(admission: Admission, held: Sequence[int]) -> Denied | None:
    waits = [
        _wait(pace, level, admission.amounts[pace.unit])
        for pace, level in zip(admission.paces, held, strict=True)
    ]
    longest = max(waits, default=0)
    if not longest:
        return None
    index = waits.index(longest)
    pace = admission.paces[index]
    return Denied(
        reason="too_large" if longest == _NEVER else "paced",
        requested=admission.amounts[pace.unit],
        pace=pace,
        reserved=-(-held[index] // pace.emission_ns),
        retry_after=None if longest == _NEVER else longest / _NANOSECONDS,
        paces=pace_states(admission.paces, held),
    )


def _wait(pace: Pace, held: int, amount: int) -> float:
    """Return nanoseconds until so many units may go."""
    if amount > pace.burst:
        return _NEVER
    return max(0, held + (amount - pace.burst) * pace.emission_ns) if amount else 0


def _pace_state(pace: Pace, held: int) -> PaceState:
    left = max(0, (pace.burst * pace.emission_ns - held) // pace.emission_ns)
    return PaceState(pace.key, pace.unit, pace.burst, left, held / _NANOSECONDS)
