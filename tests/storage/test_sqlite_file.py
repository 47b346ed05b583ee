import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmtrace.storage.base import (
    SchemaMismatch,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
)
from llmtrace.storage.sqlite_file import IDLE_READERS, Damaged, SqliteFile, translated


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "llmtrace.db"


@pytest.fixture
def file(path: Path) -> Iterator[SqliteFile]:
    opened = SqliteFile(path, busy_timeout_ms=20)
    yield opened
    opened.close()


def count(file: SqliteFile) -> int:
    with file.reading() as db:
        (found,) = db.execute("SELECT count(*) FROM tenants").fetchone()
    return int(found)


def add(db: sqlite3.Connection, key: str) -> None:
    db.execute("INSERT INTO tenants VALUES (?, '', 0, '', '{}')", (key,))


def pragma(db: sqlite3.Connection, name: str) -> object:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def test_only_the_owner_may_read_what_is_made(file: SqliteFile, path: Path) -> None:
    with file.writing() as db:
        add(db, "a")
        modes = {entry.name: oct(entry.stat().st_mode & 0o777) for entry in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ["llmtrace.db", "llmtrace.db-wal", "llmtrace.db-shm", "llmtrace.db-writer"], "0o600"
    )
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_others_may_read_is_closed_to_them(file: SqliteFile, path: Path) -> None:
    file.close()
    path.chmod(0o644)
    SqliteFile(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_the_writer_uses_a_journal_that_readers_do_not_wait_for(
    path: Path, synchronous: str, level: int
) -> None:
    file = SqliteFile(path, synchronous=synchronous)  # type: ignore[arg-type]  # both are allowed
    with file.maintaining() as db:
        assert pragma(db, "journal_mode") == "wal"
        assert pragma(db, "synchronous") == level
        assert pragma(db, "auto_vacuum") == 2
    file.close()


def test_readers_neither_write_nor_checkpoint(file: SqliteFile) -> None:
    with file.reading() as db:
        assert pragma(db, "query_only") == 1
        assert pragma(db, "wal_autocheckpoint") == 0
        assert db.getconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE)
    with pytest.raises(StorageUnavailable, match="READONLY"), file.reading() as db:
        add(db, "a")


def test_a_transaction_that_fails_leaves_nothing(file: SqliteFile) -> None:
    with pytest.raises(StorageError, match="CONSTRAINT"), file.writing() as db:
        db.executemany("INSERT INTO tenants VALUES (?, '', 0, '', '{}')", [("a",), ("a",)])
    assert count(file) == 0
    with file.writing() as db:
        add(db, "a")
    assert count(file) == 1


def test_readers_see_one_moment(file: SqliteFile) -> None:
    with file.reading() as reader:
        before = reader.execute("SELECT count(*) FROM tenants").fetchone()
        with file.writing() as db:
            add(db, "a")
        assert reader.execute("SELECT count(*) FROM tenants").fetchone() == before
    assert count(file) == 1


def test_idle_readers_are_bounded(file: SqliteFile) -> None:
    readers = [file.reading() for _ in range(IDLE_READERS + 3)]
    for reader in readers:
        reader.__enter__()
    for reader in readers:
        reader.__exit__(None, None, None)
    assert len(file._readers) == IDLE_READERS


def test_a_second_writer_is_refused_and_may_still_read(file: SqliteFile, path: Path) -> None:
    with file.writing() as db:
        add(db, "a")
    second = SqliteFile(path, busy_timeout_ms=20)
    with pytest.raises(StorageUnavailable, match="another LLMTrace process writes"):
        second.writing().__enter__()
    assert count(second) == 1
    file.close()
    with second.writing() as db:
        add(db, "b")
    second.close()


def test_opening_again_here_does_not_let_another_process_write(
    file: SqliteFile, path: Path
) -> None:
    with file.writing() as db:
        add(db, "a")
    second = SqliteFile(path, busy_timeout_ms=20)
    with pytest.raises(StorageUnavailable, match="another LLMTrace process writes"):
        second.writing().__enter__()
    second.close()
    script = (
        "import sys; from pathlib import Path; "
        "from llmtrace.storage.sqlite_file import SqliteFile; "
        "SqliteFile(Path(sys.argv[1]), busy_timeout_ms=20).writing().__enter__()"
    )
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
    )
    assert "another LLMTrace process writes to it" in run.stderr


def test_the_next_writer_follows_one_that_was_killed(path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; "
        "from llmtrace.storage.sqlite_file import SqliteFile; "
        "file = SqliteFile(Path(sys.argv[1])); w = file.writing(); db = w.__enter__(); "
        "db.execute(\"INSERT INTO tenants VALUES ('half', '', 0, '', '{}')\"); "
        "os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", script, path], check=False)  # noqa: S603
    assert run.returncode == -9
    file = SqliteFile(path, busy_timeout_ms=20)
    with file.writing() as db:
        add(db, "whole")
    assert count(file) == 1
    file.close()


def test_a_lock_of_another_program_is_waited_for_and_named(file: SqliteFile, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable, match=r"llmtrace\.db: it is locked; close"):
            file.writing().__enter__()
        assert count(file) == 0
    with file.writing() as db:
        add(db, "a")


def test_a_full_disk_keeps_what_was_there(file: SqliteFile) -> None:
    with file.maintaining() as db:
        db.execute(f"PRAGMA max_page_count = {pragma(db, 'page_count')}").fetchall()
    with file.writing() as db:
        add(db, "a")
    full = pytest.raises(StorageUnavailable, match=r"disk is full.*storage\.retention_days")
    with full, file.writing() as db:
        db.executemany(
            "INSERT INTO tenants VALUES (?, '', 0, '', '{}')",
            ((f"{number:0200}",) for number in range(2_000)),
        )
    kept = count(file)
    assert kept == 1
    with file.maintaining() as db:
        db.execute("PRAGMA max_page_count = 100000").fetchall()
    with file.writing() as db:
        add(db, "there is room again")
    assert count(file) == kept + 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"these are no pages " * 500, id="text"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 8_000, id="head-and-rubbish"),
    ],
)
def test_what_is_no_database_is_said_so(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StorageCorrupt, match=r"llmtrace\.db: .*move it away"):
        SqliteFile(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_said_so(file: SqliteFile, path: Path) -> None:
    with file.writing() as db:
        for number in range(500):
            add(db, f"{number:0100}")
    file.close()
    with path.open("r+b") as raw:
        raw.seek(4096)
        raw.write(b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(StorageCorrupt, match="move it away"):
        SqliteFile(path)


def test_a_newer_layout_is_refused_and_left_alone(file: SqliteFile, path: Path) -> None:
    with file.writing() as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('llmtrace', 'm900_future', '')"
        )
    file.close()
    for read_only in (True, False):
        with pytest.raises(SchemaMismatch, match=r"newer version of LLMTrace \('m900_future'"):
            SqliteFile(path, read_only=read_only)


def test_an_older_layout_is_brought_up_to_date_unless_one_only_looks(
    file: SqliteFile, path: Path
) -> None:
    with file.writing() as db:
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm003_metadata'")
        db.execute("DROP TABLE tenants")
        db.execute("DROP TABLE audit_events")
    file.close()
    with pytest.raises(SchemaMismatch, match=r"older version.*'m003_metadata'.*llmtrace proxy"):
        SqliteFile(path, read_only=True)
    again = SqliteFile(path)
    assert count(again) == 0
    again.close()


def test_who_only_looks_cannot_write(file: SqliteFile, path: Path) -> None:
    looking = SqliteFile(path, read_only=True)
    assert count(looking) == 0
    with pytest.raises(StorageError, match="for reading only"):
        looking.writing().__enter__()
    looking.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageUnavailable, match=r"home/llmtrace\.db: .*database_path"):
        SqliteFile(tmp_path / "home" / "llmtrace.db")


def test_a_closed_file_says_so(file: SqliteFile) -> None:
    file.close()
    file.close()
    with pytest.raises(StorageError, match="closed"):
        count(file)
    with pytest.raises(StorageError, match="closed"):
        file.writing().__enter__()


def test_closing_leaves_one_file_with_everything(file: SqliteFile, path: Path) -> None:
    with file.writing() as db:
        add(db, "a")
    count(file)
    file.close()
    assert sorted(os.listdir(path.parent)) == ["llmtrace.db", "llmtrace.db-writer"]


def test_errors_hold_nothing_of_what_was_asked(path: Path) -> None:
    with pytest.raises(StorageError) as caught, translated(path):
        raise sqlite3.OperationalError('fts5: syntax error near "sesame"')
    assert "sesame" not in str(caught.value)
    damaged = pytest.raises(StorageCorrupt, match=r"llmtrace\.db: a body is gone; .*move it away")
    with damaged, translated(path):
        raise Damaged("a body is gone")
