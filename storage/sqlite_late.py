"""A shared SQLite file that cannot be opened yet: it is tried again with each use."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from sqlite3 import Connection

from llmtrace.storage.base import StorageError
from llmtrace.storage.sqlite_shared import SharedSqliteFile


class LateSqliteFile:
    """Stands in the place of a ``SharedSqliteFile`` until it can be opened, and then for it.

    Each use raises what opening it raises. Safe to share between threads.
    """

    def __init__(self, path: Path, *, timeout: float) -> None:
        self.path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._file: SharedSqliteFile | None = None
        self._closed = False

    @property
    def turn(self) -> int:
        """The number of the transaction through this object that is under way, or was the last."""
        return 0 if self._file is None else self._file.turn

    @property
    def committed(self) -> int:
        """The number of the last that was committed."""
        return 0 if self._file is None else self._file.committed

    def writing(self) -> AbstractContextManager[Connection]:
        """Hold the connection that writes. Raises: StorageError."""
        return self._opened().writing()

    @contextmanager
    def writing_now(self) -> Iterator[Connection | None]:
        """Do as ``writing`` if nobody has to be waited for; to open the file may take a while."""
        if self._file is None:
            yield None
            return
        with self._file.writing_now() as db:
            yield db

    def reading(self) -> AbstractContextManager[Connection]:
        """Borrow a connection that cannot write. Raises: StorageError."""
        return self._opened().reading()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def _opened(self) -> SharedSqliteFile:
        with self._lock:
            if self._closed:
                raise StorageError(f"{self.path}: the store is closed")
            if self._file is None:
                self._file = SharedSqliteFile(self.path, timeout=self._timeout)
            return self._file
