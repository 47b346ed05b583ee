"""One SQLite file: the one connection that writes to it, and those that only read.

SQLite before 3.51.3 can corrupt a file when two connections write or checkpoint at the same
moment ("WAL-reset bug", https://sqlite.org/wal.html#walresetbug). So one connection on the whole
machine writes and checkpoints, and a second writer is refused; readers never checkpoint, not
even when they close.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from llmtrace.storage.base import (
    SchemaMismatch,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
)

LAYOUT: Final = ("m001_traces", "m002_bodies", "m003_metadata", "m004_decisions", "m005_plans")
"""The migrations that make the layout this version reads, as ``migrations`` names them."""

IDLE_READERS: Final = 4
MAX_WAL_BYTES: Final = 64 * 1024 * 1024

type Synchronous = Literal["NORMAL", "FULL"]

_BUSY: Final = "it is locked; close the program that holds it open (a shell, a backup)"
_ACCESS: Final = "it cannot be read or written; check its disk and the rights of its folder"
_DAMAGED: Final = (
    "the file is damaged or no SQLite database; move it away and start again, and save what can "
    "be read with 'sqlite3 FILE .recover'"
)
_FAILURES: Final[dict[int, tuple[type[StorageError], str]]] = {
    sqlite3.SQLITE_BUSY: (StorageUnavailable, _BUSY),
    sqlite3.SQLITE_LOCKED: (StorageUnavailable, _BUSY),
    sqlite3.SQLITE_FULL: (
        StorageUnavailable,
        "the disk is full; free space, or keep less with storage.retention_days",
    ),
    sqlite3.SQLITE_IOERR: (StorageUnavailable, _ACCESS),
    sqlite3.SQLITE_CANTOPEN: (StorageUnavailable, _ACCESS),
    sqlite3.SQLITE_READONLY: (StorageUnavailable, _ACCESS),
    sqlite3.SQLITE_PERM: (StorageUnavailable, _ACCESS),
    sqlite3.SQLITE_NOMEM: (StorageUnavailable, "there is no memory left"),
    sqlite3.SQLITE_CORRUPT: (StorageCorrupt, _DAMAGED),
    sqlite3.SQLITE_NOTADB: (StorageCorrupt, _DAMAGED),
}


class Damaged(Exception):
    """What was read is not what was written. ``translated`` says in which file."""


class SqliteFile:
    """A database file, made and laid out when it is opened. Safe to share between threads.

    Nothing is written while the layout is up to date, so any number of processes may open the
    file; the first that writes is its writer until it closes or dies.

    ``synchronous`` NORMAL survives the death of any process, FULL a power cut too.
    ``busy_timeout_ms`` is how long a call waits for a lock. With ``read_only`` the file must be
    there, and up to date.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Synchronous = "NORMAL",
        busy_timeout_ms: int = 5_000,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._timeout = busy_timeout_ms / 1000
        self._read_only = read_only
        self._write_lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._claim: sqlite3.Connection | None = None
        self._readers: deque[sqlite3.Connection] = deque()
        self._holders = 1
        self._closed = False
        try:
            with self._translated():
                self._open()
        except BaseException:
            self.close()
            raise

    def share(self) -> "SqliteFile":
        """Count one more holder: the file is closed when each of them has closed it."""
        self._holders += 1
        return self

    def close(self) -> None:
        """Let go of the file. The writer moves its journal into it first, if nobody reads."""
        self._holders -= 1
        if self._holders > 0 or self._closed:
            return
        with self._write_lock:
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            self._drop_writer()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the one connection that writes, inside a transaction.

        Raises:
            StorageUnavailable: Another process writes, or the disk is full; nothing was kept.
            StorageCorrupt: The file is damaged.
        """
        with self._write_lock, self._translated():
            connection = self._writer()
            with connection:  # commits, or rolls back and raises
                connection.execute("BEGIN IMMEDIATE")
                yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Borrow a connection that cannot write; all that is read in it is of one moment.

        Raises:
            StorageUnavailable: The file cannot be reached now.
            StorageCorrupt: The file is damaged.
        """
        with self._translated():
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
    def maintaining(self) -> Iterator[sqlite3.Connection]:
        """Hold the one connection that writes, outside of a transaction (for PRAGMAs)."""
        with self._write_lock, self._translated():
            yield self._writer()

    def _open(self) -> None:
        if self._read_only and not self.path.exists():
            raise StorageUnavailable(
                f"{self.path}: there is no such database; 'llmtrace proxy' makes it"
            )
        if not self._read_only:
            make_private(self.path)
        applied = self._applied()
        if unknown := [name for name in applied if name not in LAYOUT]:
            raise SchemaMismatch(
                f"{self.path}: laid out by a newer version of LLMTrace ({unknown[-1]!r} is not "
                f"among {LAYOUT[0]!r}…{LAYOUT[-1]!r}); run that version, or set another "
                "storage.database_path"
            )
        missing = [name for name in LAYOUT if name not in applied]
        if missing and self._read_only:
            raise SchemaMismatch(
                f"{self.path}: laid out by an older version of LLMTrace (without {missing[0]!r}); "
                "start 'llmtrace proxy' once to bring it up to date"
            )
        if missing:
            self._lay_out()

    def _applied(self) -> list[str]:
        with self.reading() as connection:
            if not connection.execute(
                "SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'"
            ).fetchone():
                return []
            rows = connection.execute(
                "SELECT name FROM _sqlite_migrations WHERE migration_set = 'llmtrace' ORDER BY id"
            )
            return [name for (name,) in rows]

    def _lay_out(self) -> None:
        from llmtrace.storage.migrations import migrate  # sqlite-utils takes 0.2 s to import

        with self._write_lock, self._translated():
            migrate(self._writer())

    def _connect(self, path: Path) -> sqlite3.Connection:
        if self._closed:
            raise StorageError(f"{path}: the store is closed")
        return sqlite3.connect(
            path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )

    def _writer(self) -> sqlite3.Connection:
        if self._read_only:
            raise StorageError(f"{self.path}: opened for reading only")
        if self._claim is None:
            self._claim = self._claimed()
        if self._connection is None:
            self._connection = self._configured(
                "PRAGMA auto_vacuum = INCREMENTAL",  # only before the first table is made
                "PRAGMA journal_mode = WAL",
                f"PRAGMA synchronous = {self._synchronous}",
                f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}",
                "PRAGMA secure_delete = FAST",  # what is deleted is overwritten where that is free
            )
        return self._connection

    def _configured(self, *pragmas: str) -> sqlite3.Connection:
        connection = self._connect(self.path)
        try:
            for pragma in pragmas:
                connection.execute(pragma).fetchall()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _claimed(self) -> sqlite3.Connection:
        """Take the lock that a writer holds for as long as it lives, on any system.

        An empty SQLite file serves as the lock: SQLite locks it the same way everywhere, and the
        system lets go of it when the process dies.
        """
        path = self.path.with_name(self.path.name + "-writer")
        make_private(path)
        claim = self._connect(path)
        try:
            claim.execute("PRAGMA journal_mode = MEMORY").fetchall()
            claim.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            claim.close()
            raise StorageUnavailable(
                f"{self.path}: another LLMTrace process writes to it; stop that one, or set "
                "another storage.database_path"
            ) from error
        return claim

    def _drop_writer(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):  # the journal is read at the next start instead
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.close()
            self._connection = None
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _borrow(self) -> sqlite3.Connection:
        try:
            return self._readers.pop()
        except IndexError:
            pass
        connection = self._configured("PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0")
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        return connection

    def _give_back(self, connection: sqlite3.Connection, *, usable: bool) -> None:
        if usable and not self._closed and len(self._readers) < IDLE_READERS:
            self._readers.append(connection)
        else:
            connection.close()

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.path)


def make_private(path: Path) -> None:
    """Make the file if it is not there, and let nobody but its owner read it.

    A file that is there is never opened: closing it again would drop the locks that SQLite holds
    on it in this process (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StorageUnavailable(
            f"{path}: {error.strerror or type(error).__name__}; "
            "check storage.database_path and the rights of its folder"
        ) from error


class translated:  # noqa: N801  # used as a function; a generator would take three times as long
    """Turn what SQLite raises into errors that name the file and the way out.

    SQLite's own message is left behind: it may quote what was searched for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise it anew. Raises: StorageError."""
        if isinstance(error, sqlite3.Error):
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            made, remedy = _FAILURES.get(code, (StorageError, "the statement failed"))
            raise made(f"{self._path}: {remedy} ({name})") from None
        if isinstance(error, Damaged):
            raise StorageCorrupt(f"{self._path}: {error}; {_DAMAGED}") from error
