"""One SQLite file that several processes write to: budgets, keys, tenants, tools and the audit log.

SQLite before 3.51.3 can corrupt a file when two connections write or checkpoint at the same
moment ("WAL-reset bug", https://sqlite.org/wal.html#walresetbug). So every write transaction,
and the checkpoint that may end it, runs under one lock between processes; readers never
checkpoint, not even when they close. Waiting for that lock is also fairer and shorter than
SQLite's own waiting, whose pauses grow to a tenth of a second.
"""

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from llmtrace.storage.base import SchemaMismatch, StorageError, StorageUnavailable
from llmtrace.storage.file_lock import FileLock
from llmtrace.storage.sqlite_checkpoint import Checkpointer
from llmtrace.storage.sqlite_file import IDLE_READERS, make_private, translated
from llmtrace.storage.sqlite_identity_tables import IDENTITY
from llmtrace.storage.sqlite_ledger_tables import LEDGER
from llmtrace.storage.sqlite_tool_tables import TOOLS

LAYOUT: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("m001_ledger", LEDGER),
    ("m002_identity", IDENTITY),
    ("m003_tools", TOOLS),
)
"""What makes the layout that this version reads: a name and its statements, one transaction
each, in this order. Never edited after release."""

MOST_PAGES: Final = 20_000
"""A commit moves the journal into the file when it has so many pages of 4 KiB, because the thread
that should have done so could not."""

_RECORDS: Final = """
CREATE TABLE IF NOT EXISTS layout (
    name TEXT PRIMARY KEY NOT NULL,
    applied_at INTEGER NOT NULL -- microseconds since 1970, UTC
)
"""


class SharedSqliteFile:
    """A database file that any number of processes may write to, laid out when it is opened.

    Safe to share between threads, not with a process that is forked off afterwards. What is
    committed survives the death of any process; a power cut may take the last seconds, and
    leaves the file whole. ``timeout`` is how long a call waits for others, in seconds.
    """

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self.path = path
        self.turn = 0
        """The number of the transaction through this object that is under way, or was the last."""
        self.committed = 0
        """The number of the last that was committed."""
        self._timeout = timeout
        self._holders = 1
        self._count = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: deque[sqlite3.Connection] = deque()
        self._closed = False
        self._waits = True
        """Whether the writer waits for programs that do not know the lock."""
        wal = path.with_name(path.name + "-wal")
        self._checkpointer = Checkpointer(wal, self._move_journal)
        make_private(path)
        self._lock = self._open_lock()
        try:
            self._lay_out()
        except BaseException:
            self.close()
            raise

    def share(self) -> "SharedSqliteFile":
        """Count one more holder: the file is closed when each of them has closed it."""
        with self._count:
            self._holders += 1
        return self

    def close(self) -> None:
        """Let go of the file."""
        with self._count:
            self._holders -= 1
            if self._holders > 0 or self._closed:
                return
            self._closed = True
        self._checkpointer.close()
        while self._readers:
            self._readers.pop().close()
        with suppress(StorageError), self._locked():  # the journal is read at the next start
            if self._writer is not None:
                self._writer.execute("PRAGMA busy_timeout = 0").fetchall()
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if self._writer is not None:
            self._writer.close()
        self._lock.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection that writes, inside a transaction; no one else writes meanwhile.

        Raises:
            StorageUnavailable: Others did not let go in time, the disk is full or cannot be
                written; nothing was kept.
            StorageCorrupt: The file is damaged.
        """
        with self._locked():
            connection = self._waiting(True)
            with connection:  # commits, or rolls back and raises
                connection.execute("BEGIN IMMEDIATE")
                self.turn += 1
                yield connection
            self.committed = self.turn
            self._checkpointer.committed()

    @contextmanager
    def writing_now(self) -> Iterator[sqlite3.Connection | None]:
        """Do as ``writing`` if nobody has to be waited for; None if somebody has to be.

        For an event loop: what is written goes to the page cache, and no checkpoint is waited for.
        """
        if self._checkpointer.is_late or not self._acquire_now():
            yield None
            return
        try:
            with translated(self.path):
                connection = self._waiting(False)
                if not _begun(connection):
                    yield None
                    return
                self.turn += 1
                with connection:  # commits, or rolls back and raises
                    yield connection
                self.committed = self.turn
                self._checkpointer.committed()
        finally:
            self._lock.release()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Borrow a connection that cannot write; all that is read in it is of one moment.

        Raises:
            StorageUnavailable: The file cannot be reached now.
            StorageCorrupt: The file is damaged.
        """
        with translated(self.path):
            connection = self._borrow()
            usable = False
            try:
                with connection:
                    connection.execute("BEGIN")
                    yield connection
                usable = True
            finally:
                self._give_back(connection, usable=usable)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._acquire()
        try:
            with translated(self.path):
                yield
        finally:
            self._lock.release()

    def _acquire(self) -> None:
        try:
            self._lock.acquire()
        except TimeoutError as error:
            raise StorageUnavailable(
                f"{self.path}: others have written to it for {self._timeout:g} s; look for a "
                "stopped LLMTrace process, and end it"
            ) from error
        except OSError as error:
            raise _unusable(self._lock.path, error) from error
        except ValueError as error:
            raise StorageError(str(error)) from error

    def _acquire_now(self) -> bool:
        try:
            return self._lock.acquire_now()
        except OSError as error:
            raise _unusable(self._lock.path, error) from error
        except ValueError as error:
            raise StorageError(str(error)) from error

    def _waiting(self, waits: bool) -> sqlite3.Connection:
        """Return the connection that writes, and have it wait for others or not."""
        connection = self._connection()
        if waits is not self._waits:
            milliseconds = int(self._timeout * 1000) if waits else 0
            connection.execute(f"PRAGMA busy_timeout = {milliseconds}").fetchall()
            self._waits = waits
        return connection

    def _move_journal(self) -> None:
        with self._locked():
            if self._writer is not None:
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _open_lock(self) -> FileLock:
        path = self.path.with_name(self.path.name + "-lock")
        try:
            return FileLock(path, timeout=self._timeout)
        except OSError as error:
            raise _unusable(path, error) from error

    def _connection(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = self._configured(
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = NORMAL",
                f"PRAGMA wal_autocheckpoint = {MOST_PAGES}",  # in a commit: under the lock
                "PRAGMA secure_delete = FAST",  # what is deleted is overwritten where that is free
            )
        return self._writer

    def _borrow(self) -> sqlite3.Connection:
        try:
            return self._readers.pop()
        except IndexError:
            return self._configured("PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0")

    def _give_back(self, connection: sqlite3.Connection, *, usable: bool) -> None:
        if usable and not self._closed and len(self._readers) < IDLE_READERS:
            self._readers.append(connection)
        else:
            connection.close()

    def _configured(self, *pragmas: str) -> sqlite3.Connection:
        if self._closed:
            raise StorageError(f"{self.path}: the store is closed")
        connection = sqlite3.connect(
            self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
            for pragma in pragmas:
                connection.execute(pragma).fetchall()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _lay_out(self) -> None:
        if not self._missing():
            return
        with self.writing() as db:
            db.execute(_RECORDS)
        for name, statements in LAYOUT:
            with self.writing() as db:
                if name not in _applied(db):  # another process was faster
                    for statement in statements:
                        db.execute(statement)
                    db.execute("INSERT INTO layout VALUES (?, ?)", (name, time.time_ns() // 1000))

    def _missing(self) -> bool:
        with self.reading() as db:
            made = "SELECT 1 FROM sqlite_schema WHERE name = 'layout'"
            applied = _applied(db) if db.execute(made).fetchone() else set()
        known = {name for name, _ in LAYOUT}
        if newer := sorted(applied - known):
            raise SchemaMismatch(
                f"{self.path}: laid out by another version of LLMTrace ({newer[-1]!r} is not among "
                f"{LAYOUT[0][0]!r}…{LAYOUT[-1][0]!r}); run that version, or move the file away to "
                "start with empty budgets and without keys"
            )
        return applied < known


def _begun(connection: sqlite3.Connection) -> bool:
    """Begin a transaction that writes, unless another program holds the file."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


def _applied(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM layout")}


def _unusable(path: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"{path}: {error.strerror or os.strerror(error.errno or 0)}; check its disk and the "
        "rights of its folder"
    )
