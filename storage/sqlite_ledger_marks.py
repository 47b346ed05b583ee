"""Marks, small counters and holds, inside a transaction of the ledger's file."""

from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Any, Final

from llmtrace.storage.ledger import MAX_HOLDS, MAX_LISTED, Hold, LedgerFull
from llmtrace.storage.sqlite_values import time_in, time_out

_ONCE: Final = """
INSERT INTO ledger_marks (key, ends) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET ends = excluded.ends WHERE ledger_marks.ends <= ?
"""
_BUMP: Final = """
INSERT INTO ledger_counts (key, began, ends, count) VALUES (:key, :began, :ends, :by)
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN began = excluded.began AND ends = excluded.ends
        THEN min(count + excluded.count, 9007199254740991) ELSE excluded.count END,
    began = excluded.began, ends = excluded.ends
RETURNING count
"""
_HELD: Final = """
SELECT key, reason, since, ends FROM ledger_holds WHERE (ends IS NULL OR ends > ?)
"""
_HOLD: Final = """
INSERT INTO ledger_holds (key, reason, since, ends) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, ends = excluded.ends,
    since = CASE WHEN ends <= excluded.since THEN excluded.since ELSE since END
"""


def once(db: Connection, key: str, ends: datetime | None, now: int) -> bool:
    """Set a mark; return whether it was not set."""
    values = (key, None if ends is None else time_in(ends), now)
    return db.execute(_ONCE, values).rowcount == 1


def bump(db: Connection, key: str, by: int, window_seconds: int, now: int) -> int:
    """Count; return the count of the window."""
    window = window_seconds * 1_000_000
    began = now - now % window
    values = {"key": key, "began": began, "ends": began + window, "by": by}
    (count,) = db.execute(_BUMP, values).fetchone()
    return int(count)


def hold(db: Connection, key: str, reason: str, until: datetime | None, now: int) -> None:
    """Hold a key. Raises: LedgerFull."""
    db.execute("DELETE FROM ledger_holds WHERE ends <= ?", (now,))
    db.execute(_HOLD, (key, reason, now, None if until is None else time_in(until)))
    (count,) = db.execute("SELECT count(*) FROM ledger_holds").fetchone()
    if count > MAX_HOLDS:
        raise LedgerFull(f"{MAX_HOLDS} are on hold; release some, and look why so many are")


def release(db: Connection, key: str, now: int) -> bool:
    """Let a key go; return whether it was held."""
    held = bool(held_of(db, [key], now))
    db.execute("DELETE FROM ledger_holds WHERE key = ?", (key,))
    return held


def held_of(db: Connection, keys: Sequence[str], now: int) -> list[Hold]:
    """Return which of the keys are held."""
    rows = (db.execute(_HELD + "AND key = ?", (now, key)).fetchone() for key in keys)
    return [_hold(row) for row in rows if row is not None]


def holds(db: Connection, now: int) -> list[Hold]:
    """Return all that is held, by key."""
    rows = db.execute(_HELD + "ORDER BY key LIMIT ?", (now, MAX_LISTED))
    return [_hold(row) for row in rows]


def _hold(row: tuple[Any, ...]) -> Hold:
    key, reason, since, ends = row
    until = None if ends is None else time_out(ends)
    return Hold(key=key, reason=reason, since=time_out(since), until=until)
