import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from llmtrace.storage import sqlite_ledger_calls as calls
from llmtrace.storage.ledger import (
    KEEP_SETTLED,
    Admission,
    Admitted,
    Denied,
    Node,
    Pace,
    Settled,
    Settlement,
    State,
)
from llmtrace.storage.sqlite_ledger_sheet import Sheet
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


def admit(db: sqlite3.Connection, asked: Admission, now: int) -> Admitted | Denied:
    _, (answer,) = calls.exchange(db, [], [asked], now)
    return answer


def settle(db: sqlite3.Connection, settlement: Settlement, now: int) -> Settled:
    (settled,), _ = calls.exchange(db, [settlement], [], now)
    return settled


def sums_of(db: sqlite3.Connection) -> tuple[int, int]:
    node = Sheet(db, NOW).node("acme", "total")
    return node.spent, node.reserved


def everything(db: sqlite3.Connection) -> list[object]:
    tables = ("ledger_nodes", "ledger_paces", "ledger_calls")
    return [db.execute(f"SELECT * FROM {name}").fetchall() for name in tables]  # noqa: S608


def test_a_denied_call_writes_nothing(db: sqlite3.Connection) -> None:
    before = everything(db)
    writes = db.total_changes
    admit(db, replace(ASKED, amounts={"usd": 101, "tokens": 5}), NOW)
    admit(db, replace(ASKED, amounts={"usd": 10, "tokens": 101}), NOW)
    assert everything(db) == before
    assert db.total_changes == writes


def test_a_repetition_writes_nothing(db: sqlite3.Connection) -> None:
    admit(db, ASKED, NOW)
    settle(db, SETTLE, NOW)
    before = everything(db)
    admit(db, ASKED, NOW)
    settle(db, SETTLE, NOW)
    settle(db, replace(SETTLE, kind="expire_charge"), NOW)
    assert everything(db) == before


def test_a_call_is_forgotten_on_time_even_if_its_row_is_there(db: sqlite3.Connection) -> None:
    admit(db, ASKED, NOW)
    settle(db, SETTLE, NOW)
    later = NOW + KEEP_SETTLED // KEEP_SETTLED.resolution
    assert settle(db, SETTLE, later - 1).state is State.SETTLED
    assert settle(db, SETTLE, later).state is State.UNKNOWN
    answer = admit(db, ASKED, later)
    assert isinstance(answer, Admitted)
    assert not answer.duplicate
    assert sums_of(db) == (7, 10)


def test_what_is_settled_after_its_node_is_gone_is_kept(db: sqlite3.Connection) -> None:
    admit(db, ASKED, NOW)
    db.execute("DELETE FROM ledger_nodes")
    db.execute("DELETE FROM ledger_paces")
    settle(db, SETTLE, NOW)
    assert sums_of(db) == (7, 0)
