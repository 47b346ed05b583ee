"""Where a worker hands its records to the operating system, before it answers its client.

A write that has returned is in the page cache: it survives ``kill -9`` of every process of ours.
What a power cut may take is bounded by the sync that runs behind it (``spool_sync``).
"""

import asyncio
import errno
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from llmtrace.domain.traces import Body, Record, Trace
from llmtrace.domain.values import dataclass
from llmtrace.storage.codec import encode_record
from llmtrace.storage.spool_append import Appender
from llmtrace.storage.spool_format import HEADER_SIZE, MAX_PAYLOAD, Flag, Kind
from llmtrace.storage.spool_io import OS_IO, SpoolIO
from llmtrace.storage.spool_payload import compress, id_bytes
from llmtrace.storage.spool_room import Answer, Bounds, Call, OnFull, Room, answer
from llmtrace.storage.spool_sync import Waiter

logger = logging.getLogger(__name__)

type Durability = Literal["process", "strict"]

MAX_REMEMBERED: Final = 65_536
"""Calls without a START that are remembered until their END, the oldest forgotten first."""


_REASONS: Final[Mapping[int, str]] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EFBIG: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
}


class SpoolUnavailable(Exception):
    """A record could not be handed to the operating system. ``reason`` is a counter's label."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(slots=True)
class SpoolCounters:
    """What became of the records of one writer."""

    records: int = 0
    bytes: int = 0
    errors: int = 0
    """System calls that failed."""
    sync_errors: int = 0
    starts_refused: int = 0
    """STARTs that were not written."""
    stripped_total: int = 0
    """Records that were written without bodies and texts."""
    dropped_total: int = 0
    """Calls of which nothing was written."""
    unfinished_total: int = 0
    """Calls whose START is there and whose END could not be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    payload: bytes
    flags: Flag


class SpoolWriter:
    """Appends START, SENT, PROGRESS and END records of one worker. Safe to share by threads.

    A method returns whether its record was written. It raises nothing but
    ``SpoolUnavailable``, and that only with ``on_full="block"`` or where ``durability="strict"``
    could not be kept: with the other policies the loss is counted and the call goes on.

    Bodies over 1 MiB take milliseconds to compress: call from a thread then.
    """

    def __init__(
        self,
        directory: Path,
        worker: str,
        *,
        segment_bytes: int = 64 << 20,
        max_bytes: int = 2 << 30,
        min_free_bytes: int = 512 << 20,
        fsync_interval_ms: int = 100,
        durability: Durability = "process",
        on_full: OnFull = "block",
        io: SpoolIO = OS_IO,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Keep the arguments; the first record or ``open`` makes the files.

        ``directory`` is the spool's root, shared by all workers; ``max_bytes`` bounds all of it.
        """
        self._root = directory
        self._strict = durability == "strict"
        self._on_full: OnFull = on_full
        self._clock = clock
        self._now_ns = now_ns
        self._room = Room(directory, Bounds(max_bytes=max_bytes, min_free_bytes=min_free_bytes), io)
        self._appender = Appender(
            directory,
            f"{worker}-{os.getpid()}-{secrets.token_hex(4)}",
            segment_bytes=segment_bytes,
            interval=fsync_interval_ms / 1000,
            io=io,
        )
        self._lock = threading.Lock()
        self._without_start: dict[bytes, None] = {}
        self._counters = SpoolCounters()

    @property
    def directory(self) -> Path:
        """This life's own directory; no other process ever appends there."""
        return self._appender.directory

    @property
    def counters(self) -> SpoolCounters:
        """What became of the records until now."""
        return replace(self._counters, sync_errors=self._appender.sync_errors)

    def open(self) -> None:
        """Make the directory and its lock now, so that a fault shows before the first call.

        Raises:
            SpoolUnavailable: They cannot be made.
        """
        with self._lock:
            try:
                self._appender.prepare()
            except OSError as exc:
                self._counters.errors += 1
                raise self._unavailable(exc) from exc

    def start(self, trace: Trace, body: Body | None = None) -> bool:
        """Append START: the call is admitted."""
        return self._start(trace, body, Flag.NONE)

    def start_and_sent(self, trace: Trace, body: Body | None = None) -> bool:
        """Append START and SENT in one write, for a call that is forwarded at once."""
        return self._start(trace, body, Flag.SENT)

    def sent(self, trace_id: str) -> bool:
        """Append SENT: from here on the provider may have seen the call."""
        return self._append(Kind.SENT, trace_id, None)

    def progress(self, trace: Trace) -> bool:
        """Append what is known by now; it is what remains if the gateway dies."""
        return self._append(Kind.PROGRESS, trace.trace_id, Record(trace=trace))

    def end(self, record: Record) -> bool:
        """Append END. The request body may be left out if START had it.

        With ``durability="strict"`` this waits for the disk, other threads may go on meanwhile.
        """
        if not self._strict:
            return self._append(Kind.END, record.trace.trace_id, record)
        done = threading.Event()
        errors: list[OSError] = []

        def waiter(error: OSError | None) -> None:
            if error is not None:
                errors.append(error)
            done.set()

        written = self._append(Kind.END, record.trace.trace_id, record, waiter)
        if written:
            done.wait()
        if errors:
            raise self._unavailable(errors[0])
        return written

    async def end_durable(self, record: Record) -> bool:
        """Append END as ``end`` does, without holding the event loop."""
        if not self._strict:
            return self._append(Kind.END, record.trace.trace_id, record)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[OSError | None] = loop.create_future()

        def resolve(error: OSError | None) -> None:
            if not done.done():
                done.set_result(error)

        def waiter(error: OSError | None) -> None:
            try:
                loop.call_soon_threadsafe(resolve, error)
            except RuntimeError:
                logger.info("spool %s: nobody waits for a sync any more", self.directory.name)

        if not self._append(Kind.END, record.trace.trace_id, record, waiter):
            return False
        error = await done
        if error is not None:
            raise self._unavailable(error)
        return True

    def close(self) -> None:
        """Sync and let go of everything: the recorder takes this worker for dead from now on."""
        with self._lock:
            self._appender.close()

    def _start(self, trace: Trace, body: Body | None, flags: Flag) -> bool:
        record = Record(trace=trace, request=body)
        return self._append(Kind.START, trace.trace_id, record, flags=flags)

    def _append(
        self,
        kind: Kind,
        trace_id: str,
        record: Record | None,
        waiter: Waiter | None = None,
        *,
        flags: Flag = Flag.NONE,
    ) -> bool:
        ident = b""
        try:
            ident = id_bytes(trace_id)
            packed = _pack(record, flags)
        except (ValueError, TypeError) as exc:
            message = f"a {kind.name} record cannot be put into bytes ({type(exc).__name__})"
            with self._lock:
                return self._lost(kind, ident, SpoolUnavailable("encoding", message))
        with self._lock:
            call = Call.NEW if kind is Kind.START or ident in self._without_start else Call.BEGUN
            if call is Call.NEW and kind in (Kind.SENT, Kind.PROGRESS):
                return False  # there is nothing that it could add to
            try:
                self._write(kind, ident, call, record, packed, waiter)
            except OSError as exc:
                self._counters.errors += 1
                return self._lost(kind, ident, self._unavailable(exc))
            except SpoolUnavailable as exc:
                return self._lost(kind, ident, exc)
            self._without_start.pop(ident, None)
            return True

    def _write(
        self,
        kind: Kind,
        ident: bytes,
        call: Call,
        record: Record | None,
        packed: _Packed,
        waiter: Waiter | None,
    ) -> None:
        self._appender.prepare()
        level = self._room.level(HEADER_SIZE + len(packed.payload), self._clock())
        verdict = answer(level, self._on_full, call)
        if verdict is Answer.DROP:
            raise SpoolUnavailable(
                "full",
                f"{self._root}: the spool has reached spool.max_bytes or the disk "
                "spool.min_free_bytes; see whether the recorder runs and the store answers",
            )
        too_large = len(packed.payload) > MAX_PAYLOAD
        if record is not None and (verdict is Answer.STRIP or too_large):
            packed = _pack(Record(trace=record.trace), packed.flags & ~Flag.ZSTD | Flag.STRIPPED)
            self._counters.stripped_total += 1
        size = self._appender.append(
            kind,
            ident,
            time_ns=self._now_ns(),
            payload=packed.payload,
            flags=packed.flags,
            waiter=waiter,
        )
        self._room.add(size)
        self._counters.records += 1
        self._counters.bytes += size

    def _lost(self, kind: Kind, ident: bytes, failure: SpoolUnavailable) -> bool:
        """Count it; then raise, or return False where the policy is to go on."""
        if kind is Kind.START:
            self._counters.starts_refused += 1
            self._without_start[ident] = None
            if len(self._without_start) > MAX_REMEMBERED:
                del self._without_start[next(iter(self._without_start))]
        elif kind is Kind.END:
            begun = ident not in self._without_start
            self._without_start.pop(ident, None)
            self._counters.unfinished_total += begun
            self._counters.dropped_total += not begun
        if self._on_full == "block":
            raise failure
        return False

    def _unavailable(self, error: OSError) -> SpoolUnavailable:
        return SpoolUnavailable(
            _REASONS.get(error.errno or 0, "io"),
            f"{self._root}: a record could not be written: {error.strerror or error}",
        )


def _pack(record: Record | None, flags: Flag) -> _Packed:
    if record is None:
        return _Packed(payload=b"", flags=flags)
    payload, compressed = compress(encode_record(record))
    return _Packed(payload=payload, flags=flags | compressed)
