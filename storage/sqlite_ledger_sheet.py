"""The sums that one transaction of the ledger's file changes: each read once and written once."""

from dataclasses import dataclass
from sqlite3 import Connection
from typing import Final

from llmtrace.storage.ledger import LARGEST
from llmtrace.storage.ledger_sums import drained

_NODE: Final = """
SELECT spent, reserved, unit, upper, ends FROM ledger_nodes WHERE tenant = ? AND key = ?
"""
_SUMS: Final = """
UPDATE ledger_nodes SET spent = ?, reserved = ? WHERE tenant = ? AND key = ?
"""
"""For a node whose limit and end are as they were: its row in the index stays as it is."""
_WHOLE_NODE: Final = """
INSERT OR REPLACE INTO ledger_nodes (spent, reserved, unit, upper, ends, tenant, key)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_PACE: Final = "SELECT held, at, empty FROM ledger_paces WHERE tenant = ? AND key = ?"
_LEVEL: Final = "UPDATE ledger_paces SET held = ?, at = ? WHERE tenant = ? AND key = ?"
"""For a pace that is kept for long enough as it is."""
_WHOLE_PACE: Final = """
INSERT OR REPLACE INTO ledger_paces (held, at, empty, tenant, key) VALUES (?, ?, ?, ?, ?)
"""
_KEEP_PACE: Final = 60_000_000
"""For how long a pace is kept after it is empty: so much less often its row in the index moves."""

type _Key = tuple[str, str]
"""Tenant and key."""


@dataclass(slots=True)
class NodeSums:
    """What is spent and reserved of a node, and what is told of it with that."""

    spent: int = 0
    reserved: int = 0
    unit: str = ""
    """Empty: the file has no such row."""
    upper: int | None = None
    ends: int | None = None
    is_changed: bool = False
    is_other: bool = False
    """Whether more than its sums has changed."""

    def reserve(self, amount: int, unit: str, upper: int | None, ends: int | None) -> None:
        """Set an amount aside, under the limit that holds now."""
        self.reserved = min(LARGEST, self.reserved + amount)
        self.is_changed = True
        if (self.unit, self.upper, self.ends) != (unit, upper, ends):
            self.unit, self.upper, self.ends, self.is_other = unit, upper, ends, True

    def book(self, held: int, delta: int, unit: str, ends: int | None) -> None:
        """Let go of what is held, and add to what is spent."""
        if not self.unit:
            self.unit, self.ends, self.is_other = unit, ends, True
        self.reserved = max(0, self.reserved - held)
        self.spent = min(max(0, self.spent + delta), LARGEST)
        self.is_changed = True


@dataclass(slots=True)
class PaceLevel:
    """How many nanoseconds it takes until a pace is empty, and until when its row is kept."""

    held: int
    kept: int
    is_changed: bool = False

    def add(self, nanoseconds: int) -> None:
        """Take more, or give back."""
        self.held = min(max(0, self.held + nanoseconds), LARGEST)
        self.is_changed = True


class Sheet:
    """Sums of nodes and levels of paces, at one moment, inside a transaction that writes.

    What is changed here is in the file once it is ``written``.
    """

    def __init__(self, db: Connection, now: int) -> None:
        self.db = db
        self.now = now
        self._nodes: dict[_Key, NodeSums] = {}
        self._paces: dict[_Key, PaceLevel] = {}

    def node(self, tenant: str, key: str) -> NodeSums:
        """Return the sums of a node, zeros where there is no such row."""
        place = (tenant, key)
        if (known := self._nodes.get(place)) is None:
            row = self.db.execute(_NODE, place).fetchone()
            known = self._nodes[place] = NodeSums(*row) if row else NodeSums()
        return known

    def pace(self, tenant: str, key: str) -> PaceLevel:
        """Return the level of a pace, 0 where there is no such row."""
        place = (tenant, key)
        if (known := self._paces.get(place)) is None:
            held, at, kept = self.db.execute(_PACE, place).fetchone() or (0, self.now, 0)
            known = self._paces[place] = PaceLevel(drained(held, at, self.now), kept)
        return known

    def write(self) -> None:
        """Write what has changed."""
        for place, node in self._nodes.items():
            if node.is_other:
                row = (node.spent, node.reserved, node.unit, node.upper, node.ends)
                self.db.execute(_WHOLE_NODE, (*row, *place))
            elif node.is_changed:
                self.db.execute(_SUMS, (node.spent, node.reserved, *place))
        for place, pace in self._paces.items():
            if pace.is_changed:
                self._write_pace(place, pace)

    def _write_pace(self, place: _Key, pace: PaceLevel) -> None:
        empty = self.now + pace.held // 1000 + 1
        if empty <= pace.kept:
            self.db.execute(_LEVEL, (pace.held, self.now, *place))
        else:
            self.db.execute(_WHOLE_PACE, (pace.held, self.now, empty + _KEEP_PACE, *place))
