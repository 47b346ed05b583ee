"""Moves the journal of a shared SQLite file into it, without keeping its writers waiting.

A checkpoint syncs the journal, then writes and syncs the file. Where a commit does that, one call
in a hundred waits 20 ms and more. Here a thread syncs the journal while others may write, and
holds them up only for the little that is left: some milliseconds.
"""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from llmtrace.storage.base import StorageError

logger = logging.getLogger(__name__)

AFTER_COMMITS: Final = 500
"""About 3,000 pages of 4 KiB in the journal: two seconds at 200 calls a second."""

LATE_AFTER: Final = 4 * AFTER_COMMITS
"""Before so many commits have filled the journal so far that one of them would move it."""

_END_SECONDS: Final = 10.0


class Checkpointer:
    """Runs ``checkpoint``, which takes the lock of the file, after each so many commits.

    The thread starts with the first checkpoint and ends with ``close``.
    """

    def __init__(self, wal: Path, checkpoint: Callable[[], None]) -> None:
        self._wal = wal
        self._checkpoint = checkpoint
        self._commits = 0
        self._since = 0
        """Commits since the last checkpoint that was made."""
        self._due = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def is_late(self) -> bool:
        """Whether a commit may have to do the thread's work, which takes a while."""
        return self._since >= LATE_AFTER

    def committed(self) -> None:
        """Count a commit; the caller holds the lock of the file."""
        self._commits += 1
        self._since += 1
        if self._commits >= AFTER_COMMITS:
            self._commits = 0
            self._due.set()
            if self._thread is None:
                name = f"checkpoint {self._wal.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread. A checkpoint that runs is finished first."""
        self._closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while self._due.wait() and not self._closed:
            self._due.clear()
            try:
                sync(self._wal)
                self._checkpoint()
                self._since = 0
            except StorageError as error:  # a commit does it when the journal gets long
                logger.warning("checkpoint put off: %s", error)


def sync(wal: Path) -> None:
    """Bring the journal onto the disk. What fails here is told by the checkpoint.

    SQLite locks the file and the ``-shm``, never the ``-wal``: closing that drops no lock.
    """
    with suppress(OSError):
        descriptor = os.open(wal, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
