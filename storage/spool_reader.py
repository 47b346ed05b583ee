"""Reads what one worker has appended, while it lives and after it has died."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llmtrace.storage.spool_files import (
    LEDGER,
    QUARANTINE,
    WRITER_LOCK,
    Segment,
    is_alive,
    segments,
)
from llmtrace.storage.spool_format import Damage, Decoder, Entry, Event, Torn
from llmtrace.storage.spool_io import OS_IO, SpoolIO
from llmtrace.storage.spool_ledger import Ledger, Position, load_ledger, save_ledger

logger = logging.getLogger(__name__)

CHUNK: Final = 1 << 20
MAX_QUARANTINE: Final = 256 << 20
"""Bytes of damaged segments that are kept for a look; the oldest go first."""


@dataclass(slots=True)
class ReaderCounters:
    """What was found in segments."""

    torn_total: int = 0
    """Records that their writer did not finish. They were never acknowledged to a client."""
    corrupt_total: int = 0
    """Damaged spots: bytes changed after they were written."""
    version_total: int = 0
    """Records of a newer release."""
    quarantined_total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A record and where it lies."""

    entry: Entry
    begin: Position
    end: Position


class SpoolReader:
    """Goes through the segments of one worker in order, and remembers how far.

    Nothing is skipped but damaged bytes, and nothing is forgotten before ``acknowledge``. It
    polls: a live writer's file is read as it grows. All methods raise OSError as the calls
    they make do, and may be called again then.
    """

    def __init__(
        self,
        directory: Path,
        *,
        io: SpoolIO = OS_IO,
        counters: ReaderCounters | None = None,
        max_quarantine_bytes: int = MAX_QUARANTINE,
    ) -> None:
        """Load the ledger. ``counters`` may be shared by the readers of many workers."""
        self.directory = directory
        self.counters = counters if counters is not None else ReaderCounters()
        self.ledger = load_ledger(directory, io)
        self.finished = False
        """Whether the writer is dead and everything has been read."""
        self._io = io
        self._max_quarantine_bytes = max_quarantine_bytes
        self._damaged = set(self.ledger.damaged)
        self._position = self.ledger.position
        self._found: list[Located] = []  # kept over an error, so that none is passed over
        self._segment: Segment | None = None
        self._fd = -1
        self._decoder = Decoder(0)

    @property
    def position(self) -> Position:
        """Up to where records have been returned."""
        return self._found[0].begin if self._found else self._position

    def read(self, *, max_bytes: int = CHUNK) -> Sequence[Located]:
        """Return the next records, of about ``max_bytes``; none if there are no more for now."""
        dead = not is_alive(self.directory, self._io)  # asked first: what is read then is all
        taken = 0
        while taken < max_bytes:
            if self._segment is None and not self._open_next():
                self.finished = dead
                break
            if size := self._receive(max_bytes - taken):
                taken += size
            elif not dead and not self._has_successor():
                break
            elif size := self._receive(max_bytes):  # appended before the question was asked
                taken += size
            else:
                self._take(self._decoder.finish())
                self._leave()
        found, self._found = self._found, []
        return found

    def acknowledge(self, position: Position, open_calls: Mapping[str, bool]) -> None:
        """Note that all before ``position`` is in the store, and delete what is done with."""
        ledger = Ledger(
            position=position, open_calls=dict(open_calls), damaged=frozenset(self._damaged)
        )
        if ledger != self.ledger:
            save_ledger(self.directory, ledger, self._io)
            self.ledger = ledger
        for segment in segments(self.directory, self._io):
            if segment.number < position.segment:
                self._discard(segment)

    def backlog_bytes(self) -> int:
        """Return how many bytes are not acknowledged."""
        done = self.ledger.position
        sizes = {each.number: each.size for each in segments(self.directory, self._io)}
        waiting = sum(size for number, size in sizes.items() if number >= done.segment)
        return waiting - min(done.offset, sizes.get(done.segment, 0))

    def remove(self) -> None:
        """Delete the directory of a dead worker whose segments are all acknowledged."""
        self.close()
        for name in (f"{LEDGER}.new", LEDGER, WRITER_LOCK):
            self._io.unlink(self.directory / name)
        self._io.rmdir(self.directory)

    def close(self) -> None:
        """Close the segment that is being read."""
        fd, self._fd, self._segment = self._fd, -1, None
        if fd >= 0:
            self._io.close(fd)

    def _open_next(self) -> bool:
        for segment in segments(self.directory, self._io):
            if segment.number < self._position.segment:
                continue
            offset = self._position.offset if segment.number == self._position.segment else 0
            offset = min(offset, segment.size)  # a power cut may have shortened it
            self._fd = self._io.open(self.directory / segment.name, os.O_RDONLY)
            self._segment = segment
            self._decoder = Decoder(segment.seed, offset=offset)
            self._position = Position(segment=segment.number, offset=offset)
            return True
        return False

    def _receive(self, size: int) -> int:
        """Read what is there, and return its size in bytes."""
        data = self._io.read(self._fd, min(size, CHUNK), self._decoder.received)
        self._take(self._decoder.receive(data))
        return len(data)

    def _has_successor(self) -> bool:
        """Whether the writer has gone on to a later segment, and so left this one."""
        number = self._position.segment
        return any(
            each.number > number and each.size for each in segments(self.directory, self._io)
        )

    def _leave(self) -> None:
        self._position = Position(segment=self._position.segment + 1)
        self.close()

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            begin = replace(self._position, offset=event.begin)
            self._position = end = replace(self._position, offset=event.end)
            match event:
                case Entry():
                    self._found.append(Located(entry=event, begin=begin, end=end))
                case Damage():
                    self._note_damage(event)
                case Torn():
                    self.counters.torn_total += 1
                    logger.warning(
                        "spool %s: segment %d ends within a record, %d bytes left out",
                        self.directory.name,
                        begin.segment,
                        event.end - event.begin,
                    )
                    self._truncate(event.begin)

    def _note_damage(self, damage: Damage) -> None:
        if damage.reason == "version":
            self.counters.version_total += 1
        else:
            self.counters.corrupt_total += 1
        self._damaged.add(self._position.segment)
        logger.error(
            "spool %s: segment %d has a damaged spot (%s) at bytes %d to %d",
            self.directory.name,
            self._position.segment,
            damage.reason,
            damage.begin,
            damage.end,
        )

    def _truncate(self, size: int) -> None:
        if self._segment is None:
            return
        try:
            self._io.truncate(self.directory / self._segment.name, size)
        except OSError as exc:  # it would only be counted again after a restart
            logger.warning("spool %s: cannot truncate: %s", self.directory.name, exc.strerror)

    def _discard(self, segment: Segment) -> None:
        path = self.directory / segment.name
        if segment.number not in self._damaged:
            self._io.unlink(path)
            return
        quarantine = self.directory.parent / QUARANTINE
        self._io.mkdir(quarantine)
        self._io.rename(path, quarantine / f"{self.directory.name}-{segment.name}")
        self.counters.quarantined_total += 1
        files = sorted(self._io.listdir(quarantine), key=lambda info: info.mtime, reverse=True)
        kept = 0
        for info in files:
            kept += info.size
            if kept > self._max_quarantine_bytes:
                self._io.unlink(quarantine / info.name)
