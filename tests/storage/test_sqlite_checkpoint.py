import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.storage import sqlite_checkpoint
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.sqlite_checkpoint import Checkpointer, sync


class Moves:
    """Counts checkpoints, and can fail."""

    def __init__(self) -> None:
        self.count = 0
        self.failures = 0
        self.moved = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.moved.set()
        if self.count <= self.failures:
            raise StorageUnavailable("limits.sqlite: it is locked")

    def wait(self) -> None:
        assert self.moved.wait(5)
        self.moved.clear()


@pytest.fixture
def moves() -> Moves:
    return Moves()


@pytest.fixture
def checkpointer(
    tmp_path: Path, moves: Moves, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Checkpointer]:
    monkeypatch.setattr(sqlite_checkpoint, "AFTER_COMMITS", 3)
    made = Checkpointer(tmp_path / "limits.sqlite-wal", moves)
    yield made
    made.close()


def commit(checkpointer: Checkpointer, times: int) -> None:
    for _ in range(times):
        checkpointer.committed()


def test_the_journal_is_moved_after_each_so_many_commits(
    checkpointer: Checkpointer, moves: Moves
) -> None:
    commit(checkpointer, 2)
    assert checkpointer._thread is None
    for count in (1, 2, 3):
        commit(checkpointer, 3)
        moves.wait()
        assert moves.count == count


def test_it_is_late_while_none_succeeds(
    checkpointer: Checkpointer, moves: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpoint, "LATE_AFTER", 6)
    moves.failures = 2
    commit(checkpointer, 3)
    moves.wait()
    assert not checkpointer.is_late
    commit(checkpointer, 3)
    moves.wait()
    assert checkpointer.is_late
    commit(checkpointer, 3)
    moves.wait()
    checkpointer.close()
    assert not checkpointer.is_late


def test_a_failure_is_told_and_tried_again_later(
    checkpointer: Checkpointer, moves: Moves, caplog: pytest.LogCaptureFixture
) -> None:
    moves.failures = 1
    commit(checkpointer, 3)
    moves.wait()
    commit(checkpointer, 3)
    moves.wait()
    assert "checkpoint put off: limits.sqlite: it is locked" in caplog.text


def test_nothing_runs_after_the_end(checkpointer: Checkpointer, moves: Moves) -> None:
    commit(checkpointer, 3)
    moves.wait()
    checkpointer.close()
    commit(checkpointer, 3)
    assert checkpointer._thread is not None
    assert not checkpointer._thread.is_alive()
    assert moves.count == 1


def test_a_journal_that_is_not_there_needs_no_sync(tmp_path: Path) -> None:
    sync(tmp_path / "none")
    (tmp_path / "some").write_bytes(b"journal")
    sync(tmp_path / "some")
