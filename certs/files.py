"""Files that hold keys: private directories, atomic writes, one writer at a time."""

import contextlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644
TEMPORARY_SUFFIX: Final = ".partial"


def make_private_directory(path: Path) -> None:
    """Create ``path`` with mode 0700 where there is none, parents included.

    Raises:
        NotADirectoryError: Something else stands there.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True)
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: expected a directory; move what stands there away")


def repair_mode(path: Path, mode: int) -> bool:
    """Take away what ``path`` allows beyond ``mode``; return whether anything had to go.

    Raises:
        PermissionError: The file is another user's, or its mode cannot be changed.
    """
    if sys.platform == "win32":  # no POSIX modes: the profile directory's ACL protects it
        return False
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"{path}: belongs to user {found.st_uid}, expected {os.geteuid()}; whoever owns it "
            "can read the key. Give it back with chown, or set LLMTRACE_HOME to a folder of yours."
        )
    if not stat.S_IMODE(found.st_mode) & ~mode:
        return False
    try:
        path.chmod(stat.S_IMODE(found.st_mode) & mode)
    except OSError as error:
        raise PermissionError(
            f"{path}: mode is {stat.S_IMODE(found.st_mode):04o}, expected {mode:04o}, and it "
            f"cannot be changed ({error.strerror}). Run 'chmod {mode:o} {path}'."
        ) from error
    return True


def write_atomic(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace ``path`` by ``content``, so that a reader sees the old file or the new one.

    The bytes are on the disk before the name is; a crash leaves at most a ``.partial`` file.
    """
    descriptor, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY_SUFFIX
    )
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(mode)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def write_if_changed(path: Path, content: bytes, *, mode: int) -> bool:
    """Write ``content`` unless it is there already; return whether it was written."""
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
    write_atomic(path, content, mode=mode)
    return True


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes.

    Raises:
        ValueError: It is larger.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path}: is larger than {limit} bytes, so it is not what it should be")
    return content


@contextlib.contextmanager
def only_one(directory: Path, *, wait_seconds: float = 30.0) -> Iterator[None]:
    """Hold the directory's lock, and clear what a crashed writer left behind.

    The lock is the operating system's, so it ends with the process that holds it.

    Raises:
        TimeoutError: Another process held it for ``wait_seconds``.
    """
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        _acquire(descriptor, directory, wait_seconds)
        for partial in directory.glob(f".*{TEMPORARY_SUFFIX}"):
            partial.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, directory: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not _try_lock(descriptor):
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"{directory}: another process has held its lock for {wait_seconds:g} s; "
                "end that process (it may be a 'llmtrace ca' that waits for an answer)."
            )
        time.sleep(0.02)


def _try_lock(descriptor: int) -> bool:
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


def _sync_directory(path: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
