"""System calls that fail when a test wants them to."""

import errno
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from llmtrace.storage.spool_io import FileInfo, OsIO

FALLIBLE: Final = frozenset(
    {
        "open",
        "write",
        "read",
        "sync",
        "close",
        "lock",
        "mkdir",
        "rename",
        "unlink",
        "rmdir",
        "truncate",
        "listdir",
        "free_bytes",
    }
)


class FaultyIO:
    """The system's calls, of which number ``fail_at`` (from 1) raises, or all in ``broken``.

    A failing ``close`` closes all the same, as on Linux. ``short_writes`` makes each write that
    is due to fail take half of its bytes instead. Safe to share between threads.
    """

    def __init__(
        self,
        *,
        fail_at: int = 0,
        broken: frozenset[str] = frozenset(),
        code: int = errno.EIO,
        short_writes: bool = False,
        free: int | None = None,
    ) -> None:
        self.fail_at = fail_at
        self.broken = broken
        self.code = code
        self.short_writes = short_writes
        self.free = free
        self.calls = 0
        self.failed: list[str] = []
        self._real = OsIO()
        self._lock = threading.Lock()

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """As ``os.open``."""
        self._step("open")
        return self._real.open(path, flags, mode)

    def write(self, fd: int, data: bytes) -> int:
        """As ``os.write``."""
        try:
            self._step("write")
        except OSError:
            if self.short_writes and len(data) > 1:
                return self._real.write(fd, data[: len(data) // 2])
            raise
        return self._real.write(fd, data)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """As ``os.pread``."""
        self._step("read")
        return self._real.read(fd, size, offset)

    def sync(self, fd: int) -> None:
        """As ``os.fdatasync``."""
        self._step("sync")
        self._real.sync(fd)

    def close(self, fd: int) -> None:
        """As ``os.close``."""
        self._real.close(fd)
        self._step("close")

    def lock(self, fd: int) -> bool:
        """As ``flock``."""
        self._step("lock")
        return self._real.lock(fd)

    def mkdir(self, path: Path) -> None:
        """As ``os.makedirs``."""
        self._step("mkdir")
        self._real.mkdir(path)

    def rename(self, old: Path, new: Path) -> None:
        """As ``os.replace``."""
        self._step("rename")
        self._real.rename(old, new)

    def unlink(self, path: Path) -> None:
        """As ``os.unlink``."""
        self._step("unlink")
        self._real.unlink(path)

    def rmdir(self, path: Path) -> None:
        """As ``os.rmdir``."""
        self._step("rmdir")
        self._real.rmdir(path)

    def truncate(self, path: Path, size: int) -> None:
        """As ``os.truncate``."""
        self._step("truncate")
        self._real.truncate(path, size)

    def listdir(self, path: Path) -> Sequence[FileInfo]:
        """As ``os.scandir``."""
        self._step("listdir")
        return self._real.listdir(path)

    def free_bytes(self, path: Path) -> int:
        """As ``os.statvfs``, or what the test says."""
        self._step("free_bytes")
        return self._real.free_bytes(path) if self.free is None else self.free

    def _step(self, name: str) -> None:
        with self._lock:
            self.calls += 1
            if self.calls == self.fail_at or name in self.broken:
                self.failed.append(name)
                raise OSError(self.code, f"injected into {name}")
