"""A lock between processes: a file that the system unlocks when its holder dies.

Waiting is bounded, so that a stopped process holds up nobody for ever.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

PAUSE_SECONDS: Final = 0.0002
"""Between two tries: about as long as the lock is held once."""


class FileLock:
    """One lock for all threads of all processes that name the same file. Not re-entrant.

    The file is made, readable by its owner only, and stays. ``timeout`` is in seconds.
    """

    def __init__(self, path: Path, *, timeout: float) -> None:
        """Open the file. Raises: OSError."""
        self.path = path
        self._timeout = timeout
        self._threads = threading.Lock()
        self._forks = _forks
        self._descriptor: int | None = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)

    def acquire(self) -> None:
        """Take the lock; ``release`` gives it back.

        Raises:
            TimeoutError: Others have held it for longer than ``timeout``.
            OSError: The system cannot lock the file.
            ValueError: The lock is closed, or was opened before this process was forked.
        """
        ends = time.monotonic() + self._timeout
        if not self._threads.acquire(timeout=self._timeout):
            raise TimeoutError(f"{self.path}: held by a thread for {self._timeout:g} s")
        try:
            descriptor = self._usable()
            while not _locked(descriptor):
                if time.monotonic() >= ends:
                    raise TimeoutError(f"{self.path}: held by a process for {self._timeout:g} s")
                time.sleep(PAUSE_SECONDS)
        except BaseException:
            self._threads.release()
            raise

    def acquire_now(self) -> bool:
        """Take the lock if it is free; whether it was.

        Raises:
            OSError: The system cannot lock the file.
            ValueError: The lock is closed, or was opened before this process was forked.
        """
        if not self._threads.acquire(blocking=False):
            return False
        try:
            taken = _locked(self._usable())
        except BaseException:
            self._threads.release()
            raise
        if not taken:
            self._threads.release()
        return taken

    def release(self) -> None:
        """Give back what ``acquire`` took, in the same thread."""
        try:
            _unlock(self._usable())
        finally:
            self._threads.release()

    def close(self) -> None:
        """Close the file, once it is free. Closing again does nothing."""
        with self._threads:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _usable(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path}: the lock is closed")
        if self._forks != _forks:  # a fork shares the lock of its parent: it excludes nobody
            raise ValueError(f"{self.path}: opened before a fork; open it in the child")
        return self._descriptor


_forks = 0
"""How often this process was forked off, itself or one of those that it comes from."""


def _forked() -> None:
    global _forks  # of the process, as a fork is
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _locked(descriptor: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_UN)
