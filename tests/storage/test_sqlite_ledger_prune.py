import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from llmtrace.storage import sqlite_ledger_calls as calls
from llmtrace.storage import sqlite_ledger_marks as marks
from llmtrace.storage.ledger import (
    GRACE,
    KEEP_SETTLED,
    Admission,
    Admitted,
    Denied,
    Node,
    Pace,
    Settled,
    Settlement,
)
from llmtrace.storage.sqlite_ledger_prune import EVERY, MOST, Pruner
from llmtrace.storage.sqlite_ledger_tables import LEDGER
from llmtrace.storage.sqlite_values import time_out

NOW = 1_800_000_000_000_000
LATER = NOW + (GRACE + timedelta(days=1)) // GRACE.resolution
TABLES = ("nodes", "paces", "calls", "marks", "counts")


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        for statement in LEDGER:
            opened.execute(statement)
        yield opened


def admit(db: sqlite3.Connection, asked: Admission, now: int) -> Admitted | Denied:
    _, (answer,) = calls.exchange(db, [], [asked], now)
    return answer


def settle(db: sqlite3.Connection, settlement: Settlement, now: int) -> Settled:
    (settled,), _ = calls.exchange(db, [settlement], [], now)
    return settled


def fill(db: sqlite3.Connection, count: int) -> None:
    for number in range(count):
        node = Node(key=f"n{number}", unit="usd", limit=None, ends=time_out(NOW))
        pace = Pace(key=f"p{number}", unit="calls", emission_ns=1000, burst=9)
        amounts = {"usd": 1, "calls": 1}
        asked = Admission(id=str(number), tenant="t", amounts=amounts, nodes=(node,), paces=(pace,))
        admit(db, asked, NOW)
        settle(db, Settlement(id=str(number), tenant="t", kind="settle"), NOW)
        marks.once(db, str(number), time_out(NOW + 1), NOW)
        marks.bump(db, str(number), 1, 60, NOW)


def rows(db: sqlite3.Connection) -> dict[str, int]:
    return {
        name: db.execute(f"SELECT count(*) FROM ledger_{name}").fetchone()[0]  # noqa: S608
        for name in TABLES
    }


def test_all_that_is_old_goes_a_little_at_a_time(db: sqlite3.Connection) -> None:
    fill(db, MOST + 20)
    pruner = Pruner()
    before = rows(db)
    pruner.prune(db, LATER, settled=10)
    assert before["calls"] - rows(db)["calls"] == 22
    pruner.prune(db, LATER, settled=10_000)
    assert rows(db)["calls"] == 0
    for _ in range(EVERY):
        pruner.prune(db, LATER, settled=1)
    assert rows(db) == {"nodes": 20, "paces": 20, "calls": 0, "marks": 20, "counts": 20}
    for _ in range(EVERY):
        pruner.prune(db, LATER, settled=1)
    assert rows(db) == dict.fromkeys(TABLES, 0)


def test_what_may_be_asked_for_stays(db: sqlite3.Connection) -> None:
    fill(db, 1)
    asked = Admission(id="open", tenant="t", amounts={}, lease_seconds=1)
    admit(db, asked, NOW)
    total = Node(key="total", unit="usd", limit=None, ends=None)
    admit(db, Admission(id="2", tenant="t", amounts={"usd": 1}, nodes=(total,)), NOW)
    marks.once(db, "ever", None, NOW)
    pruner = Pruner()
    for _ in range(EVERY):
        pruner.prune(db, NOW + KEEP_SETTLED // KEEP_SETTLED.resolution - 1, settled=9)
    assert rows(db)["nodes"] == 2, "its period ended a moment ago"
    assert rows(db)["calls"] == 3
    for _ in range(EVERY):
        pruner.prune(db, LATER, settled=9)
    assert rows(db) == {"nodes": 1, "paces": 0, "calls": 2, "marks": 1, "counts": 0}
