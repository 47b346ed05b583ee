"""Brings what was appended to the disk, in one thread, for many appends at once."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from llmtrace.storage.spool_files import sync_directory
from llmtrace.storage.spool_io import SpoolIO

logger = logging.getLogger(__name__)

type Waiter = Callable[[OSError | None], None]


class GroupSync:
    """Syncs the files of one writer.

    Whoever appends says so with ``appended``. The thread then waits ``interval`` seconds, so
    that more may come, and syncs once for all; if somebody waits, it does not wait. Files that
    are not appended to any more are ``retired``: they are synced once more and closed here.
    """

    def __init__(
        self, directory: Path, *, interval: float, io: SpoolIO, on_error: Callable[[int], None]
    ) -> None:
        """``on_error`` is called in the thread with the descriptor that could not be synced."""
        self._directory = directory
        self._interval = interval
        self._io = io
        self._on_error = on_error
        self._changed = threading.Condition()
        self._fd = -1
        self._retired: list[int] = []
        self._new_names = False
        self._appended = 0
        self._synced = 0
        self._waiters: list[tuple[int, Waiter]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="spool-sync", daemon=True)
        self._thread.start()

    def replace(self, fd: int) -> None:
        """Take a new file; the one before it is retired."""
        with self._changed:
            self._retire()
            self._fd, self._new_names = fd, True

    def retire(self) -> None:
        """Sync the file once more and close it."""
        with self._changed:
            self._retire()

    def appended(self, waiter: Waiter | None = None) -> None:
        """Note that something was appended; the waiter is called in the thread once it is safe.

        It gets the error if a sync failed since then.
        """
        with self._changed:
            if waiter is not None:
                self._waiters.append((self._appended + 1, waiter))
            if waiter is not None or self._appended == self._synced:
                self._changed.notify()  # else the thread is up already
            self._appended += 1

    def close(self) -> None:
        """Sync, close all files, and end the thread."""
        with self._changed:
            self._retire()
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _retire(self) -> None:
        if self._fd >= 0:
            self._retired.append(self._fd)
            self._fd = -1
            self._appended += 1
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._appended > self._synced)
                self._changed.wait_for(lambda: self._closing or self._waiters, self._interval)
                if self._closing and self._appended == self._synced:
                    return
            self._sync()

    def _sync(self) -> None:
        with self._changed:
            mark, fd, new_names = self._appended, self._fd, self._new_names
            retired, self._retired = self._retired, []
            self._new_names = False
        error: OSError | None = None
        for old in retired:
            error = self._attempt(self._io.sync, old) or error
            self._attempt(self._io.close, old)
        if new_names:
            failed = self._attempt(lambda _: sync_directory(self._directory, self._io), fd)
            self._new_names = self._new_names or failed is not None
            error = failed or error
        if fd >= 0:
            error = self._attempt(self._io.sync, fd) or error
        with self._changed:
            self._synced = mark
            due = [waiter for ticket, waiter in self._waiters if ticket <= mark]
            self._waiters = [each for each in self._waiters if each[0] > mark]
        for waiter in due:
            waiter(error)

    def _attempt(self, call: Callable[[int], None], fd: int) -> OSError | None:
        try:
            call(fd)
        except OSError as exc:
            logger.error("spool %s: sync failed: %s", self._directory.name, exc.strerror)
            self._on_error(fd)
            return exc
        return None
