import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.storage.spool_io import OS_IO
from llmtrace.storage.spool_sync import GroupSync
from llmtrace.testing.faults import FaultyIO


class CountingIO(FaultyIO):
    """Counts what is synced and closed; ``gate`` holds syncs back."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.synced: list[int] = []
        self.closed: list[int] = []

    def sync(self, fd: int) -> None:
        self.begun.set()
        assert self.gate.wait(10)
        self.synced.append(fd)
        super().sync(fd)

    def close(self, fd: int) -> None:
        self.closed.append(fd)
        super().close(fd)


class Waiting:
    """A waiter that keeps what it was told."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self._done = threading.Event()

    def __call__(self, error: OSError | None) -> None:
        self.error = error
        self._done.set()

    def wait(self) -> OSError | None:
        assert self._done.wait(10)
        return self.error


@pytest.fixture
def io() -> CountingIO:
    return CountingIO()


@pytest.fixture
def failures() -> list[int]:
    return []


@pytest.fixture
def group(tmp_path: Path, io: CountingIO, failures: list[int]) -> Iterator[GroupSync]:
    made = GroupSync(tmp_path, interval=3600, io=io, on_error=failures.append)
    yield made
    io.gate.set()
    made.close()


def opened(tmp_path: Path, name: str = "file") -> int:
    return OS_IO.open(tmp_path / name, os.O_WRONLY | os.O_CREAT)


def test_who_waits_is_told_at_once_and_not_after_the_interval(
    tmp_path: Path, group: GroupSync, io: CountingIO
) -> None:
    fd = opened(tmp_path)
    group.replace(fd)
    for waited_before in (False, True):
        if not waited_before:
            group.appended()
            time.sleep(0.01)  # the thread begins to wait for the interval, an hour
        waiter = Waiting()
        group.appended(waiter)
        assert waiter.wait() is None
        assert fd in io.synced


def test_one_sync_serves_all_who_came_during_the_one_before(
    tmp_path: Path, group: GroupSync, io: CountingIO
) -> None:
    fd = opened(tmp_path)
    group.replace(fd)
    io.gate.clear()
    first = Waiting()
    group.appended(first)
    assert io.begun.wait(10)
    others = [Waiting() for _ in range(50)]
    for each in others:
        group.appended(each)
    io.gate.set()
    assert [each.wait() for each in (first, *others)] == [None] * 51
    assert io.synced.count(fd) == 2


def test_without_waiters_it_syncs_after_the_interval(tmp_path: Path, io: CountingIO) -> None:
    group = GroupSync(tmp_path, interval=0.001, io=io, on_error=lambda _: None)
    group.replace(opened(tmp_path))
    group.appended()
    assert io.begun.wait(10)
    group.close()


def test_a_retired_file_is_synced_and_closed(
    tmp_path: Path, group: GroupSync, io: CountingIO
) -> None:
    old = opened(tmp_path, "old")
    group.replace(old)
    group.appended()
    group.replace(opened(tmp_path, "new"))
    waiter = Waiting()
    group.appended(waiter)
    waiter.wait()
    assert old in io.synced
    assert old in io.closed


def test_closing_syncs_and_closes_all(tmp_path: Path, io: CountingIO) -> None:
    group = GroupSync(tmp_path, interval=3600, io=io, on_error=lambda _: None)
    fds = [opened(tmp_path, name) for name in "ab"]
    for fd in fds:
        group.replace(fd)
        group.appended()
    group.close()
    assert set(fds) <= set(io.synced)
    assert set(fds) <= set(io.closed)


@pytest.mark.parametrize("call", ["sync", "open"])
def test_a_failed_sync_is_told_to_who_waits_and_to_the_writer(
    tmp_path: Path, group: GroupSync, io: CountingIO, failures: list[int], call: str
) -> None:
    fd = opened(tmp_path)
    io.broken = frozenset({call})
    group.replace(fd)
    waiter = Waiting()
    group.appended(waiter)
    assert isinstance(waiter.wait(), OSError)
    assert fd in failures
    io.broken = frozenset()
    later = Waiting()
    group.appended(later)
    assert later.wait() is None
