"""The sums that a transaction of the ledger's file changes: each read once and written once."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from sqlite3 import Connection
from typing import Final

import orjson

from llmtrace.domain.values import dataclass
from llmtrace.storage.ledger import LARGEST, Node, Pace
from llmtrace.storage.ledger_sums import drained
from llmtrace.storage.sqlite_values import time_in

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
_MOST_KNOWN: Final = 5_000

type _Key = tuple[str, str]
"""Tenant and key, or tenant and id."""


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
    at: int = 0
    """The moment of ``held``."""
    is_changed: bool = False

    def add(self, nanoseconds: int) -> None:
        """Take more, or give back."""
        self.held = min(max(0, self.held + nanoseconds), LARGEST)
        self.is_changed = True


@dataclass(frozen=True, slots=True)
class Reserved:
    """What an open call has set aside, as its row has it."""

    amounts: Mapping[str, int]
    nodes: Sequence[tuple[str, str, int | None]]
    """Key, unit and end of each."""
    paces: Sequence[tuple[str, str, int]]
    """Key, unit and nanoseconds for a unit of each from which is given back."""


class Listed:
    """Nodes and paces that calls ask for, as their rows have them: the same for many calls."""

    __slots__ = ("_asked", "nodes", "nodes_text", "paces", "paces_text")

    def __init__(self, nodes: tuple[Node, ...], paces: tuple[Pace, ...]) -> None:
        self._asked = nodes, paces
        self.nodes = [
            (node.key, node.unit, None if node.ends is None else time_in(node.ends))
            for node in nodes
        ]
        self.paces = [(p.key, p.unit, p.emission_ns) for p in paces if p.unit == "tokens"]
        self.nodes_text = orjson.dumps(self.nodes).decode()
        self.paces_text = orjson.dumps(self.paces).decode()

    def is_of(self, nodes: tuple[Node, ...], paces: tuple[Pace, ...]) -> bool:
        """Whether it was made of these very objects, none of which can change."""
        return self._asked[0] is nodes and self._asked[1] is paces


@dataclass(slots=True)
class Known:
    """What is in the file, as far as its last writer knows: all of it or less, and never else.

    It holds for as long as nobody has written to the file but who knows it, which ``hold`` finds
    out. With one worker that is nearly always, and spares it half of what it would ask SQLite.
    """

    seen: int = 0
    """The latest time that any worker has seen."""
    nodes: dict[_Key, NodeSums] = field(default_factory=dict)
    paces: dict[_Key, PaceLevel] = field(default_factory=dict)
    calls: dict[_Key, Reserved] = field(default_factory=dict)
    """Open ones."""
    _stamp: tuple[int, int] | None = None
    _listed: dict[int, Listed] = field(default_factory=dict)

    def listed(self, nodes: tuple[Node, ...], paces: tuple[Pace, ...]) -> Listed:
        """Return what calls ask for as their rows have it, made once for the same two objects."""
        known = self._listed.get(id(nodes))
        if known is None or not known.is_of(nodes, paces):
            if len(self._listed) >= _MOST_KNOWN:
                self._listed.clear()
            known = self._listed[id(nodes)] = Listed(nodes, paces)
        return known

    def hold(self, db: Connection, turn: int, committed: int) -> tuple[int, int]:
        """Forget all if it need not be so any more; return what ``keep`` is to be told.

        To be called in each transaction, before all else. ``turn`` is its number among those
        through this connection, and ``committed`` that of the last that was committed: what was
        known holds if that is the one that ``keep`` was called in.
        """
        (version,) = db.execute("PRAGMA data_version").fetchone()  # counts those of all others
        full = max(len(self.nodes), len(self.paces), len(self.calls)) > _MOST_KNOWN
        if full or self._stamp != (version, committed):
            for each in (self.nodes, self.paces, self.calls):
                each.clear()
            self.seen = seen_in(db)
        self._stamp = None
        return version, turn

    def keep(self, stamp: tuple[int, int]) -> None:
        """Let it hold once the transaction is committed; what is not kept is forgotten."""
        self._stamp = stamp


def seen_in(db: Connection) -> int:
    """Return the latest time that any worker has seen, by the file."""
    (seen,) = db.execute("SELECT seen FROM ledger_clock").fetchone()
    return int(seen)


class Sheet:
    """Sums of nodes and levels of paces, at one moment, inside a transaction that writes.

    What is changed here is in the file once it is ``written``.
    """

    def __init__(self, db: Connection, now: int, known: Known | None = None) -> None:
        self.db = db
        self.now = now
        self.known = known or Known()
        self._nodes: dict[_Key, NodeSums] = {}
        self._paces: dict[_Key, PaceLevel] = {}

    def node(self, tenant: str, key: str) -> NodeSums:
        """Return the sums of a node, zeros where there is no such row."""
        place = (tenant, key)
        if (known := self.known.nodes.get(place)) is None:
            row = self.db.execute(_NODE, place).fetchone()
            known = self.known.nodes[place] = NodeSums(*row) if row else NodeSums()
        self._nodes[place] = known
        return known

    def pace(self, tenant: str, key: str) -> PaceLevel:
        """Return the level of a pace, 0 where there is no such row."""
        place = (tenant, key)
        if (known := self.known.paces.get(place)) is None:
            held, at, kept = self.db.execute(_PACE, place).fetchone() or (0, self.now, 0)
            known = self.known.paces[place] = PaceLevel(held, kept, at)
        if known.at != self.now:
            known.held, known.at = drained(known.held, known.at, self.now), self.now
        self._paces[place] = known
        return known

    def write(self) -> None:
        """Write what has changed."""
        for place, node in self._nodes.items():
            if node.is_other:
                row = (node.spent, node.reserved, node.unit, node.upper, node.ends)
                self.db.execute(_WHOLE_NODE, (*row, *place))
            elif node.is_changed:
                self.db.execute(_SUMS, (node.spent, node.reserved, *place))
            node.is_changed = node.is_other = False
        for place, pace in self._paces.items():
            if pace.is_changed:
                self._write_pace(place, pace)
                pace.is_changed = False
            else:  # it was drained here, and not in the file
                del self.known.paces[place]

    def _write_pace(self, place: _Key, pace: PaceLevel) -> None:
        empty = self.now + pace.held // 1000 + 1
        if empty <= pace.kept:
            self.db.execute(_LEVEL, (pace.held, self.now, *place))
        else:
            pace.kept = empty + _KEEP_PACE
            self.db.execute(_WHOLE_PACE, (pace.held, self.now, pace.kept, *place))
