"""The ledger in a SQLite file that all workers of one host share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Any, Final

import orjson

from llmtrace.storage import sqlite_ledger_calls as calls
from llmtrace.storage import sqlite_ledger_marks as marks
from llmtrace.storage.base import StorageError
from llmtrace.storage.ledger import (
    MAX_LISTED,
    Admission,
    Admitted,
    Denied,
    Hold,
    LedgerUnavailable,
    Node,
    Open,
    Settled,
    Settlement,
    Standing,
)
from llmtrace.storage.ledger_checks import (
    check_amount,
    check_key,
    check_moment,
    check_seconds,
    kept_reason,
)
from llmtrace.storage.ledger_clock import Clock, SteadyClock, system_clock
from llmtrace.storage.sqlite_late import LateSqliteFile
from llmtrace.storage.sqlite_ledger_prune import Pruner
from llmtrace.storage.sqlite_ledger_sheet import Known, seen_in
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.storage.sqlite_values import time_in, time_out

TIMEOUT_SECONDS: Final = 2.0
"""How long a call waits for other workers."""

_TICK: Final = 1_000_000
"""The time that others see is written once a second, in microseconds."""

_OPEN: Final = """
SELECT id, tenant, owner, amounts, strict, ends FROM ledger_calls WHERE state = 'open'
"""
_STANDING: Final = """
SELECT key, tenant, unit, spent, reserved, upper, ends FROM ledger_nodes
"""
_RAISE: Final = """
INSERT INTO ledger_nodes (tenant, key, unit, spent, upper, ends) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, key) DO UPDATE SET spent = max(spent, excluded.spent)
"""
_EXTEND: Final = """
UPDATE ledger_calls SET ends = max(ends, ?) WHERE tenant = ? AND id = ? AND state = 'open'
"""


class SqliteLedger:
    """Keeps budgets in one file; see ``Ledger`` for what each method promises.

    Any number of processes of one host may have it open; none may be on another host (a network
    file system does not lock). ``file`` is closed with the ledger.
    """

    def __init__(
        self, file: SharedSqliteFile | LateSqliteFile, *, clock: Clock = system_clock
    ) -> None:
        self._file = file
        self._clock = SteadyClock(clock)
        self._pruner = Pruner()
        self._known = Known()
        if isinstance(file, SharedSqliteFile):
            with self._reading():
                pass  # learns the latest time that anyone has seen

    @classmethod
    def at(
        cls, path: Path, *, clock: Clock = system_clock, timeout: float = TIMEOUT_SECONDS
    ) -> "SqliteLedger":
        """Open the file, which is made if it is not there.

        Raises:
            LedgerUnavailable: It cannot be opened, or was laid out by another version.
        """
        with _UNAVAILABLE:
            return cls(SharedSqliteFile(path, timeout=timeout), clock=clock)

    @classmethod
    def late(cls, path: Path, *, timeout: float = TIMEOUT_SECONDS) -> "SqliteLedger":
        """Return the ledger of a file that cannot be opened now: it is unavailable until then."""
        return cls(LateSqliteFile(path, timeout=timeout))

    def now(self) -> datetime:
        """Return the time, UTC, which never runs back."""
        return time_out(self._clock.read())

    def admit(self, admission: Admission) -> Admitted | Denied:
        """Reserve in all nodes and take from all paces, or nothing."""
        (answer,) = self.exchange([], [admission])
        return answer

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        """End reservations, in one transaction."""
        with _UNAVAILABLE, self._file.writing() as db:
            return self._exchange(db, settlements, ())[0]

    def exchange(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied]:
        """Settle, then admit, in one transaction."""
        with _UNAVAILABLE, self._file.writing() as db:
            return self._exchange(db, settlements, admissions)[1]

    def exchange_now(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied] | None:
        """Settle, then admit, in one transaction, unless others hold the file."""
        with _UNAVAILABLE, self._file.writing_now() as db:
            return None if db is None else self._exchange(db, settlements, admissions)[1]

    def _exchange(
        self, db: Connection, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> tuple[Sequence[Settled], Sequence[Admitted | Denied]]:
        known = self._known
        stamp = known.hold(db, self._file.turn, self._file.committed)
        now, known.seen = self._time(db, known.seen)
        answers = calls.exchange(db, settlements, admissions, now, known)
        if not self._pruner.prune(db, now, settled=len(settlements)):
            known.keep(stamp)
        return answers

    def extend(self, ids: Sequence[tuple[str, str]], *, lease_seconds: float) -> None:
        """Let leases of open calls end no sooner than in so long."""
        check_seconds(lease_seconds)
        with self._writing() as (db, now):
            ends = now + int(lease_seconds * 1_000_000)
            db.executemany(_EXTEND, [(ends, *pair) for pair in ids])

    def open(self, *, owner: str | None = None) -> Sequence[Open]:
        """Return what is open, soonest lease first."""
        query = _OPEN + "AND (:owner IS NULL OR owner = :owner) ORDER BY ends, id LIMIT :most"
        with self._reading() as (db, _):
            rows = db.execute(query, {"owner": owner, "most": MAX_LISTED})
            return [_open(row) for row in rows]

    def expired(self) -> Sequence[Open]:
        """Return the open reservations whose lease has ended."""
        with self._reading() as (db, now):
            query = _OPEN + "AND ends <= ? ORDER BY ends, id LIMIT ?"
            return [_open(row) for row in db.execute(query, (now, MAX_LISTED))]

    def standings(self, tenant: str, keys: Sequence[str]) -> Mapping[str, Standing]:
        """Return how nodes stand, by key."""
        query = _STANDING + "WHERE tenant = ? AND key = ?"
        with self._reading() as (db, _):
            rows = {key: db.execute(query, (tenant, key)).fetchone() for key in keys}
        nothing = {key: Standing(key=key, tenant=tenant) for key in keys}
        return nothing | {key: _standing(row) for key, row in rows.items() if row}

    def current(self) -> Sequence[Standing]:
        """Return the nodes whose period has not ended."""
        query = _STANDING + "WHERE ends IS NULL OR ends > ? ORDER BY tenant, key LIMIT ?"
        with self._reading() as (db, now):
            return [_standing(row) for row in db.execute(query, (now, MAX_LISTED))]

    def raise_spent(self, tenant: str, node: Node, spent: int) -> None:
        """Let at least so much be spent of the node."""
        check_amount("spent", spent)
        ends = None if node.ends is None else time_in(node.ends)
        with self._writing() as (db, _):
            db.execute(_RAISE, (tenant, node.key, node.unit, spent, node.limit, ends))

    def once(self, key: str, *, ends: datetime | None) -> bool:
        """Whether this is the first time for the key, until ``ends``."""
        check_key(key)
        check_moment(ends)
        with self._writing() as (db, now):
            return marks.once(db, key, ends, now)

    def bump(self, key: str, *, by: int = 1, window_seconds: int) -> int:
        """Count, and return the count of the window."""
        check_key(key)
        check_amount("by", by)
        check_seconds(window_seconds)
        with self._writing() as (db, now):
            return marks.bump(db, key, by, window_seconds, now)

    def hold(self, key: str, reason: str, *, until: datetime | None = None) -> None:
        """Stop something. Raises: LedgerFull."""
        check_key(key)
        check_moment(until)
        with self._writing() as (db, now):
            marks.hold(db, key, kept_reason(reason), until, now)

    def release(self, key: str) -> bool:
        """Let it go on; return whether it was held."""
        with self._writing() as (db, now):
            return marks.release(db, key, now)

    def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        """Return which of the keys are held now."""
        with self._reading() as (db, now):
            return {hold.key: hold for hold in marks.held_of(db, keys, now)}

    def holds(self) -> Sequence[Hold]:
        """Return all that is held now, by key."""
        with self._reading() as (db, now):
            return marks.holds(db, now)

    def healthy(self) -> bool:
        """Whether the file can be written now."""
        try:
            with self._writing() as (db, now):
                _see(db, now)
        except LedgerUnavailable:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, int]]:
        with _UNAVAILABLE, self._file.writing() as db:
            yield db, self._time(db, seen_in(db))[0]

    def _time(self, db: Connection, seen: int) -> tuple[int, int]:
        """Return the time, and let others see it: return what they see, too."""
        now = self._clock.read_after(seen)
        if abs(now - seen) >= _TICK:
            _see(db, now)
            seen = now
        return now, seen

    @contextmanager
    def _reading(self) -> Iterator[tuple[Connection, int]]:
        with _UNAVAILABLE, self._file.reading() as db:
            yield db, self._clock.read_after(seen_in(db))


class _Unavailable:
    """Turns what the file raises into what a ledger does."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise it anew. Raises: LedgerUnavailable."""
        if isinstance(error, StorageError) and not isinstance(error, LedgerUnavailable):
            raise LedgerUnavailable(str(error)) from error


_UNAVAILABLE: Final = _Unavailable()


def _see(db: Connection, now: int) -> None:
    db.execute("UPDATE ledger_clock SET seen = ?", (now,))


def _open(row: tuple[Any, ...]) -> Open:
    call, tenant, owner, amounts, strict, ends = row
    return Open(
        id=call,
        tenant=tenant,
        owner=owner,
        amounts=orjson.loads(amounts),
        strict=bool(strict),
        lease_ends=time_out(ends),
    )


def _standing(row: tuple[Any, ...]) -> Standing:
    key, tenant, unit, spent, reserved, limit, ends = row
    return Standing(
        key=key,
        tenant=tenant,
        unit=unit,
        spent=spent,
        reserved=reserved,
        limit=limit,
        ends=None if ends is None else time_out(ends),
    )
