"""Records that the store refuses for good, kept with the reason until somebody looks."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zlib import crc32

from llmtrace.domain.traces import Record
from llmtrace.storage.codec import decode_record
from llmtrace.storage.spool_files import DEADLETTER, read_file, write_file
from llmtrace.storage.spool_format import MAX_PAYLOAD
from llmtrace.storage.spool_io import OS_IO, SpoolIO

MAX_FILES: Final = 20_000
MAX_BYTES: Final = 256 << 20

_CONTENT: Final = ".record"
_REASON: Final = ".json"
_MAX_REASON: Final = 64 << 10


class DeadLettersFull(OSError):
    """There are too many dead letters; no record is given up while that is so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One of them. ``reason`` may quote what was refused, so it is shown to the owner alone."""

    trace_id: str
    reason: str
    buried_at: datetime
    path: Path
    size: int

    def record(self) -> Record:
        """Return what was refused. Raises: OSError; ValueError: it cannot be read."""
        return decode_record(read_file(self.path, limit=MAX_PAYLOAD))


class DeadLetters:
    """The folder ``deadletter/`` of a spool: for each record its bytes and its reason."""

    def __init__(
        self,
        root: Path,
        *,
        io: SpoolIO = OS_IO,
        max_files: int = MAX_FILES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """``root`` is the spool's."""
        self._folder = root / DEADLETTER
        self._io = io
        self._max_files = max_files
        self._max_bytes = max_bytes

    def bury(self, trace_id: str, content: bytes, reason: str, at: datetime) -> None:
        """Keep a record (``encode_record``). The same one again replaces itself.

        Raises:
            DeadLettersFull: There are ``max_files`` or ``max_bytes`` of them.
            OSError: It could not be written.
        """
        name = f"{trace_id}-{crc32(content):08x}"
        self._io.mkdir(self._folder)
        files = self._io.listdir(self._folder)
        size = sum(info.size for info in files)
        known = any(info.name == f"{name}{_REASON}" for info in files)
        if not known and (len(files) >= self._max_files or size >= self._max_bytes):
            raise DeadLettersFull(
                f"{self._folder}: {len(files)} files of {size} bytes; the store refuses too much. "
                "See the reasons there, then delete what nobody needs"
            )
        about = {"trace_id": trace_id, "reason": reason[:4096], "buried_at": at.isoformat()}
        write_file(self._folder / f"{name}{_CONTENT}", content, io=self._io)
        write_file(self._folder / f"{name}{_REASON}", json.dumps(about).encode(), io=self._io)

    def count(self) -> int:
        """Return how many there are."""
        files = self._io.listdir(self._folder)
        return sum(info.name.endswith(_REASON) for info in files)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Go through them by trace id. One whose reason cannot be read is passed over."""
        for info in self._io.listdir(self._folder):
            if not info.name.endswith(_REASON):
                continue
            path = self._folder / info.name
            content = path.with_suffix(_CONTENT)
            try:
                about = json.loads(read_file(path, limit=_MAX_REASON, io=self._io))
                yield DeadLetter(
                    trace_id=about["trace_id"],
                    reason=about["reason"],
                    buried_at=datetime.fromisoformat(about["buried_at"]),
                    path=content,
                    size=os.path.getsize(content),
                )
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def remove(self, letter: DeadLetter) -> None:
        """Delete one. Raises: OSError."""
        self._io.unlink(letter.path)
        self._io.unlink(letter.path.with_suffix(_REASON))
