"""The process that ships the spool to the store: the store's only writer, one for a spool."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from llmtrace.storage.background import Background
from llmtrace.storage.base import Storage, StorageError
from llmtrace.storage.registry import close
from llmtrace.storage.retention import purge_older_than
from llmtrace.storage.shipper import DEFAULT_RETRY, GaveUp, Retry, Shipper
from llmtrace.storage.spool_errors import describe
from llmtrace.storage.spool_files import (
    DEADLETTER,
    QUARANTINE,
    RECORDER_LOCK,
    RECORDER_STATUS,
    UNFINISHED,
    WRITER_LOCK,
    is_alive,
    read_file,
    take_lock,
    write_file,
)
from llmtrace.storage.spool_io import OS_IO, SpoolIO
from llmtrace.storage.spool_lane import DEFAULT_LIMITS, Limits

logger = logging.getLogger(__name__)

STATUS_EVERY: Final = 1.0
"""Seconds between two status files."""

PATIENCE_SECONDS: Final = 3.0
"""For how long the recorder leaves the processor to others while there is more to be shipped."""

ASIDE: Final = Limits(records=50, bytes=1 << 20)
"""What it ships at once meanwhile: a round cannot be hurried, and takes seconds on a busy core."""

UNFINISHED_AFTER: Final = 3600.0
"""Seconds after which the directory of a worker that died while making it is deleted."""


class RecorderRunning(RuntimeError):
    """Another recorder works on this spool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderStatus:
    """What a recorder says of itself in ``recorder.json``. Times are ISO 8601 in UTC."""

    pid: int
    state: str
    """``running``, ``waiting`` for the store, or ``stopped``."""
    updated_at: str
    shipped: int = 0
    lag_seconds: float = 0.0
    backlog_bytes: int = 0
    dead_letters: int = 0
    torn: int = 0
    corrupt: int = 0
    quarantined: int = 0
    retries: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_at: str = ""


def read_status(spool_dir: Path) -> RecorderStatus | None:
    """Return what the recorder said last, None if there is nothing that can be read."""
    try:
        values = json.loads(read_file(spool_dir / RECORDER_STATUS, limit=1 << 20))
        return RecorderStatus(**values)
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def sole_recorder(spool_dir: Path, io: SpoolIO = OS_IO) -> Iterator[None]:
    """Be the one recorder of a spool.

    Raises:
        RecorderRunning: There is one already; the message names its process.
        OSError: The lock cannot be made.
    """
    path = spool_dir / RECORDER_LOCK
    fd = take_lock(path, io)
    if fd is None:
        holder = path.read_text("ascii", "replace").strip() or "unknown"
        raise RecorderRunning(
            f"{spool_dir}: a recorder is at work already (process {holder}); "
            "stop its gateway first, or give this one a spool.directory of its own"
        )
    try:
        os.ftruncate(fd, 0)
        io.write(fd, b"%d\n" % os.getpid())
        yield
    finally:
        io.close(fd)


def catch_up(spool_dir: Path, storage: Storage, *, patience: float = 5.0) -> int:
    """Ship what lies in the spool now, and return how many records that were.

    For a command that wants to show what is there while no gateway runs: where a recorder
    lives, it does nothing. ``patience`` is in seconds, for a store that is locked.

    Raises:
        OSError: The spool cannot be read or locked.
    """
    if not spool_dir.is_dir():
        return 0
    try:
        with sole_recorder(spool_dir):
            return _ship_all(spool_dir, storage, patience)
    except RecorderRunning:
        return 0


def _ship_all(spool_dir: Path, storage: Storage, patience: float) -> int:
    shipper = Shipper(
        spool_dir,
        storage.traces,
        limits=Limits(pending_after=0.0),
        retry=Retry(give_up_after=patience, most=1.0),
    )
    try:
        shipper.drain()
    except GaveUp:
        logger.warning("%s: the store does not take records now", spool_dir)
    finally:
        shipper.close()
    return shipper.counters.shipped_total


class Recorder:
    """Ships, purges, and says how it is, until it is told to stop."""

    def __init__(
        self,
        spool_dir: Path,
        open_storage: Callable[[], Storage],
        *,
        retention_days: int = 0,
        maintain_every: float = 3600.0,
        tick: float = 0.2,
        limits: Limits = DEFAULT_LIMITS,
        retry: Retry = DEFAULT_RETRY,
        io: SpoolIO = OS_IO,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        each_second: Callable[[Storage], None] = lambda _storage: None,
    ) -> None:
        """Keep the arguments; ``run`` opens everything.

        ``each_second`` is called about as often, with what was shipped in the store, and once at
        the end. ``retention_days`` of 0 keeps everything; dead letters and quarantined segments go
        with the traces. ``maintain_every`` and ``tick`` are in seconds.
        """
        self._root = spool_dir
        self._open_storage = open_storage
        self._retention_days = retention_days
        self._maintain_every = maintain_every
        self._tick = tick
        self._limits = limits
        self._aside = replace(
            limits,
            records=min(limits.records, ASIDE.records),
            bytes=min(limits.bytes, ASIDE.bytes),
        )
        self._retry = retry
        self._io = io
        self._clock = clock
        self._now = now
        self._each_second = each_second
        self._busy_since: float | None = None
        self._next_status = self._next_maintenance = float("-inf")

    def keep_days(self, days: int) -> None:
        """From now on delete what is older than so many days; 0 keeps everything."""
        self._retention_days = days

    def run(self, stop: threading.Event) -> None:
        """Ship until ``stop`` is set, then what is still there, and return.

        The workers should have ended before, so that theirs is shipped too.

        Raises:
            RecorderRunning: Another recorder has this spool.
            OSError: The spool's directory cannot be made or locked.
        """
        self._io.mkdir(self._root)
        with sole_recorder(self._root, self._io):
            storage = self._storage(stop)
            if storage is None:
                return
            try:
                self._run(stop, storage)
            finally:
                close(storage)

    def _run(self, stop: threading.Event, storage: Storage) -> None:
        shipper = Shipper(
            self._root,
            storage.traces,
            stop=stop,
            limits=self._limits,
            retry=self._retry,
            io=self._io,
            clock=self._clock,
            now=self._now,
            on_failure=lambda: self._report(shipper, "waiting"),
        )
        with Background() as background:
            shipper.run(
                tick=self._tick,
                turn=lambda shipper: self._turn(shipper, background),
                after=lambda: self._after(shipper, storage),
            )
        try:
            shipper.drain()
        except GaveUp:
            logger.warning("spool: the rest is shipped at the next start")
        self._others(storage)
        self._report(shipper, "stopped")
        shipper.close()

    def _storage(self, stop: threading.Event) -> Storage | None:
        attempt = 0
        while not stop.is_set():
            try:
                return self._open_storage()
            except (StorageError, OSError) as exc:
                text = f"store: {describe(exc)}"
                logger.error("%s; trying again", text)
                now = self._now().isoformat()
                self._write_status(
                    RecorderStatus(
                        pid=os.getpid(),
                        state="waiting",
                        updated_at=now,
                        last_error=text,
                        last_error_at=now,
                    )
                )
            stop.wait(self._retry.bound(attempt))
            attempt += 1
        return None

    def _turn(self, shipper: Shipper, background: Background) -> bool:
        """Let calls that pass go first: what is in the journal can wait, but not for long."""
        now = self._clock()
        since = self._busy_since
        is_late = since is not None and now - since >= PATIENCE_SECONDS
        more = shipper.ship() if is_late else background.run(lambda: shipper.ship(self._aside))
        self._busy_since = (now if since is None else since) if more else None
        return more

    def _after(self, shipper: Shipper, storage: Storage) -> None:
        now = self._clock()
        if now >= self._next_status:
            self._next_status = now + STATUS_EVERY
            self._report(shipper, "running")
            self._others(storage)
        if now >= self._next_maintenance:
            self._next_maintenance = now + self._maintain_every
            self._maintain(storage)

    def _others(self, storage: Storage) -> None:
        try:
            self._each_second(storage)
        except StorageError as exc:
            logger.warning("store: %s; trying again later", describe(exc))

    def _maintain(self, storage: Storage) -> None:
        try:
            purge_older_than(storage, self._retention_days, self._now())
            storage.traces.vacuum()  # moves the journal of the store into its file, too
        except StorageError as exc:
            logger.warning("retention: %s; trying again later", describe(exc))
        try:
            self._sweep()
        except OSError as exc:
            logger.warning("spool: %s; trying again later", describe(exc))

    def _sweep(self) -> None:
        """Delete what outlived the traces, and what a worker's death left half made."""
        now = self._now()
        if self._retention_days > 0:
            before = (now - timedelta(days=self._retention_days)).timestamp()
            for folder in (self._root / DEADLETTER, self._root / QUARANTINE):
                for info in self._io.listdir(folder):
                    if info.mtime < before:
                        self._io.unlink(folder / info.name)
        for info in self._io.listdir(self._root):
            old = now.timestamp() - info.mtime > UNFINISHED_AFTER
            directory = self._root / info.name
            if info.name.startswith(UNFINISHED) and old and not is_alive(directory, self._io):
                self._io.unlink(directory / WRITER_LOCK)
                self._io.rmdir(directory)

    def _report(self, shipper: Shipper, state: str) -> None:
        counters, found = shipper.counters, shipper.found
        try:
            status = RecorderStatus(
                pid=os.getpid(),
                state=state,
                updated_at=self._now().isoformat(),
                shipped=counters.shipped_total,
                lag_seconds=round(shipper.lag_seconds(), 3),
                backlog_bytes=shipper.backlog_bytes(),
                dead_letters=shipper.dead_letters.count(),
                torn=found.torn_total,
                corrupt=found.corrupt_total,
                quarantined=found.quarantined_total,
                retries=counters.retries_total,
                errors=counters.errors_total,
                last_error=counters.last_error,
                last_error_at=at.isoformat() if (at := counters.last_error_at) else "",
            )
        except OSError as exc:
            logger.warning("spool: %s", describe(exc))
            return
        self._write_status(status)

    def _write_status(self, status: RecorderStatus) -> None:
        data = json.dumps(asdict(status)).encode()
        try:
            write_file(self._root / RECORDER_STATUS, data, durable=False, io=self._io)
        except OSError as exc:
            logger.warning("spool: no status file: %s", describe(exc))


def run_until_signal(recorder: Recorder) -> None:
    """Run a recorder in the main thread until SIGTERM or SIGINT. Raises: as ``Recorder.run``."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    recorder.run(stop)
