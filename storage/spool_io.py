"""The system calls that the spool makes, behind one protocol so that each can be made to fail."""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_datasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """An entry of a directory. ``size`` is in bytes, ``mtime`` in seconds since the epoch."""

    name: str
    size: int
    mtime: float
    is_dir: bool


class SpoolIO(Protocol):
    """One method for each system call. Each raises OSError as the call does."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Return a descriptor. It is not inherited over exec."""
        ...

    def write(self, fd: int, data: bytes) -> int:
        """Return how many bytes were written, which may be fewer than there are."""
        ...

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``, none at the end."""
        ...

    def sync(self, fd: int) -> None:
        """Wait until what was written is on the disk (fdatasync)."""
        ...

    def close(self, fd: int) -> None:
        """Give the descriptor back."""
        ...

    def lock(self, fd: int) -> bool:
        """Try to get the exclusive lock of an open file (flock) without waiting."""
        ...

    def mkdir(self, path: Path) -> None:
        """Make a directory for the owner alone; one that is there is no error."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Replace ``new`` by ``old`` at once."""
        ...

    def unlink(self, path: Path) -> None:
        """Delete a file; one that is not there is no error."""
        ...

    def rmdir(self, path: Path) -> None:
        """Delete an empty directory."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to ``size`` bytes."""
        ...

    def listdir(self, path: Path) -> Sequence[FileInfo]:
        """Return what is in a directory, by name; nothing if there is no such directory."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Return how many bytes of its file system may still be used."""
        ...


class OsIO:
    """The calls of the operating system."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """As ``os.open``."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def write(self, fd: int, data: bytes) -> int:
        """As ``os.write``."""
        return os.write(fd, data)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """As ``os.pread``."""
        return os.pread(fd, size, offset)

    def sync(self, fd: int) -> None:
        """As ``os.fdatasync``."""
        _datasync(fd)

    def close(self, fd: int) -> None:
        """As ``os.close``."""
        os.close(fd)

    def lock(self, fd: int) -> bool:
        """As ``fcntl.flock`` with ``LOCK_EX | LOCK_NB``."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def mkdir(self, path: Path) -> None:
        """As ``os.makedirs`` with mode 0700."""
        os.makedirs(path, mode=0o700, exist_ok=True)

    def rename(self, old: Path, new: Path) -> None:
        """As ``os.replace``."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """As ``os.unlink``."""
        path.unlink(missing_ok=True)

    def rmdir(self, path: Path) -> None:
        """As ``os.rmdir``."""
        path.rmdir()

    def truncate(self, path: Path, size: int) -> None:
        """As ``os.truncate``."""
        os.truncate(path, size)

    def listdir(self, path: Path) -> Sequence[FileInfo]:
        """As ``os.scandir``; what vanishes meanwhile is left out."""
        found: list[FileInfo] = []
        try:
            entries = list(os.scandir(path))
        except FileNotFoundError:
            return found
        for entry in sorted(entries, key=lambda each: each.name):
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            is_dir = entry.is_dir(follow_symlinks=False)
            found.append(
                FileInfo(name=entry.name, size=stat.st_size, mtime=stat.st_mtime, is_dir=is_dir)
            )
        return found

    def free_bytes(self, path: Path) -> int:
        """As ``os.statvfs``: what is free for this user."""
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize


OS_IO: Final[SpoolIO] = OsIO()
