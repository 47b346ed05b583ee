"""Values of the ledger as Redis keeps them, and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import batched
from typing import Any, Final
from urllib.parse import quote

import orjson

from llmtrace.storage.ledger import (
    GRACE,
    UNITS,
    Admission,
    Hold,
    Node,
    Open,
    Settled,
    Standing,
    State,
)
from llmtrace.storage.sqlite_values import time_in, time_out

_GRACE: Final = GRACE // GRACE.resolution


class Keys:
    """Names of keys. All of one tenant share a hash tag, and so do those of no tenant."""

    def __init__(self, prefix: str) -> None:
        self._prefix = quote(prefix, safe="")
        self.tenants = f"{{{self._prefix}}}:tenants"
        self.holds = f"{{{self._prefix}}}:holds"
        self.health = f"{{{self._prefix}}}:health"
        deferred = f"{{{self._prefix}}}:deferred"
        self.deferred = (deferred, f"{deferred}:age", f"{deferred}:taken")
        """The hash of what is owed for answers to come, and the sorted sets of when they began and
        of when others were taken."""

    def mark(self, key: str) -> str:
        """Return where a mark is kept."""
        return f"{{{self._prefix}}}:mark:{key}"

    def count(self, key: str) -> str:
        """Return where a counter is kept."""
        return f"{{{self._prefix}}}:count:{key}"

    def call(self, tenant: str, call: str) -> str:
        """Return where a call is kept."""
        return f"{self._of(tenant)}:call:{call}"

    def nodes(self, tenant: str) -> str:
        """Return the hash of a tenant's nodes."""
        return f"{self._of(tenant)}:nodes"

    def paces(self, tenant: str) -> str:
        """Return the hash of a tenant's paces."""
        return f"{self._of(tenant)}:paces"

    def open(self, tenant: str) -> str:
        """Return the sorted set of a tenant's open calls, by the end of their lease."""
        return f"{self._of(tenant)}:open"

    def forget(self, tenant: str) -> str:
        """Return the sorted set of a tenant's nodes and paces, by when to forget them."""
        return f"{self._of(tenant)}:forget"

    def _of(self, tenant: str) -> str:
        return f"{{{self._prefix}:{quote(tenant, safe='')}}}"


def admission_out(asked: Admission) -> bytes:
    """Return the JSON that the script reads."""
    value = {
        "id": asked.id,
        "owner": asked.owner,
        "strict": "1" if asked.strict else "0",
        "lease": int(asked.lease_seconds * 1_000_000),
        "amounts": asked.amounts,
        "nodes": [
            {
                "key": node.key,
                "unit": node.unit,
                "upper": limit_out(node),
                "ends": moment_out(node.ends),
                "forget": forget_out(node),
            }
            for node in asked.nodes
        ],
        "paces": asked.paces,
        "kept_nodes": _text(
            [(n.key, n.unit, moment_out(n.ends), forget_out(n)) for n in asked.nodes]
        ),
        "kept_paces": _text(
            [(p.key, p.unit, p.emission_ns) for p in asked.paces if p.unit == "tokens"]
        ),
    }
    return orjson.dumps(value)


def limit_out(node: Node) -> str:
    """Return the limit as text, empty for none."""
    return "" if node.limit is None else str(node.limit)


def moment_out(moment: datetime | None) -> str:
    """Return microseconds since 1970, UTC, as text, empty for never."""
    return "" if moment is None else str(time_in(moment))


def forget_out(node: Node) -> str:
    """Return when the node is to be forgotten, as a score of a sorted set."""
    return "+inf" if node.ends is None else str(time_in(node.ends) + _GRACE)


def settled_in(call: str, answer: Sequence[str]) -> Settled:
    """Return one answer of the script that settles."""
    state, first, *charged = answer
    return Settled(
        id=call,
        state=State(state),
        first=first == "1",
        charged={unit: int(amount) for unit, amount in batched(charged, 2)},
    )


def standing_in(tenant: str, key: str, packed: str) -> Standing:
    """Return a node as the scripts pack it."""
    spent, reserved, unit, limit, ends = packed.split(":")
    return Standing(
        key=key,
        tenant=tenant,
        unit=unit,
        spent=int(spent),
        reserved=int(reserved),
        limit=int(limit) if limit else None,
        ends=time_out(int(ends)) if ends else None,
    )


def open_in(tenant: str, call: str, ends: str, row: Mapping[str, str]) -> Open:
    """Return an open call, of which ``row`` is the hash."""
    return Open(
        id=call,
        tenant=tenant,
        owner=row["owner"],
        amounts={u: int(row[f"amount:{u}"]) for u in UNITS if f"amount:{u}" in row},
        strict=row["strict"] == "1",
        lease_ends=time_out(int(float(ends))),
    )


def holds_in(answer: Sequence[Any]) -> Iterator[Hold]:
    """Return keys and what the scripts packed with them as holds."""
    for key, packed in batched(answer, 2):
        since, ends, reason = packed.split(":", 2)
        until = time_out(int(ends)) if ends else None
        yield Hold(key=key, reason=reason, since=time_out(int(since)), until=until)


def pairs(numbers: Iterable[str]) -> list[tuple[int, int]]:
    """Return numbers two by two."""
    return [(int(first), int(second)) for first, second in batched(numbers, 2)]


def _text(value: object) -> str:
    return orjson.dumps(value).decode()
