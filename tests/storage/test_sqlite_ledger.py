import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmtrace.storage.ledger import (
    MAX_STEP_BACK,
    Admission,
    Admitted,
    Ledger,
    LedgerUnavailable,
    Node,
    Settlement,
)
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.testing.ledgers import NOON, SetClock

NODE = Node(key="total", unit="usd", limit=100, ends=None)
ASKED = Admission(id="1", tenant="acme", amounts={"usd": 10}, nodes=(NODE,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limits.sqlite"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def file(path: Path) -> SharedSqliteFile:
    return SharedSqliteFile(path, timeout=0.05)


@pytest.fixture
def ledger(file: SharedSqliteFile, clock: SetClock) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(file, clock=clock)
    yield opened
    opened.close()


CALLS: dict[str, Callable[[Ledger], Any]] = {
    "admit": lambda ledger: ledger.admit(ASKED),
    "settle": lambda ledger: ledger.settle([Settlement(id="1", tenant="acme", kind="release")]),
    "exchange": lambda ledger: ledger.exchange([], [ASKED]),
    "extend": lambda ledger: ledger.extend([("acme", "1")], lease_seconds=60),
    "raise-spent": lambda ledger: ledger.raise_spent("acme", NODE, 5),
    "once": lambda ledger: ledger.once("key", ends=None),
    "bump": lambda ledger: ledger.bump("key", window_seconds=60),
    "hold": lambda ledger: ledger.hold("key", "reason"),
    "release": lambda ledger: ledger.release("key"),
}
READS: dict[str, Callable[[Ledger], Any]] = {
    "open": lambda ledger: ledger.open(),
    "expired": lambda ledger: ledger.expired(),
    "standings": lambda ledger: ledger.standings("acme", ["total"]),
    "current": lambda ledger: ledger.current(),
    "held": lambda ledger: ledger.held(["key"]),
    "holds": lambda ledger: ledger.holds(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_file_that_others_hold_is_unavailable(
    ledger: SqliteLedger, path: Path, call: Callable[[Ledger], Any]
) -> None:
    with (
        closing(SharedSqliteFile(path)) as other,
        other.writing(),
        pytest.raises(LedgerUnavailable, match=r"limits\.sqlite: others have written"),
    ):
        call(ledger)
    call(ledger)
    assert ledger.healthy()


def test_an_event_loop_does_not_wait_for_others(ledger: SqliteLedger, path: Path) -> None:
    with closing(SharedSqliteFile(path)) as other, other.writing():
        assert ledger.exchange_now([], [ASKED]) is None
    assert not ledger.open()
    answers = ledger.exchange_now([], [ASKED])
    assert answers is not None
    assert isinstance(answers[0], Admitted)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_file_that_cannot_be_written_is_unavailable(
    ledger: SqliteLedger, file: SharedSqliteFile, call: Callable[[Ledger], Any]
) -> None:
    with file._locked():
        file._connection().execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerUnavailable, match="READONLY"):
        call(ledger)
    assert not ledger.healthy()


def fill(ledger: Ledger) -> None:
    for number in range(999):
        ledger.admit(replace(ASKED, id=f"{number:0300}", amounts={"usd": 0}))


def test_a_full_disk_refuses_a_call_and_keeps_what_there_is(
    ledger: SqliteLedger, file: SharedSqliteFile
) -> None:
    with file._locked():
        file._connection().execute("PRAGMA max_page_count = 1")
    with pytest.raises(LedgerUnavailable, match="the disk is full"):
        fill(ledger)
    assert 0 < len(ledger.open()) < 999
    with file._locked():
        file._connection().execute("PRAGMA max_page_count = 1000000")
    assert isinstance(ledger.admit(ASKED), Admitted)


@pytest.mark.parametrize("call", [*CALLS.values(), *READS.values()], ids=[*CALLS, *READS])
def test_a_closed_ledger_is_unavailable(
    ledger: SqliteLedger, call: Callable[[Ledger], Any]
) -> None:
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        call(ledger)


def test_a_damaged_file_is_unavailable(path: Path) -> None:
    path.write_bytes(b"no database at all, whatever it is" * 300)
    with pytest.raises(LedgerUnavailable, match="damaged or no SQLite database"):
        SqliteLedger.at(path)


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    SqliteLedger.at(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO layout VALUES ('m999_future', 0)")
    with pytest.raises(LedgerUnavailable, match="another version of LLMTrace"):
        SqliteLedger.at(path)


def test_the_time_does_not_run_back_over_a_restart(
    ledger: SqliteLedger, path: Path, clock: SetClock
) -> None:
    clock.step(100)
    ledger.admit(ASKED)
    ledger.close()
    clock.step(-MAX_STEP_BACK.total_seconds())
    with closing(SqliteLedger.at(path, clock=clock)) as again:
        assert (again.now() - NOON).total_seconds() == 100


def test_workers_whose_clocks_differ_go_by_the_one_ahead(
    ledger: SqliteLedger, path: Path, clock: SetClock
) -> None:
    ahead = SetClock(clock.now + 90_000_000)
    with closing(SqliteLedger.at(path, clock=ahead)) as other:
        other.admit(ASKED)
        ledger.settle([])
        assert ledger.now() == other.now()


def test_a_clock_far_ahead_does_not_take_the_others_along(
    ledger: SqliteLedger, path: Path, clock: SetClock
) -> None:
    ahead = SetClock(clock.now + 86_400_000_000)
    with closing(SqliteLedger.at(path, clock=ahead)) as other:
        other.admit(ASKED)
        ledger.settle([])
        assert ledger.now() == NOON
        other.settle([])
        assert ledger.now() == NOON


def test_the_clock_of_the_system_is_the_default(path: Path) -> None:
    with closing(SqliteLedger.at(path)) as ledger:
        assert abs((ledger.now() - datetime.now(UTC)).total_seconds()) < 5


def test_a_forked_worker_must_open_its_own(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        with pytest.raises(LedgerUnavailable, match="before a fork"):
            ledger.admit(ASKED)
    assert isinstance(ledger.admit(ASKED), Admitted)
