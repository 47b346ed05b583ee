import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from llmtrace.storage.ledger import LARGEST
from llmtrace.storage.sqlite_ledger_sheet import Known, NodeSums, PaceLevel, Sheet
from llmtrace.storage.sqlite_ledger_tables import LEDGER

NOW = 1_800_000_000_000_000


@pytest.fixture
def statements() -> list[str]:
    return []


@pytest.fixture
def db(statements: list[str]) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        for statement in LEDGER:
            opened.execute(statement)
        opened.set_trace_callback(statements.append)
        yield opened


def node(db: sqlite3.Connection) -> NodeSums:
    return Sheet(db, NOW).node("acme", "total")


def pace(db: sqlite3.Connection, now: int = NOW) -> PaceLevel:
    return Sheet(db, now).pace("acme", "rps")


def test_what_is_changed_is_read_and_written_once(
    db: sqlite3.Connection, statements: list[str]
) -> None:
    sheet = Sheet(db, NOW)
    for _ in range(3):
        sheet.node("acme", "total").reserve(10, "usd", 100, None)
        sheet.node("acme", "total").book(4, 3, "usd", None)
        sheet.pace("acme", "rps").add(1000)
    sheet.write()
    assert len(statements) == 4
    assert (node(db).spent, node(db).reserved, node(db).upper) == (9, 18, 100)
    assert pace(db).held == 3000


def test_what_is_only_read_is_not_written(db: sqlite3.Connection) -> None:
    sheet = Sheet(db, NOW)
    sheet.node("acme", "total")
    sheet.pace("acme", "rps")
    sheet.write()
    assert db.total_changes == 1, "the clock's row, when the tables were made"


def test_nodes_of_other_tenants_are_others(db: sqlite3.Connection) -> None:
    sheet = Sheet(db, NOW)
    sheet.node("other", "total").reserve(10, "usd", 100, None)
    sheet.write()
    assert node(db).reserved == 0


def test_a_limit_that_changes_is_kept_and_one_that_is_gone_too(db: sqlite3.Connection) -> None:
    for limit in (100, 50, None):
        sheet = Sheet(db, NOW)
        sheet.node("acme", "total").reserve(1, "usd", limit, NOW)
        sheet.write()
        assert (node(db).upper, node(db).ends) == (limit, NOW)
    assert node(db).reserved == 3


def test_sums_stay_within_what_can_be_counted() -> None:
    sums = NodeSums()
    sums.reserve(LARGEST, "usd", None, None)
    sums.reserve(LARGEST, "usd", None, None)
    sums.book(0, LARGEST, "usd", None)
    sums.book(0, LARGEST, "usd", None)
    assert (sums.spent, sums.reserved) == (LARGEST, LARGEST)
    sums.book(LARGEST, -LARGEST, "usd", None)
    sums.book(LARGEST, -LARGEST, "usd", None)
    assert (sums.spent, sums.reserved) == (0, 0)


def test_a_pace_that_goes_on_leaves_the_index_alone(db: sqlite3.Connection) -> None:
    for step in range(5):
        sheet = Sheet(db, NOW + step)
        sheet.pace("acme", "rps").add(1_000_000)
        sheet.write()
    ((ends,),) = db.execute("SELECT empty FROM ledger_paces").fetchall()
    assert ends > NOW + 1001, "and is not forgotten before it is empty"
    assert pace(db, NOW + 4).held == 5_000_000 - 4_000
    assert pace(db, NOW + 60_000_000).held == 0


def test_a_pace_that_is_held_for_long_is_kept_for_as_long(db: sqlite3.Connection) -> None:
    for _ in range(2):
        sheet = Sheet(db, NOW)
        sheet.pace("acme", "rps").add(100_000_000_000)
        sheet.write()
    ((ends,),) = db.execute("SELECT empty FROM ledger_paces").fetchall()
    assert ends >= NOW + 200_000_000


def test_a_pace_that_was_only_looked_at_is_read_again_where_time_runs_back(
    db: sqlite3.Connection,
) -> None:
    known = Known()
    sheet = Sheet(db, NOW, known)
    sheet.pace("acme", "rps").add(10_000_000)
    sheet.write()
    for moment in (NOW + 2_000, NOW + 1_000, NOW + 2_000):
        sheet = Sheet(db, moment, known)
        assert sheet.pace("acme", "rps").held == 10_000_000 - (moment - NOW) * 1000
        sheet.write()
