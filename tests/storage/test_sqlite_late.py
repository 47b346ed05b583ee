from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.storage.base import StorageCorrupt, StorageError
from llmtrace.storage.sqlite_late import LateSqliteFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "limits.sqlite"
    made.write_bytes(b"no database at all, whatever it is" * 300)
    return made


@pytest.fixture
def file(path: Path) -> Iterator[LateSqliteFile]:
    made = LateSqliteFile(path, timeout=0.05)
    yield made
    made.close()


def test_each_use_tells_why_it_cannot_be_opened(file: LateSqliteFile) -> None:
    for use in (file.writing, file.reading):
        with pytest.raises(StorageCorrupt, match="damaged or no SQLite database"), use():
            pass


def test_an_event_loop_does_not_wait_until_it_is_open(file: LateSqliteFile, path: Path) -> None:
    with file.writing_now() as db:
        assert db is None
    path.unlink()
    with file.writing_now() as db:
        assert db is None
    with file.reading():
        pass
    with file.writing_now() as db:
        assert db is not None


def test_it_is_open_as_soon_as_it_can_be(file: LateSqliteFile, path: Path) -> None:
    path.unlink()
    with file.writing() as db:
        db.execute("INSERT INTO ledger_marks VALUES ('a', NULL)")
    with file.reading() as db:
        assert db.execute("SELECT count(*) FROM ledger_marks").fetchone() == (1,)


def test_a_closed_one_stays_closed(file: LateSqliteFile, path: Path) -> None:
    path.unlink()
    file.close()
    with pytest.raises(StorageError, match="closed"), file.reading():
        pass
    assert not path.exists()
