import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from llmtrace.storage import sqlite_ledger_calls as calls
from llmtrace.storage.ledger import (
    KEEP_SETTLED,
    LARGEST,
    Admission,
    Admitted,
    Node,
    Pace,
    Settlement,
    State,
)
from llmtrace.storage.sqlite_ledger_tables import LEDGER

NOW = 1_800_000_000_000_000
NODE = Node(key="total", unit="usd", limit=100, ends=None)
PACE = Pace(key="tpm", unit="tokens", emission_ns=1000, burst=100)
ASKED = Admission(
    id="1", tenant="acme", amounts={"usd": 10, "tokens": 5}, nodes=(NODE,), paces=(PACE,)
)
SETTLE = Settlement(id="1", tenant="acme", kind="settle", amounts={"usd": 7, "tokens": 2})


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        for statement in LEDGER:
            opened.execute(statement)
        yield opened


def everything(db: sqlite3.Connection) -> list[object]:
    tables = ("ledger_nodes", "ledger_paces", "ledger_calls")
    return [db.execute(f"SELECT * FROM {name}").fetchall() for name in tables]  # noqa: S608


def test_a_denied_call_writes_nothing(db: sqlite3.Connection) -> None:
    before = everything(db)
    writes = db.total_changes
    calls.admit(db, replace(ASKED, amounts={"usd": 101, "tokens": 5}), NOW)
    calls.admit(db, replace(ASKED, amounts={"usd": 10, "tokens": 101}), NOW)
    assert everything(db) == before
    assert db.total_changes == writes


def test_a_repetition_writes_nothing(db: sqlite3.Connection) -> None:
    calls.admit(db, ASKED, NOW)
    calls.settle(db, SETTLE, NOW)
    before = everything(db)
    calls.admit(db, ASKED, NOW)
    calls.settle(db, SETTLE, NOW)
    calls.settle(db, replace(SETTLE, kind="expire_charge"), NOW)
    assert everything(db) == before


def test_a_call_is_forgotten_on_time_even_if_its_row_is_there(db: sqlite3.Connection) -> None:
    calls.admit(db, ASKED, NOW)
    calls.settle(db, SETTLE, NOW)
    later = NOW + KEEP_SETTLED // KEEP_SETTLED.resolution
    assert calls.settle(db, SETTLE, later - 1).state is State.SETTLED
    assert calls.settle(db, SETTLE, later).state is State.UNKNOWN
    answer = calls.admit(db, ASKED, later)
    assert isinstance(answer, Admitted)
    assert not answer.duplicate
    assert calls.sums_of(db, "acme", "total") == (7, 10)


def test_what_is_settled_after_its_node_is_gone_is_kept(db: sqlite3.Connection) -> None:
    calls.admit(db, ASKED, NOW)
    db.execute("DELETE FROM ledger_nodes")
    db.execute("DELETE FROM ledger_paces")
    calls.settle(db, SETTLE, NOW)
    assert calls.sums_of(db, "acme", "total") == (7, 0)


def test_the_statements_know_the_largest_number() -> None:
    source = inspect.getsource(calls)
    assert source.count(str(LARGEST)) == 2
