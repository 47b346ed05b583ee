"""Sealed values in a SQLite file of their own, written behind the calls that need them.

All workers of a host write to it, seldom and little, so it has no write-ahead log: the file that
``sqlite_file`` keeps has one, and may have one writer only.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from llmtrace.storage.base import SchemaMismatch, StorageError, StorageUnavailable
from llmtrace.storage.sqlite_file import translated

logger = logging.getLogger(__name__)

LAYOUT: Final = 1
"""What ``PRAGMA user_version`` says of a file that this version reads."""
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS vault (
    tenant TEXT NOT NULL,
    masked TEXT NOT NULL, -- the placeholder
    sealed BLOB NOT NULL, -- AES-GCM: nonce, then what the placeholder stands for
    expires REAL NOT NULL, -- seconds since 1970
    PRIMARY KEY (tenant, masked)
) WITHOUT ROWID, STRICT
"""
READ_SECONDS: Final = 0.5
"""Longest wait for a lock when a value is read: a call waits with it."""
WRITE_SECONDS: Final = 10.0
PURGE_SECONDS: Final = 3600.0
MAX_WAITING: Final = 10_000
"""Values that wait to be written; more are not kept."""


class SqliteVault:
    """Keeps sealed values in one file, private to its owner.

    What is put can be read at once here, and by other processes as soon as the one thread that
    writes has written it, mostly within some milliseconds; a killed process loses what waits.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open or make the file, and delete what has expired in it.

        Raises:
            StorageError: It cannot be used; the message names it and the way out.
        """
        self._path = path
        self._clock = clock
        self._waiting: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="vault")
        self._purged = clock()
        self._closed = False
        _make_private(path)
        with self._connected(WRITE_SECONDS) as file:
            _lay_out(file, path)
        self.purge(self._purged)

    def put(self, tenant: str, masked: str, sealed: bytes, expires: float) -> None:
        """Keep a value: at once in memory, soon in the file."""
        with self._lock:
            if self._closed:
                raise StorageError(f"{self._path}: the store is closed")
            if len(self._waiting) >= MAX_WAITING:
                raise StorageUnavailable(f"{self._path}: {MAX_WAITING} values wait to be written")
            idle = not self._waiting
            self._waiting[tenant, masked] = (sealed, expires)
            if idle:
                self._writer.submit(self._flush)

    def get(self, tenant: str, masked: str, now: float) -> bytes | None:
        """Return a value that has not expired."""
        with self._lock:
            sealed, expires = self._waiting.get((tenant, masked), (None, 0.0))
        if sealed is not None:
            return sealed if expires > now else None
        query = "SELECT sealed FROM vault WHERE tenant = ? AND masked = ? AND expires > ?"
        with self._connected(READ_SECONDS) as file:
            row = file.execute(query, (tenant, masked, now)).fetchone()
        return bytes(row[0]) if row else None

    def purge(self, before: float) -> None:
        """Delete what expired before a time."""
        with self._connected(WRITE_SECONDS) as file:
            file.execute("DELETE FROM vault WHERE expires < ?", (before,))

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        with self._lock:
            self._closed = True
        self._writer.shutdown(wait=True)

    def _flush(self) -> None:
        """Write all that waits, until nothing does. In the one thread that writes."""
        while batch := self._batch():
            try:
                self._write([(*key, *value) for key, value in batch.items()])
            except StorageError as error:
                logger.warning("hidden values will not outlive this process: %s", error)
            with self._lock:
                for key, value in batch.items():
                    if self._waiting.get(key) == value:
                        del self._waiting[key]

    def _batch(self) -> dict[tuple[str, str], tuple[bytes, float]]:
        with self._lock:
            return dict(self._waiting)

    def _write(self, rows: list[tuple[str, str, bytes, float]]) -> None:
        with self._connected(WRITE_SECONDS) as file:
            file.executemany("REPLACE INTO vault VALUES (?, ?, ?, ?)", rows)
        now = self._clock()
        if now - self._purged > PURGE_SECONDS:
            self._purged = now
            self.purge(now)

    @contextmanager
    def _connected(self, seconds: float) -> Iterator[sqlite3.Connection]:
        """Hold a connection, inside one transaction. Raises: StorageError."""
        with (
            translated(self._path),
            closing(sqlite3.connect(self._path, timeout=seconds)) as file,
            file,
        ):
            yield file


def _lay_out(file: sqlite3.Connection, path: Path) -> None:
    (layout,) = file.execute("PRAGMA user_version").fetchone()
    if layout > LAYOUT:
        raise SchemaMismatch(
            f"{path}: laid out by a newer version of LLMTrace; run that version, or move the file "
            "away: values that wait to come back are lost with it"
        )
    file.execute(SCHEMA)
    if layout != LAYOUT:
        file.execute(f"PRAGMA user_version = {LAYOUT}")


def _make_private(path: Path) -> None:
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StorageUnavailable(
            f"{path}: {error.strerror or type(error).__name__}; check the rights of its folder"
        ) from error
