import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.traces import Outcome, Record
from llmtrace.storage.base import Storage, StorageUnavailable, TraceQuery
from llmtrace.storage.memory import MemoryCache, MemoryMetadataRepository, MemoryTraceRepository
from llmtrace.storage.recorder import (
    ASIDE,
    Recorder,
    RecorderRunning,
    catch_up,
    read_status,
    sole_recorder,
)
from llmtrace.storage.registry import build, close
from llmtrace.storage.shipper import Retry
from llmtrace.storage.spool import SpoolWriter
from llmtrace.storage.spool_files import take_lock
from llmtrace.storage.spool_io import OS_IO
from llmtrace.storage.spool_lane import Limits
from llmtrace.testing.faults import FaultyIO
from llmtrace.testing.records import NOON, a_record, a_trace, numbered_id

ALL = TraceQuery(limit=100_000)


class KeptTraces(MemoryTraceRepository):
    """Remembers after it was closed, and what was asked of it, and in which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.vacuumed = 0
        self.threads: list[str] = []

    def put(self, records: Sequence[Record]) -> None:
        self.threads.append(threading.current_thread().name)
        super().put(records)

    def vacuum(self) -> None:
        self.vacuumed += 1

    def close(self) -> None:
        self.closed = True


class Running:
    """A recorder in a thread, with a memory store."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.traces = KeptTraces()
        self.stop = threading.Event()
        settings: dict[str, Any] = {"tick": 0.001, "retry": Retry(first=0.001, most=0.002)}
        self.recorder = Recorder(root, self.storage, **(settings | options))
        self.thread = threading.Thread(target=self.recorder.run, args=(self.stop,))

    def storage(self) -> Storage:
        return Storage(traces=self.traces, metadata=MemoryMetadataRepository(), cache=MemoryCache())

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(2000):
            if condition():
                return
            time.sleep(0.005)
        raise AssertionError("it never came")

    def end(self) -> None:
        self.stop.set()
        if self.thread.is_alive():
            self.thread.join(30)
        assert not self.thread.is_alive()

    @property
    def ids(self) -> set[str]:
        return {trace.trace_id for trace in self.traces.query(ALL)}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.end()


def call(writer: SpoolWriter, *numbers: int) -> None:
    for number in numbers:
        record = a_record(number)
        writer.start_and_sent(replace(record.trace, outcome=Outcome.PENDING), record.request)
        writer.end(replace(record, request=None))


def a_writer(root: Path) -> SpoolWriter:
    return SpoolWriter(root, "w1", min_free_bytes=0)


def expected(*numbers: int) -> set[str]:
    return {numbered_id(number) for number in numbers}


def test_it_ships_while_workers_live_and_the_rest_when_it_is_stopped(
    tmp_path: Path, running: Running
) -> None:
    running.thread.start()
    writer = a_writer(tmp_path)
    call(writer, 1, 2)
    running.until(lambda: running.ids == expected(1, 2))
    call(writer, 3)
    writer.close()
    running.end()
    assert running.ids == expected(1, 2, 3)
    assert running.traces.closed
    assert not writer.directory.exists()


def test_it_leaves_the_processor_to_calls_and_not_for_ever(tmp_path: Path) -> None:
    """Each look at the clock is a second later; a round puts one record."""
    made = Running(tmp_path, limits=Limits(records=1), clock=itertools.count().__next__)
    writer = a_writer(tmp_path)
    call(writer, *range(20))
    writer.close()
    made.thread.start()
    made.until(lambda: made.ids == expected(*range(20)))
    made.end()
    threads = made.traces.threads
    assert threads[0].startswith("background")
    assert made.thread.name in threads


def test_what_cannot_be_hurried_is_shipped_in_small_rounds(tmp_path: Path) -> None:
    made = Running(tmp_path)
    writer = a_writer(tmp_path)
    numbers = range(2 * ASIDE.records)
    call(writer, *numbers)
    writer.close()
    made.thread.start()
    made.until(lambda: made.ids == expected(*numbers))
    made.end()
    assert len(made.traces.threads) > 1


def test_there_is_one_at_a_time_and_the_error_names_it(tmp_path: Path, running: Running) -> None:
    running.thread.start()
    running.until(lambda: read_status(tmp_path) is not None)
    second = Running(tmp_path)
    with pytest.raises(RecorderRunning, match=rf"process {os.getpid()}\)"):
        second.recorder.run(second.stop)
    running.end()
    second.stop.set()
    second.recorder.run(second.stop)


def test_its_status_is_for_health(tmp_path: Path, running: Running) -> None:
    assert read_status(tmp_path) is None
    writer = a_writer(tmp_path)
    call(writer, 1, 2)
    writer.close()
    running.thread.start()
    running.until(lambda: running.ids == expected(1, 2))
    running.end()
    status = read_status(tmp_path)
    assert status is not None
    assert (status.pid, status.state, status.shipped) == (os.getpid(), "stopped", 2)
    assert (status.backlog_bytes, status.lag_seconds, status.dead_letters) == (0, 0.0, 0)
    assert (tmp_path / "recorder.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_status_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recorder.json").write_bytes(content)
    assert read_status(tmp_path) is None


def test_it_waits_for_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    running = Running(tmp_path)
    failures = iter([StorageUnavailable("db: it is locked")] * 3)

    def storage() -> Storage:
        if (error := next(failures, None)) is not None:
            raise error
        return running.storage()

    states = []

    class Watching(FaultyIO):
        def rename(self, old: Path, new: Path) -> None:
            if new.name == "recorder.json":
                states.append(json.loads(old.read_bytes())["state"])
            super().rename(old, new)

    writer = a_writer(tmp_path)
    call(writer, 1)
    recorder = Recorder(
        tmp_path, storage, tick=0.001, retry=Retry(first=0.001, most=0.001), io=Watching()
    )
    thread = threading.Thread(target=recorder.run, args=(running.stop,))
    thread.start()
    running.until(lambda: running.ids == expected(1))
    running.stop.set()
    thread.join(30)
    writer.close()
    assert states[:3] == ["waiting"] * 3
    assert states[-1] == "stopped"


def test_while_the_store_is_away_the_status_says_why(tmp_path: Path) -> None:
    running = Running(tmp_path)
    writer = a_writer(tmp_path)
    call(writer, 1)
    real = running.traces.put
    running.traces.put = lambda records: (_ for _ in ()).throw(  # type: ignore[method-assign]  # a fault
        StorageUnavailable("db: it is locked")
    )
    running.thread.start()

    def told() -> bool:
        status = read_status(tmp_path)
        return status is not None and status.state == "waiting" and status.retries > 3

    running.until(told)
    status = read_status(tmp_path)
    assert status is not None
    assert "it is locked" in status.last_error
    assert status.backlog_bytes > 0
    running.traces.put = real  # type: ignore[method-assign]  # the fault is over
    running.until(lambda: running.ids == expected(1))
    running.end()
    writer.close()


def test_retention_can_change_while_it_runs(tmp_path: Path) -> None:
    running = Running(tmp_path, retention_days=0, now=lambda: NOON + timedelta(days=31))
    running.traces.put([a_record(1), a_record(2, started_at=NOON + timedelta(days=30))])
    running.recorder.keep_days(30)
    running.thread.start()
    running.until(lambda: running.ids == expected(2))
    running.end()


def test_old_things_go_with_retention(tmp_path: Path) -> None:
    running = Running(tmp_path, retention_days=30, now=lambda: NOON + timedelta(days=31))
    running.traces.put([a_record(1), a_record(2, started_at=NOON + timedelta(days=30))])
    old, new = NOON.timestamp(), (NOON + timedelta(days=30)).timestamp()
    for folder in ("deadletter", "quarantine"):
        (tmp_path / folder).mkdir()
        for name, at in (("old", old), ("new", new)):
            (tmp_path / folder / name).touch()
            os.utime(tmp_path / folder / name, (at, at))
    unfinished = tmp_path / ".new-w1-1-a"
    held = tmp_path / ".new-w2-1-a"
    for directory in (unfinished, held):
        directory.mkdir()
        (directory / "writer.lock").touch()
        os.utime(directory, (old, old))
    fd = take_lock(held / "writer.lock")
    assert fd is not None
    running.thread.start()
    running.until(lambda: not unfinished.exists())
    running.end()
    OS_IO.close(fd)
    assert running.ids == expected(2)
    assert running.traces.vacuumed
    for folder in ("deadletter", "quarantine"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["new"]
    assert held.exists()


def test_a_fault_of_the_disk_stops_no_recorder(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    call(writer, 1)
    io = FaultyIO()
    running = Running(tmp_path, io=io)
    running.thread.start()
    running.until(lambda: running.ids == expected(1))
    for name in ("read", "open", "rename", "listdir", "unlink"):
        io.broken = frozenset({name})
        time.sleep(0.01)
    io.broken = frozenset()
    call(writer, 2)
    running.until(lambda: running.ids == expected(1, 2))
    running.end()
    writer.close()


def test_catching_up_ships_what_is_there(tmp_path: Path) -> None:
    storage = build("memory")
    assert catch_up(tmp_path / "none", storage) == 0
    dead, living = a_writer(tmp_path), a_writer(tmp_path)
    call(dead, 1, 2)
    dead.start(a_trace(3, outcome=Outcome.PENDING))
    dead.close()
    call(living, 4)
    living.start(a_trace(5, outcome=Outcome.PENDING))
    assert catch_up(tmp_path, storage) == 5
    outcomes = {trace.trace_id: trace.outcome for trace in storage.traces.query(ALL)}
    assert set(outcomes) == expected(1, 2, 3, 4, 5)
    assert outcomes[numbered_id(3)] is Outcome.INTERRUPTED
    assert outcomes[numbered_id(5)] is Outcome.PENDING
    assert catch_up(tmp_path, storage) == 0
    living.close()


def test_catching_up_leaves_a_living_recorder_alone(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    call(writer, 1)
    with sole_recorder(tmp_path):
        assert catch_up(tmp_path, build("memory")) == 0
    assert catch_up(tmp_path, build("memory")) == 1
    writer.close()


def test_catching_up_gives_up_on_a_store_that_is_away(tmp_path: Path) -> None:
    class Away(KeptTraces):
        def put(self, records: Sequence[Record]) -> None:
            raise StorageUnavailable("db: it is locked")

    writer = a_writer(tmp_path)
    call(writer, 1)
    away = replace(build("memory"), traces=Away())
    assert catch_up(tmp_path, away, patience=0.0) == 0
    writer.close()


def test_a_locked_database_delays_traces_and_loses_none(tmp_path: Path) -> None:
    """Another process holds SQLite's lock while calls go on being spooled."""
    path = tmp_path / "llmtrace.db"
    close(build("lite", database_path=path))
    spool, stop = tmp_path / "spool", threading.Event()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    recorder = Recorder(
        spool,
        lambda: build("lite", database_path=path),
        tick=0.001,
        retry=Retry(first=0.001, most=0.01),
    )
    thread = threading.Thread(target=recorder.run, args=(stop,))
    thread.start()
    writer = a_writer(spool)
    slowest = 0.0
    for number in range(200):
        begun = time.perf_counter()
        call(writer, number)
        slowest = max(slowest, time.perf_counter() - begun)
    assert slowest < 1.0  # the lock is waited for elsewhere: 5 s at a time
    other.execute("ROLLBACK")
    other.close()
    storage = build("lite", database_path=path, read_only=True)
    Running(spool).until(lambda: storage.traces.totals(ALL).calls == 200)
    close(storage)
    stop.set()
    thread.join(30)
    writer.close()


PROCESS = """
import sys
from pathlib import Path
from llmtrace.storage.recorder import Recorder, run_until_signal
from llmtrace.storage.registry import build
root = Path(sys.argv[1])
run_until_signal(Recorder(root / "spool", lambda: build("lite", database_path=root / "db")))
"""


def test_a_process_ends_on_sigterm_with_all_shipped(tmp_path: Path) -> None:
    writer = a_writer(tmp_path / "spool")
    call(writer, *range(20))
    process = subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)])  # noqa: S603
    try:
        Running(tmp_path).until(lambda: read_status(tmp_path / "spool") is not None)
        call(writer, *range(20, 40))
        writer.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    status = read_status(tmp_path / "spool")
    assert status is not None
    assert status.state == "stopped"
    storage = build("lite", database_path=tmp_path / "db", read_only=True)
    assert {trace.trace_id for trace in storage.traces.query(ALL)} == expected(*range(40))
    close(storage)
