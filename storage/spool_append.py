"""The segments of one worker's life: made, appended to, rolled, and left for the recorder."""

import errno
import os
import secrets
from pathlib import Path

from llmtrace.storage.spool_files import (
    UNFINISHED,
    WRITER_LOCK,
    Segment,
    sync_directory,
    take_lock,
)
from llmtrace.storage.spool_format import HEADER_SIZE, Flag, Kind, encode
from llmtrace.storage.spool_io import SpoolIO
from llmtrace.storage.spool_sync import GroupSync, Waiter


class Appender:
    """Appends records, each with one ``write``. Not safe to share: its owner has a lock.

    A segment is only ever appended to, and never after a write to it came out short: the rest of
    such a record would stand in the way of those behind it, and taking it back would pull the
    file from under a reader.
    """

    def __init__(
        self, root: Path, name: str, *, segment_bytes: int, interval: float, io: SpoolIO
    ) -> None:
        """Keep the arguments; nothing is made before ``prepare`` or the first ``append``."""
        self._root = root
        self._name = name
        self._segment_bytes = segment_bytes
        self._interval = interval
        self._io = io
        self._lock_fd = -1
        self._prepared = False
        self._sync: GroupSync | None = None
        self._fd = -1
        self._segment = Segment(number=0, seed=0)
        self._size = 0
        self._spoiled = False
        self.sync_errors = 0

    @property
    def directory(self) -> Path:
        """Where the segments lie."""
        return self._root / self._name

    def prepare(self) -> None:
        """Make and lock the directory. Raises: OSError; it may be tried again."""
        if self._prepared:
            return
        if self._lock_fd < 0:
            self._lock_fd = self._make_directory()
        sync_directory(self._root, self._io)
        self._prepared = True

    def append(
        self,
        kind: Kind,
        trace_id: bytes,
        *,
        time_ns: int,
        payload: bytes,
        flags: Flag,
        waiter: Waiter | None = None,
    ) -> int:
        """Append one record and return its size in bytes.

        Raises:
            OSError: It could not be written whole. The next one may be tried at once.
        """
        self.prepare()
        size = HEADER_SIZE + len(payload)
        if self._fd < 0 or self._spoiled or self._size + size > max(self._segment_bytes, size):
            self._roll()
        for last in (self._size == 0, True):
            data = encode(
                kind,
                trace_id,
                time_ns=time_ns,
                seed=self._segment.seed,
                payload=payload,
                flags=flags,
            )
            error = self._write(data)
            if error is None:
                break
            if last:
                raise error
            self._roll()  # a size limit or a bad spot of the old segment is behind us then
        self._synced().appended(waiter)
        return size

    def close(self) -> None:
        """Sync and close all files, then let go of the lock."""
        if self._sync is not None:
            self._sync.close()
        if self._lock_fd >= 0:
            self._io.close(self._lock_fd)
        self._sync, self._lock_fd, self._fd, self._prepared = None, -1, -1, False

    def _make_directory(self) -> int:
        """Return the descriptor of the lock: taken before a reader can see the directory."""
        unfinished = self._root / f"{UNFINISHED}{self._name}"
        self._io.mkdir(self._root)
        self._io.mkdir(unfinished)
        lock_fd = take_lock(unfinished / WRITER_LOCK, self._io)
        if lock_fd is None:
            raise OSError(errno.EBUSY, "another process holds the lock of a new directory")
        try:
            self._io.rename(unfinished, self.directory)
        except OSError:
            self._io.close(lock_fd)
            raise
        return lock_fd

    def _roll(self) -> None:
        segment = Segment(number=self._segment.number + 1, seed=secrets.randbits(32))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        fd = self._io.open(self.directory / segment.name, flags)
        self._synced().replace(fd)
        self._fd, self._segment, self._size, self._spoiled = fd, segment, 0, False

    def _synced(self) -> GroupSync:
        if self._sync is None:
            self._sync = GroupSync(
                self.directory, interval=self._interval, io=self._io, on_error=self._sync_failed
            )
        return self._sync

    def _write(self, data: bytes) -> OSError | None:
        try:
            written = self._io.write(self._fd, data)
        except OSError as exc:
            return exc  # not a byte of it is there
        self._size += written
        if written == len(data):
            return None
        self._spoiled = True
        return OSError(errno.ENOSPC, f"{written} of {len(data)} bytes written")

    def _sync_failed(self, fd: int) -> None:
        # After a failed sync the kernel may forget the pages: what comes next goes elsewhere.
        self.sync_errors += 1
        self._spoiled = self._spoiled or (fd == self._fd and self._size > 0)
