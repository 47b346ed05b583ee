"""Where the files of a spool lie, and the few ways in which they are replaced and locked.

::

    spool/                              0700
      recorder.lock  recorder.json      one recorder at a time; its health
      <worker>-<pid>-<boot>/            one life of one worker, the only one that appends there
        writer.lock                     held (flock) as long as that worker lives
        00000001-5f3a9c1e.seg           number and seed of a segment, 0600
        ledger.json                     how far the recorder has shipped
      quarantine/                       segments with damaged spots, kept for a look
      deadletter/                       records that the store refuses
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrace.storage.spool_io import OS_IO, SpoolIO

WRITER_LOCK: Final = "writer.lock"
LEDGER: Final = "ledger.json"
RECORDER_LOCK: Final = "recorder.lock"
RECORDER_STATUS: Final = "recorder.json"
QUARANTINE: Final = "quarantine"
DEADLETTER: Final = "deadletter"
UNFINISHED: Final = ".new-"
"""Prefix of a worker's directory until it is locked: no reader looks at it before."""

_RESERVED: Final = frozenset({QUARANTINE, DEADLETTER})
_SEGMENT: Final = re.compile(r"(\d{8,12})-([0-9a-f]{8})\.seg")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Segment:
    """A segment file. ``number`` counts up from 1 within a directory; ``size`` is in bytes."""

    number: int
    seed: int
    size: int = 0

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{self.number:08d}-{self.seed:08x}.seg"


def segments(directory: Path, io: SpoolIO = OS_IO) -> Sequence[Segment]:
    """Return the segments of a worker's directory in the order in which they were written."""
    return sorted(
        Segment(number=int(match[1]), seed=int(match[2], 16), size=info.size)
        for info in io.listdir(directory)
        if (match := _SEGMENT.fullmatch(info.name))
    )


def worker_directories(root: Path, io: SpoolIO = OS_IO) -> Sequence[Path]:
    """Return the directories of all workers, dead or alive, by name."""
    return [
        root / info.name
        for info in io.listdir(root)
        if info.is_dir and info.name not in _RESERVED and not info.name.startswith(".")
    ]


def spooled_bytes(root: Path, io: SpoolIO = OS_IO) -> int:
    """Return how many bytes lie in the segments of all workers."""
    return sum(
        segment.size
        for directory in worker_directories(root, io)
        for segment in segments(directory, io)
    )


def sync_directory(path: Path, io: SpoolIO = OS_IO) -> None:
    """Wait until the names in a directory are on the disk."""
    fd = io.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        io.sync(fd)
    finally:
        io.close(fd)


def write_file(path: Path, data: bytes, *, durable: bool = True, io: SpoolIO = OS_IO) -> None:
    """Replace a file as a whole: after a crash it has its old content or all of the new one."""
    new = path.with_name(f"{path.name}.new")
    fd = io.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        rest = data
        while rest:
            written = io.write(fd, rest)
            if not written:
                raise OSError(f"{new}: nothing could be written")
            rest = rest[written:]
        if durable:
            io.sync(fd)
    finally:
        io.close(fd)
    io.rename(new, path)
    if durable:
        sync_directory(path.parent, io)


def read_file(path: Path, *, limit: int, io: SpoolIO = OS_IO) -> bytes:
    """Return what a file holds.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It has more than ``limit`` bytes.
    """
    fd = io.open(path, os.O_RDONLY)
    try:
        data = bytearray()
        while chunk := io.read(fd, limit + 1 - len(data), len(data)):
            data += chunk
    finally:
        io.close(fd)
    if len(data) > limit:
        raise ValueError(f"{path}: over {limit} bytes")
    return bytes(data)


def take_lock(path: Path, io: SpoolIO = OS_IO) -> int | None:
    """Lock a file, made if need be, and return its descriptor; None if another has the lock.

    The lock ends with the process, however that ends, or with closing the descriptor.
    """
    fd = io.open(path, os.O_RDWR | os.O_CREAT)
    try:
        taken = io.lock(fd)
    except OSError:
        io.close(fd)
        raise
    if taken:
        return fd
    io.close(fd)
    return None


def is_alive(directory: Path, io: SpoolIO = OS_IO) -> bool:
    """Whether the worker that appends to a directory still lives."""
    try:
        fd = io.open(directory / WRITER_LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not io.lock(fd)
    finally:
        io.close(fd)
