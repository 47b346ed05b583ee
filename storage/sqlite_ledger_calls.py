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
    Admission,
    Admitted,
    Denied,
    Settled,
    Settlement,
    State,
)
from llmtrace.storage.ledger_sums import charge, denial, pace_states, standings_of, stands
from llmtrace.storage.sqlite_ledger_sheet import Known, NodeSums, PaceLevel, Reserved, Sheet

_KEEP: Final = {
    State.SETTLED: KEEP_SETTLED // KEEP_SETTLED.resolution,
    State.RELEASED: KEEP_SETTLED // KEEP_SETTLED.resolution,
    State.EXPIRED_CHARGED: KEEP_EXPIRED // KEEP_EXPIRED.resolution,
    State.EXPIRED_RELEASED: KEEP_EXPIRED // KEEP_EXPIRED.resolution,
}
_IS_OPEN: Final = State.OPEN.value
"""States are bound as plain texts: of any other class ``sqlite3`` asks first how to adapt it."""
_CALL: Final = """
SELECT state, amounts, charged, nodes, paces FROM ledger_calls
WHERE tenant = ? AND id = ? AND (state = 'open' OR ends > ?)
"""
_OPEN: Final = """
INSERT INTO ledger_calls
    (tenant, id, state, owner, strict, ends, amounts, charged, nodes, paces)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, id) DO UPDATE SET
    state = excluded.state, owner = excluded.owner, strict = excluded.strict,
    ends = excluded.ends, amounts = excluded.amounts, charged = excluded.charged,
    nodes = excluded.nodes, paces = excluded.paces
WHERE ledger_calls.state <> 'open' AND ledger_calls.ends <= ?
"""
"""Changes nothing where such a call is known."""
_END: Final = """
UPDATE ledger_calls SET state = ?, charged = ?, ends = ? WHERE tenant = ? AND id = ?
"""


def exchange(
    db: Connection,
    settlements: Sequence[Settlement],
    admissions: Sequence[Admission],
    now: int,
    known: Known | None = None,
) -> tuple[Sequence[Settled], Sequence[Admitted | Denied]]:
    """End reservations, then reserve, in the order asked; ``known`` spares reading that again."""
    sheet = Sheet(db, now, known)
    settled = [_settle(sheet, settlement) for settlement in settlements]
    answers = [_admit(sheet, admission) for admission in admissions]
    sheet.write()
    return settled, answers


def _admit(sheet: Sheet, asked: Admission) -> Admitted | Denied:
    """Reserve all that is asked, or nothing."""
    tenant = asked.tenant
    nodes = [sheet.node(tenant, node.key) for node in asked.nodes]
    paces = [sheet.pace(tenant, pace.key) for pace in asked.paces]
    sums = [(node.spent, node.reserved) for node in nodes]
    denied = denial(asked, sums, [pace.held for pace in paces], sheet.now)
    known = None
    if denied is not None or not _reserve(sheet, asked, nodes, paces):
        known = sheet.db.execute(_CALL, (tenant, asked.id, sheet.now)).fetchone()
        if denied is not None and known is None:
            return denied
    return Admitted(
        id=asked.id,
        duplicate=known is not None,
        state=State.OPEN if known is None else State(known[0]),
        standings=standings_of(asked, [(node.spent, node.reserved) for node in nodes]),
        paces=pace_states(asked.paces, [pace.held for pace in paces]),
    )


def _settle(sheet: Sheet, settlement: Settlement) -> Settled:
    """End one reservation."""
    place = (settlement.tenant, settlement.id)
    reserved, state = sheet.known.calls.pop(place, None), State.OPEN
    charged: Mapping[str, int] = {}
    if reserved is None:
        row = sheet.db.execute(_CALL, (*place, sheet.now)).fetchone()
        if row is None:
            return _unknown(sheet, settlement)
        state, (amounts, charged, nodes, paces) = State(row[0]), map(orjson.loads, row[1:])
        reserved = Reserved(amounts, nodes, paces)
    if stands(state, settlement.kind):
        return Settled(id=settlement.id, state=state, first=False, charged=charged)
    ended = ENDS_AS[settlement.kind]
    new = charge(settlement.kind, reserved.amounts, settlement.amounts)
    held = reserved.amounts if state is State.OPEN else {}
    for key, unit, ends in reserved.nodes:
        node = sheet.node(settlement.tenant, key)
        node.book(held.get(unit, 0), new[unit] - charged.get(unit, 0), unit, ends)
    taken = held or charged
    for key, unit, emission_ns in reserved.paces:
        if more := new[unit] - taken[unit]:
            sheet.pace(settlement.tenant, key).add(more * emission_ns)
    values = (ended.value, orjson.dumps(new).decode(), sheet.now + _KEEP[ended], *place)
    sheet.db.execute(_END, values)
    return Settled(id=settlement.id, state=ended, first=True, charged=new)


def _reserve(
    sheet: Sheet, asked: Admission, nodes: Sequence[NodeSums], paces: Sequence[PaceLevel]
) -> bool:
    """Set aside, and take, what was found to fit; False if the call is known already."""
    amounts = asked.amounts
    listed = sheet.known.listed(asked.nodes, asked.paces)
    row = (
        asked.tenant,
        asked.id,
        _IS_OPEN,
        asked.owner,
        int(asked.strict),
        sheet.now + int(asked.lease_seconds * 1_000_000),
        orjson.dumps(amounts).decode(),
        "{}",
        listed.nodes_text,
        listed.paces_text,
        sheet.now,
    )
    if not sheet.db.execute(_OPEN, row).rowcount:
        return False
    for sums, (_, unit, ends), node in zip(nodes, listed.nodes, asked.nodes, strict=True):
        sums.reserve(amounts[unit], unit, node.limit, ends)
    for pace, level in zip(asked.paces, paces, strict=True):
        level.add(amounts[pace.unit] * pace.emission_ns)
    sheet.known.calls[asked.tenant, asked.id] = Reserved(amounts, listed.nodes, listed.paces)
    return True


def _unknown(sheet: Sheet, settlement: Settlement) -> Settled:
    """Remember a release, so that an admission that comes after it reserves nothing."""
    if settlement.kind != "release":
        return Settled(id=settlement.id, state=State.UNKNOWN, first=False)
    ends = sheet.now + _KEEP[State.RELEASED]
    parts = ("{}", "{}", "[]", "[]")
    values = (settlement.tenant, settlement.id, State.RELEASED.value, "", 0, ends, *parts)
    sheet.db.execute(_OPEN, (*values, sheet.now))
    return Settled(id=settlement.id, state=State.RELEASED, first=True)
