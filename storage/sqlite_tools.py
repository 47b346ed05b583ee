"""The tools that sessions were offered, in the SQLite file that all workers write to."""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llmtrace.storage.sqlite_shared import SharedSqliteFile

MAX_ROWS: Final = 100_000
"""Tools that are kept, of all sessions: about 20 MB."""
ENDED_SECONDS: Final = 24 * 3600.0
"""How long those of other runs are kept at least: their last workers may still be at work."""
AT_ONCE: Final = 1_000
"""Rows that one transaction deletes: others wait for it."""

_KNOWN: Final = "SELECT name, digests FROM offered_tools WHERE run = ? AND session = ? AND name IN "
_ADD: Final = """
INSERT INTO offered_tools (run, session, name, digests, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO
"""
_FIRST: Final = f"{_ADD} NOTHING"
_LAST: Final = f"{_ADD} UPDATE SET digests = excluded.digests, at = excluded.at"
_FORGET: Final = """
DELETE FROM offered_tools WHERE position IN (
    SELECT position FROM offered_tools WHERE run <> ? AND at < ? LIMIT ?
)
"""
_FORGET_OLDEST: Final = """
DELETE FROM offered_tools WHERE position IN (
    SELECT position FROM offered_tools ORDER BY position
    LIMIT max(0, min(?, (SELECT count(*) FROM offered_tools) - ?))
)
"""


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool that a session was offered; ``session`` and ``name`` are keyed hashes.

    ``replaces`` what is there, or else is kept only if nothing is.
    """

    session: bytes
    name: bytes
    digests: frozenset[str]
    replaces: bool = False


class SqliteTools:
    """Keeps what sessions were offered, for the workers of one run. Safe to share between threads.

    What any method may raise: StorageUnavailable, StorageCorrupt.
    """

    def __init__(
        self,
        file: SharedSqliteFile,
        *,
        run: bytes,
        clock: Callable[[], float] = time.time,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._file = file
        self._run = run
        self._clock = clock
        self._max_rows = max_rows

    def known(self, session: bytes, names: Sequence[bytes]) -> Mapping[bytes, frozenset[str]]:
        """Return what is kept of these tools of a session."""
        with self._file.reading() as db:
            return self._known(db, session, names)

    def keep(self, rows: Sequence[ToolRow]) -> Sequence[frozenset[str]]:
        """Keep rows, each at most once, and return what is kept of each from now on."""
        with self._file.writing() as db:
            return self._kept(db, rows)

    def keep_now(self, rows: Sequence[ToolRow]) -> Sequence[frozenset[str]] | None:
        """Do as ``keep`` if nobody has to be waited for; None if somebody has to be."""
        with self._file.writing_now() as db:
            return None if db is None else self._kept(db, rows)

    def prune(self) -> None:
        """Delete what ended runs left, and the oldest of what is too many."""
        before = self._micros() - int(ENDED_SECONDS * 1e6)
        self._delete(_FORGET, (self._run, before, AT_ONCE))
        self._delete(_FORGET_OLDEST, (AT_ONCE, self._max_rows))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _known(
        self, db: sqlite3.Connection, session: bytes, names: Sequence[bytes]
    ) -> Mapping[bytes, frozenset[str]]:
        query = f"{_KNOWN}({', '.join('?' * len(names))})"
        rows = db.execute(query, (self._run, session, *names)).fetchall()
        return {name: frozenset(digests.split()) for name, digests in rows}

    def _kept(self, db: sqlite3.Connection, rows: Sequence[ToolRow]) -> Sequence[frozenset[str]]:
        new = [row for row in rows if not row.replaces]
        db.executemany(_LAST, [self._values(row) for row in rows if row.replaces])
        added = db.executemany(_FIRST, [self._values(row) for row in new]).rowcount
        kept: dict[tuple[bytes, bytes], frozenset[str]] = {}
        if added < len(new):  # somebody else was first with one of them
            names: dict[bytes, list[bytes]] = {}
            for row in new:
                names.setdefault(row.session, []).append(row.name)
            for session, some in names.items():
                there = self._known(db, session, some)
                kept |= {(session, name): digests for name, digests in there.items()}
        return [kept.get((row.session, row.name), row.digests) for row in rows]

    def _values(self, row: ToolRow) -> tuple[bytes | str | int, ...]:
        digests = " ".join(sorted(row.digests))
        return (self._run, row.session, row.name, digests, self._micros())

    def _delete(self, statement: str, values: tuple[bytes | int, ...]) -> None:
        deleted = AT_ONCE
        while deleted >= AT_ONCE:
            with self._file.writing() as db:
                deleted = db.execute(statement, values).rowcount

    def _micros(self) -> int:
        return int(self._clock() * 1e6)
