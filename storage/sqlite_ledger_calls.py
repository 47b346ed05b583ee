"""Admitting and settling calls, inside a transaction of the ledger's file.

All is read and judged first; what is written after that cannot be refused.
"""

from collections.abc import Mapping, Sequence
from sqlite3 import Connection
from typing import Final

import orjson

from llmtrace.storage.ledger import (
    ENDS_AS,
    KEEP_EXPIRED,
    KEEP_SETTLED,
    LARGEST,
    Admission,
    Admitted,
    Denied,
    Node,
    Settled,
    Settlement,
    State,
)
from llmtrace.storage.ledger_sums import charge, denial, drained, pace_states, standings_of, stands
from llmtrace.storage.sqlite_values import time_in, time_out

_KEEP: Final = {
    State.SETTLED: KEEP_SETTLED // KEEP_SETTLED.resolution,
    State.RELEASED: KEEP_SETTLED // KEEP_SETTLED.resolution,
    State.EXPIRED_CHARGED: KEEP_EXPIRED // KEEP_EXPIRED.resolution,
    State.EXPIRED_RELEASED: KEEP_EXPIRED // KEEP_EXPIRED.resolution,
}
_SUMS: Final = "SELECT spent, reserved FROM ledger_nodes WHERE tenant = ? AND key = ?"
_HELD: Final = "SELECT held, at FROM ledger_paces WHERE tenant = ? AND key = ?"
_CALL: Final = """
SELECT state, amounts, charged, nodes, paces FROM ledger_calls
WHERE tenant = ? AND id = ? AND (state = 'open' OR ends > ?)
"""
_RESERVE: Final = """
INSERT INTO ledger_nodes (tenant, key, unit, reserved, upper, ends) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, key) DO UPDATE SET unit = excluded.unit, upper = excluded.upper,
    ends = excluded.ends, reserved = min(reserved + excluded.reserved, 9007199254740991)
"""
_BOOK: Final = """
INSERT INTO ledger_nodes (tenant, key, unit, ends, spent)
VALUES (:tenant, :key, :unit, :ends, max(0, :delta))
ON CONFLICT (tenant, key) DO UPDATE SET reserved = max(0, reserved - :held),
    spent = min(max(0, spent + :delta), 9007199254740991)
"""
_PACE: Final = """
INSERT INTO ledger_paces (tenant, key, held, at, empty) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (tenant, key) DO UPDATE
SET held = excluded.held, at = excluded.at, empty = excluded.empty
"""
_OPEN: Final = """
INSERT OR REPLACE INTO ledger_calls
    (tenant, id, state, owner, strict, ends, amounts, charged, nodes, paces)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_END: Final = """
UPDATE ledger_calls SET state = ?, charged = ?, ends = ? WHERE tenant = ? AND id = ?
"""


def admit(db: Connection, asked: Admission, now: int) -> Admitted | Denied:
    """Reserve all that is asked, or nothing."""
    known = db.execute(_CALL, (asked.tenant, asked.id, now)).fetchone()
    sums = [sums_of(db, asked.tenant, node.key) for node in asked.nodes]
    held = [_held(db, asked.tenant, pace.key, now) for pace in asked.paces]
    if known is None:
        denied = denial(asked, sums, held, time_out(now))
        if denied is not None:
            return denied
        sums, held = _reserve(db, asked, sums, held, now)
    return Admitted(
        id=asked.id,
        duplicate=known is not None,
        state=State.OPEN if known is None else State(known[0]),
        standings=standings_of(asked, sums),
        paces=pace_states(asked.paces, held),
    )


def settle(db: Connection, settlement: Settlement, now: int) -> Settled:
    """End one reservation."""
    row = db.execute(_CALL, (settlement.tenant, settlement.id, now)).fetchone()
    if row is None:
        return _unknown(db, settlement, now)
    state, (amounts, charged, nodes, paces) = State(row[0]), map(orjson.loads, row[1:])
    if stands(state, settlement.kind):
        return Settled(id=settlement.id, state=state, first=False, charged=charged)
    ended = ENDS_AS[settlement.kind]
    new = charge(settlement.kind, amounts, settlement.amounts)
    held = amounts if state is State.OPEN else {}
    _book(db, settlement.tenant, nodes, held, {unit: new[unit] - charged[unit] for unit in new})
    taken = held or charged
    _give_back(db, settlement.tenant, paces, {unit: new[unit] - taken[unit] for unit in new}, now)
    ends = now + _KEEP[ended]
    values = (ended, orjson.dumps(new).decode(), ends, settlement.tenant, settlement.id)
    db.execute(_END, values)
    return Settled(id=settlement.id, state=ended, first=True, charged=new)


def sums_of(db: Connection, tenant: str, key: str) -> tuple[int, int]:
    """Return what is spent and reserved of a node."""
    spent, reserved = db.execute(_SUMS, (tenant, key)).fetchone() or (0, 0)
    return spent, reserved


def _reserve(
    db: Connection, asked: Admission, sums: Sequence[tuple[int, int]], held: Sequence[int], now: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """Write what was found to fit; return the sums after it."""
    tenant, amounts = asked.tenant, asked.amounts
    db.executemany(
        _RESERVE,
        [
            (tenant, node.key, node.unit, amounts[node.unit], node.limit, _ends(node))
            for node in asked.nodes
        ],
    )
    levels = [
        min(LARGEST, level + amounts[pace.unit] * pace.emission_ns)
        for pace, level in zip(asked.paces, held, strict=True)
    ]
    for pace, level in zip(asked.paces, levels, strict=True):
        _write_pace(db, tenant, pace.key, level, now)
    db.execute(_OPEN, _open_row(asked, now))
    after = [
        (spent, min(LARGEST, reserved + amounts[node.unit]))
        for node, (spent, reserved) in zip(asked.nodes, sums, strict=True)
    ]
    return after, levels


def _open_row(asked: Admission, now: int) -> tuple[object, ...]:
    nodes = [(node.key, node.unit, _ends(node)) for node in asked.nodes]
    paces = [(p.key, p.unit, p.emission_ns) for p in asked.paces if p.unit == "tokens"]
    parts = (asked.amounts, dict.fromkeys(asked.amounts, 0), nodes, paces)
    return (
        asked.tenant,
        asked.id,
        State.OPEN,
        asked.owner,
        asked.strict,
        now + int(asked.lease_seconds * 1_000_000),
        *(orjson.dumps(part).decode() for part in parts),
    )


def _unknown(db: Connection, settlement: Settlement, now: int) -> Settled:
    """Remember a release, so that an admission that comes after it reserves nothing."""
    if settlement.kind != "release":
        return Settled(id=settlement.id, state=State.UNKNOWN, first=False)
    ends = now + _KEEP[State.RELEASED]
    parts = ("{}", "{}", "[]", "[]")
    values = (settlement.tenant, settlement.id, State.RELEASED, "", False, ends, *parts)
    db.execute(_OPEN, values)
    return Settled(id=settlement.id, state=State.RELEASED, first=True)


def _book(
    db: Connection,
    tenant: str,
    nodes: Sequence[tuple[str, str, int | None]],
    held: Mapping[str, int],
    deltas: Mapping[str, int],
) -> None:
    db.executemany(
        _BOOK,
        [
            {
                "tenant": tenant,
                "key": key,
                "unit": unit,
                "ends": ends,
                "held": held.get(unit, 0),
                "delta": deltas[unit],
            }
            for key, unit, ends in nodes
        ],
    )


def _give_back(
    db: Connection,
    tenant: str,
    paces: Sequence[tuple[str, str, int]],
    deltas: Mapping[str, int],
    now: int,
) -> None:
    for key, unit, emission_ns in paces:
        if deltas[unit]:
            level = _held(db, tenant, key, now) + deltas[unit] * emission_ns
            _write_pace(db, tenant, key, min(max(0, level), LARGEST), now)


def _held(db: Connection, tenant: str, key: str, now: int) -> int:
    held, at = db.execute(_HELD, (tenant, key)).fetchone() or (0, now)
    return drained(held, at, now)


def _write_pace(db: Connection, tenant: str, key: str, held: int, now: int) -> None:
    db.execute(_PACE, (tenant, key, held, now, now + held // 1000 + 1))


def _ends(node: Node) -> int | None:
    return None if node.ends is None else time_in(node.ends)
