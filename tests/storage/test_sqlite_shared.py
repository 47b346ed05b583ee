import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmtrace.storage import sqlite_checkpoint, sqlite_shared
from llmtrace.storage.base import SchemaMismatch, StorageCorrupt, StorageError, StorageUnavailable
from llmtrace.storage.sqlite_file import IDLE_READERS
from llmtrace.storage.sqlite_shared import LAYOUT, SharedSqliteFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "limits.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[SharedSqliteFile]:
    opened = SharedSqliteFile(path, timeout=0.05)
    yield opened
    opened.close()


def mark(file: SharedSqliteFile, key: str, *, then: Exception | None = None) -> None:
    with file.writing() as db:
        db.execute("INSERT INTO ledger_marks VALUES (?, NULL)", (key,))
        if then is not None:
            raise then


def marks(file: SharedSqliteFile) -> int:
    with file.reading() as db:
        (count,) = db.execute("SELECT count(*) FROM ledger_marks").fetchone()
    return int(count)


def pragma(db: sqlite3.Connection, name: str) -> object:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def test_only_the_owner_may_read_what_is_made(file: SharedSqliteFile, path: Path) -> None:
    mark(file, "a")
    modes = {entry.name: oct(entry.stat().st_mode & 0o777) for entry in path.parent.iterdir()}
    names = (path.name + end for end in ("", "-wal", "-shm", "-lock"))
    assert modes == dict.fromkeys(names, "0o600")
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_one_writes_the_others_read(file: SharedSqliteFile, path: Path) -> None:
    with closing(SharedSqliteFile(path)) as other:
        mark(file, "a")
        mark(other, "b")
        assert marks(file) == marks(other) == 2


def test_only_the_lock_holder_checkpoints(file: SharedSqliteFile) -> None:
    with file.writing() as db:
        assert pragma(db, "journal_mode") == "wal"
        assert pragma(db, "synchronous") == 1
        assert db.getconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE)
    with file.reading() as db:
        assert pragma(db, "wal_autocheckpoint") == 0
        assert db.getconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE)
    with pytest.raises(StorageUnavailable, match="READONLY"), file.reading() as db:
        db.execute("DELETE FROM ledger_marks")


def test_a_transaction_that_fails_leaves_nothing(file: SharedSqliteFile) -> None:
    with pytest.raises(KeyError):
        mark(file, "a", then=KeyError("ours"))
    assert marks(file) == 0
    mark(file, "a")


@pytest.mark.parametrize("kind", [ValueError, OSError, TimeoutError])
def test_errors_of_the_caller_stay_as_they_are(
    file: SharedSqliteFile, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"^ours$"):
        mark(file, "a", then=kind("ours"))


def test_waiting_for_a_stopped_writer_ends(file: SharedSqliteFile, path: Path) -> None:
    with (
        closing(SharedSqliteFile(path, timeout=0.01)) as other,
        file.writing(),
        pytest.raises(StorageUnavailable, match=r"limits\.sqlite: others have written"),
    ):
        mark(other, "a")
    mark(file, "a")


def test_a_foreign_program_that_holds_the_file_is_named(file: SharedSqliteFile, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked; close the program"):
            mark(file, "a")
    mark(file, "a")


def test_who_does_not_wait_writes_only_where_nobody_else_does(
    file: SharedSqliteFile, path: Path
) -> None:
    with file.writing_now() as db:
        assert db is not None
        db.execute("INSERT INTO ledger_marks VALUES ('a', NULL)")
    with closing(SharedSqliteFile(path)) as other, other.writing(), file.writing_now() as db:
        assert db is None
    assert marks(file) == 1


def test_who_does_not_wait_leaves_a_foreign_program_alone(path: Path) -> None:
    with (
        closing(SharedSqliteFile(path, timeout=60)) as file,
        closing(sqlite3.connect(path, isolation_level=None)) as shell,
    ):
        shell.execute("BEGIN IMMEDIATE")
        with file.writing_now() as db:
            assert db is None
        shell.execute("ROLLBACK")
        mark(file, "a")
        assert pragma(file._connection(), "busy_timeout") == 60_000, "the others wait as before"


def test_who_does_not_wait_leaves_a_long_journal_to_those_who_do(
    file: SharedSqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpoint, "LATE_AFTER", 0)
    with file.writing_now() as db:
        assert db is None


def test_it_opens_while_another_writes(file: SharedSqliteFile, path: Path) -> None:
    with file.writing():
        SharedSqliteFile(path, timeout=0.01).close()


def test_the_journal_is_moved_into_the_file_while_others_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpoint, "AFTER_COMMITS", 10)
    wal = path.with_name(path.name + "-wal")
    with closing(SharedSqliteFile(path)) as file, closing(SharedSqliteFile(path)) as other:
        sizes = set()
        for number in range(400):
            mark(file if number % 2 else other, f"{number}" * 500)
            sizes.add(wal.stat().st_size)
        assert marks(file) == 400
        assert max(sizes) < 400 * 3 * 4096, "it begins anew"


def test_readers_are_kept_for_the_next(file: SharedSqliteFile) -> None:
    for _ in range(2 * IDLE_READERS):
        assert marks(file) == 0
    assert len(file._readers) == 1


def test_the_file_closes_with_its_last_holder(file: SharedSqliteFile, path: Path) -> None:
    shared = file.share()
    mark(file, "a")
    file.close()
    assert marks(shared) == 1
    shared.close()
    shared.close()
    for use in (lambda: marks(file), lambda: mark(file, "b")):
        with pytest.raises(StorageError, match="closed"):
            use()
    wal = path.with_name(path.name + "-wal")
    assert not wal.exists() or wal.stat().st_size == 0


def test_layouts_are_applied_once_and_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SharedSqliteFile(path).close()
    more = (*LAYOUT, ("m998", ("CREATE TABLE a (x)",)), ("m999", ("ALTER TABLE a ADD y",)))
    monkeypatch.setattr(sqlite_shared, "LAYOUT", more)
    for _ in range(2):
        with closing(SharedSqliteFile(path)) as file, file.reading() as db:
            assert db.execute("SELECT count(y) FROM a").fetchone() == (0,)


def test_a_layout_that_fails_is_not_kept_by_half(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (*LAYOUT, ("m999", ("CREATE TABLE a (x)", "CREATE nonsense")))
    monkeypatch.setattr(sqlite_shared, "LAYOUT", more)
    with pytest.raises(StorageError):
        SharedSqliteFile(path)
    monkeypatch.setattr(sqlite_shared, "LAYOUT", more[:-1])
    with closing(SharedSqliteFile(path)) as file, file.reading() as db:
        assert not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'a'").fetchone()


def test_many_may_open_a_new_file_at_once(path: Path) -> None:
    failures: list[Exception] = []

    def opened() -> None:
        try:
            SharedSqliteFile(path).close()
        except StorageError as error:
            failures.append(error)

    threads = [threading.Thread(target=opened) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert failures == []


def test_a_file_of_a_newer_version_is_refused(file: SharedSqliteFile, path: Path) -> None:
    with file.writing() as db:
        db.execute("INSERT INTO layout VALUES ('m999_future', 0)")
    with pytest.raises(SchemaMismatch, match="'m999_future' is not among 'm001_ledger'"):
        SharedSqliteFile(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StorageCorrupt, match="no SQLite database"):
        SharedSqliteFile(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match=r"limits\.sqlite"):
        SharedSqliteFile(tmp_path / "file" / "limits.sqlite")


def test_a_forked_process_must_open_its_own(
    file: SharedSqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("llmtrace.storage.file_lock._forks", -1)
        with pytest.raises(StorageError, match="before a fork"):
            mark(file, "a")
    mark(file, "a")


WRITES = """
import sys
from pathlib import Path
from llmtrace.storage.sqlite_shared import SharedSqliteFile
file = SharedSqliteFile(Path(sys.argv[1]))
for n in range(int(sys.argv[2])):
    with file.writing() as db:
        (had,) = db.execute("SELECT count FROM ledger_counts WHERE key = 'k'").fetchone()
        db.execute("UPDATE ledger_counts SET count = ? WHERE key = 'k'", (had + 1,))
        db.execute("INSERT INTO ledger_marks VALUES (?, NULL)", (f"{sys.argv[3]}-{n}" * 200,))
file.close()
"""


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    """Each page is written over many times and the journal moved into the file meanwhile."""
    with closing(SharedSqliteFile(path)) as file:
        with file.writing() as db:
            db.execute("INSERT INTO ledger_counts VALUES ('k', 0, 0, 0)")
        command = [sys.executable, "-c", WRITES, str(path), "300"]
        writers = [subprocess.Popen([*command, str(n)]) for n in range(4)]  # noqa: S603 - ours
        assert [writer.wait(60) for writer in writers] == [0] * 4
        assert marks(file) == 1200
        with file.reading() as db:
            assert db.execute("SELECT count FROM ledger_counts").fetchone() == (1200,)
            assert pragma(db, "integrity_check") == "ok"
