import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from llmtrace.storage import sqlite_ledger_marks as marks
from llmtrace.storage.ledger import LARGEST, LedgerFull
from llmtrace.storage.sqlite_ledger_tables import LEDGER
from llmtrace.storage.sqlite_values import time_out

NOW = 1_800_000_000_000_000


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        for statement in LEDGER:
            opened.execute(statement)
        yield opened


def test_holds_are_bounded(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MAX_HOLDS", 2)
    marks.hold(db, "a", "reason", time_out(NOW + 10), NOW)
    marks.hold(db, "b", "reason", None, NOW)
    marks.hold(db, "b", "another", None, NOW)
    with pytest.raises(LedgerFull, match="2 are on hold"):
        marks.hold(db, "c", "reason", None, NOW)
    db.execute("DELETE FROM ledger_holds WHERE key = 'c'")  # as the transaction would
    marks.hold(db, "c", "reason", None, NOW + 10)
    assert [hold.key for hold in marks.holds(db, NOW + 10)] == ["b", "c"]


def test_a_counter_of_another_window_begins_anew(db: sqlite3.Connection) -> None:
    assert marks.bump(db, "a", 5, 60, NOW) == 5
    assert marks.bump(db, "a", 1, 3600, NOW) == 1
    assert marks.bump(db, "a", 1, 3600, NOW) == 2


def test_a_mark_that_has_ended_already_is_new(db: sqlite3.Connection) -> None:
    for _ in range(2):
        assert marks.once(db, "a", time_out(NOW), NOW)


def test_the_statements_know_the_largest_number() -> None:
    assert inspect.getsource(marks).count(str(LARGEST)) == 1
