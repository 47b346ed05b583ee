import sqlite3
from collections.abc import Iterator

import pytest

from llmtrace.storage.base import TraceQuery
from llmtrace.storage.migrations import migrate
from llmtrace.storage.sqlite_search import where
from llmtrace.testing.records import NOON


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def plan(db: sqlite3.Connection, query: TraceQuery) -> str:
    clause, values = where(query)
    sql = " ".join(("EXPLAIN QUERY PLAN SELECT * FROM traces", clause, "ORDER BY trace_id DESC"))
    return "\n".join(row[3] for row in db.execute(sql, values))


def test_everything_needs_no_condition() -> None:
    assert where(TraceQuery()) == ("", [])
    assert where(TraceQuery(), "trace_id > ?") == ("WHERE trace_id > ?", [])


def test_values_are_never_in_the_statement() -> None:
    clause, values = where(TraceQuery(tenant="' OR 1=1 --", text="sesame", since=NOON))
    assert "OR 1=1" not in clause
    assert "sesame" not in clause
    assert values == [1772625600000000, "' OR 1=1 --", '"sesame"']


def test_a_search_without_words_finds_nothing() -> None:
    assert where(TraceQuery(text="?")) == ("WHERE 0", [])


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (TraceQuery(), "sqlite_autoindex_traces_1"),
        (TraceQuery(before_id="x"), "sqlite_autoindex_traces_1"),
        (TraceQuery(tenant="x"), "traces_by_tenant"),
        (TraceQuery(agent="x"), "traces_by_agent"),
        (TraceQuery(model="x"), "traces_by_model"),
        (TraceQuery(run="x"), "traces_by_run"),
        (TraceQuery(conversation="x"), "traces_by_conversation"),
        (TraceQuery(conversation="x", before_id="y"), "traces_by_conversation"),
    ],
    ids=str,
)
def test_pages_are_read_in_order_from_an_index(
    db: sqlite3.Connection, query: TraceQuery, index: str
) -> None:
    steps = plan(db, query)
    assert index in steps
    assert "TEMP B-TREE" not in steps  # nothing is sorted, so a page costs a page


def test_a_filter_for_the_empty_text_is_answered_too(db: sqlite3.Connection) -> None:
    assert "SCAN" in plan(db, TraceQuery(run=""))
