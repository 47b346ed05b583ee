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
        patched.setattr("llmtrace.storage.file_lock._forks", -1)
        with pytest.raises(LedgerUnavailable, match="before a fork"):
            ledger.admit(ASKED)
    assert isinstance(ledger.admit(ASKED), Admitted)


def spent(ledger: Ledger) -> tuple[int, int]:
    standing = ledger.standings("acme", ["total"])["total"]
    return standing.spent, standing.reserved


def numbered(number: int) -> Admission:
    return replace(ASKED, id=str(number))


def settled(number: int, usd: int) -> Settlement:
    return Settlement(id=str(number), tenant="acme", kind="settle", amounts={"usd": usd})


def test_what_it_has_written_is_not_read_again(
    ledger: SqliteLedger, file: SharedSqliteFile
) -> None:
    ledger.admit(numbered(1))
    asked: list[str] = []
    with file.writing() as db:
        db.set_trace_callback(asked.append)
    ledger.admit(numbered(2))  # it does not know what was just done through its file
    asked.clear()
    ledger.exchange([settled(1, 3)], [numbered(3)])
    assert not [text for text in asked if text.startswith("SELECT")]
    assert spent(ledger) == (3, 20)


def test_what_another_worker_writes_is_seen_at_once(
    ledger: SqliteLedger, path: Path, clock: SetClock
) -> None:
    with closing(SqliteLedger.at(path, clock=clock)) as other:
        for number in range(0, 8, 2):
            ledger.admit(numbered(number))
            other.admit(numbered(number + 1))
        other.exchange([settled(0, 1)], [])
        assert not ledger.settle([settled(0, 9)])[0].first
        ledger.exchange([settled(1, 2)], [])
        assert spent(ledger) == spent(other) == (3, 60)


def test_what_was_not_committed_is_not_remembered(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.admit(numbered(1))
    ledger.admit(numbered(2))

    def fail(*_: object, **__: object) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr("llmtrace.storage.sqlite_ledger_prune.Pruner.prune", fail)
        with pytest.raises(LedgerUnavailable):
            ledger.exchange([settled(1, 5)], [numbered(3)])
    assert ledger.settle([settled(1, 6)])[0].first
    assert isinstance(ledger.admit(numbered(3)), Admitted)
    assert spent(ledger) == (6, 20)


@pytest.mark.parametrize("between", [None, "extend", "once"])
def test_what_could_not_be_committed_is_not_remembered(
    ledger: SqliteLedger, file: SharedSqliteFile, between: str | None
) -> None:
    ledger.admit(numbered(1))
    with file.writing() as db:
        pass
    ledger.admit(numbered(2))
    db.set_authorizer(
        lambda action, what, *_: action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT"
    )
    with pytest.raises(LedgerUnavailable):
        ledger.exchange([settled(1, 5)], [numbered(3)])
    db.set_authorizer(None)
    if between:
        CALLS[between](ledger)
    assert ledger.settle([settled(1, 6)])[0].first
    assert isinstance(ledger.admit(numbered(3)), Admitted)
    assert spent(ledger) == (6, 20)


def test_what_is_written_beside_the_calls_is_known(ledger: SqliteLedger) -> None:
    ledger.admit(numbered(1))
    ledger.raise_spent("acme", NODE, 50)
    ledger.admit(numbered(2))
    assert spent(ledger) == (50, 20)


def test_a_budget_that_was_forgotten_begins_anew(ledger: SqliteLedger, clock: SetClock) -> None:
    node = replace(NODE, ends=NOON)
    for number in range(60):
        ledger.admit(replace(numbered(number), nodes=(node,), amounts={"usd": 1}))
        ledger.settle([settled(number, 1)])
    clock.step(90 * 86_400)
    for number in range(60, 120):  # one of so many transactions forgets what has ended
        ledger.settle([settled(number, 1)])
    ledger.admit(replace(numbered(120), nodes=(node,)))
    assert spent(ledger) == (0, 10)
