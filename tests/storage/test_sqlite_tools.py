"""What workers share of tools, in the file that all of them write to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.storage import sqlite_tools
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.storage.sqlite_tools import ENDED_SECONDS, SqliteTools, ToolRow

ONE, TWO = frozenset({"1" * 64}), frozenset({"1" * 64, "2" * 64})


class Clock:
    """A clock that is set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limits.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[SharedSqliteFile]:
    opened = SharedSqliteFile(path, timeout=0.05)
    yield opened
    opened.close()


@pytest.fixture
def tools(file: SharedSqliteFile, clock: Clock) -> SqliteTools:
    return SqliteTools(file, run=b"run", clock=clock, max_rows=3)


def row(name: bytes = b"a", digests: frozenset[str] = ONE, *, replaces: bool = False) -> ToolRow:
    return ToolRow(b"session", name, digests, replaces)


def names(file: SharedSqliteFile) -> list[bytes]:
    with file.reading() as db:
        return [name for (name,) in db.execute("SELECT name FROM offered_tools ORDER BY position")]


def test_what_one_worker_keeps_another_knows(tools: SqliteTools, path: Path) -> None:
    other = SqliteTools(SharedSqliteFile(path), run=b"run")
    tools.keep([row(b"a"), row(b"b", TWO)])
    assert other.known(b"session", [b"a", b"b", b"c"]) == {b"a": ONE, b"b": TWO}
    assert other.known(b"other", [b"a"]) == {}
    other.close()


def test_the_first_is_kept_unless_it_is_replaced(tools: SqliteTools) -> None:
    assert tools.keep([row()]) == [ONE]
    assert tools.keep([row(digests=TWO), row(b"b", TWO)]) == [ONE, TWO]
    assert tools.keep([row(digests=TWO, replaces=True)]) == [TWO]
    assert tools.known(b"session", [b"a"]) == {b"a": TWO}


def test_another_run_knows_nothing(tools: SqliteTools, file: SharedSqliteFile) -> None:
    tools.keep([row()])
    other = SqliteTools(file, run=b"other")
    assert other.known(b"session", [b"a"]) == {}
    assert other.keep([row(digests=TWO)]) == [TWO]
    assert tools.known(b"session", [b"a"]) == {b"a": ONE}


def test_what_cannot_be_kept_now_is_not(tools: SqliteTools, path: Path) -> None:
    other = SharedSqliteFile(path)
    with other.writing():
        assert tools.keep_now([row()]) is None
        assert tools.known(b"session", [b"a"]) == {}
    assert tools.keep_now([row()]) == [ONE]
    other.close()


def test_the_oldest_are_forgotten(
    tools: SqliteTools, file: SharedSqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_tools, "AT_ONCE", 2)
    tools.keep([row(bytes([number])) for number in range(8)])
    tools.prune()
    assert names(file) == [b"\5", b"\6", b"\7"]


def test_only_what_ended_runs_left_is_forgotten_by_its_age(
    tools: SqliteTools, file: SharedSqliteFile, clock: Clock
) -> None:
    SqliteTools(file, run=b"other", clock=clock).keep([row(b"old")])
    tools.keep([row(b"ours")])
    clock.now += ENDED_SECONDS + 1
    SqliteTools(file, run=b"other", clock=clock).keep([row(b"new")])
    tools.prune()
    assert names(file) == [b"ours", b"new"]
