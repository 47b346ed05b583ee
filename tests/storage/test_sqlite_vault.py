"""What SQLite adds: several processes on one file, and a restart."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llmtrace.storage.base import SchemaMismatch, StorageCorrupt, StorageError, StorageUnavailable
from llmtrace.storage.sqlite_vault import LAYOUT, PURGE_SECONDS, SqliteVault

NOW = 1_000_000.0


def opened(path: Path) -> SqliteVault:
    return SqliteVault(path, clock=lambda: NOW)


def count(path: Path) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("SELECT count(*) FROM vault").fetchone()
    connection.close()
    return int(found)


def test_a_restart_keeps_values(tmp_path: Path) -> None:
    store = opened(tmp_path / "vault.db")
    for number in range(100):
        store.put("acme", str(number), bytes([number]), NOW + 10)
    store.close()
    again = opened(tmp_path / "vault.db")
    assert again.get("acme", "99", NOW) == b"c"
    again.close()


def test_several_processes_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    program = (
        "import sys; from pathlib import Path; from llmtrace.storage.sqlite_vault import *\n"
        "store = SqliteVault(Path(sys.argv[1]))\n"
        "for n in range(200): store.put('acme', f'{sys.argv[2]}.{n}', b'x', 2e12)\n"
        "store.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(number)])  # noqa: S603
        for number in range(3)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert count(path) == 600


def test_another_process_reads_what_was_written(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "vault.db"), opened(tmp_path / "vault.db")
    one.put("acme", "a", b"a", NOW + 10)
    one.close()  # waits for the writer
    assert other.get("acme", "a", NOW) == b"a"
    other.close()


def test_the_file_is_private_and_has_no_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    path.touch(mode=0o644)
    opened(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_what_has_expired_is_deleted_when_it_opens_and_later(tmp_path: Path) -> None:
    path, now = tmp_path / "vault.db", [NOW]
    store = SqliteVault(path, clock=lambda: now[0])
    store.put("acme", "old", b"x", NOW + 10)
    store.close()
    now[0] += 20
    store = SqliteVault(path, clock=lambda: now[0])
    assert count(path) == 0
    store.put("acme", "soon", b"x", now[0] + 10)
    store._writer.submit(int).result(10)  # after what was submitted before
    now[0] += PURGE_SECONDS + 1
    store.put("acme", "long", b"x", now[0] + 10)
    store.close()
    assert count(path) == 1


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        pytest.param(f"PRAGMA user_version = {LAYOUT + 1}", SchemaMismatch, id="newer"),
        pytest.param("CREATE TABLE vault (a)", StorageError, id="other-table"),
    ],
)
def test_a_file_of_another_layout_is_refused(
    tmp_path: Path, statement: str, error: type[Exception]
) -> None:
    path = tmp_path / "vault.db"
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(error, match=r"vault\.db"):
        opened(path)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "vault.db").write_bytes(b"this is no database, and long enough to be read " * 40)
    with pytest.raises(StorageCorrupt, match=r"vault\.db"):
        opened(tmp_path / "vault.db")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="No such file"):
        opened(tmp_path / "none" / "vault.db")


def test_a_closed_store_keeps_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path / "vault.db")
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.put("acme", "a", b"a", NOW + 10)


def test_what_cannot_be_written_is_dropped_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "vault.db"
    store = opened(path)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE vault")
    connection.commit()
    connection.close()
    store.put("acme", "a", b"a", NOW + 10)
    store.close()
    assert "will not outlive this process" in caplog.text
    assert store._waiting == {}


def test_waiting_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrace.storage.sqlite_vault.MAX_WAITING", 0)
    store = opened(tmp_path / "vault.db")
    with pytest.raises(StorageUnavailable, match="wait to be written"):
        store.put("acme", "a", b"a", NOW + 10)
    store.close()
