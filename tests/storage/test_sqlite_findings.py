import sqlite3
from collections.abc import Iterator

import pytest

from llmtrace.domain.findings import Severity
from llmtrace.storage.base import FindingQuery
from llmtrace.storage.migrations import migrate
from llmtrace.storage.sqlite_findings import findings_sql


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def test_values_are_never_in_the_statement() -> None:
    sql, values = findings_sql(FindingQuery(tenant="' OR 1=1 --", kind="x?", limit=7))
    assert "OR 1=1" not in sql
    assert values[:2] == ["' OR 1=1 --", "x[?]"]
    assert values[-1] == 7
    assert sql.count("?") == len(values)


def test_a_severity_means_all_that_are_worse() -> None:
    _, values = findings_sql(FindingQuery(severity=Severity.HIGH))
    assert values == ["critical", "high", 50]


@pytest.mark.parametrize(
    "query",
    [FindingQuery(), FindingQuery(kind="pii.*"), FindingQuery(tenant="x", trace_id="y")],
    ids=["all", "of-a-kind", "of-a-call"],
)
def test_a_page_is_read_in_order_and_nothing_is_sorted(
    db: sqlite3.Connection, query: FindingQuery
) -> None:
    sql, values = findings_sql(query)
    plan = "\n".join(row[3] for row in db.execute("EXPLAIN QUERY PLAN " + sql, values))
    assert "TEMP B-TREE" not in plan
    assert "traces USING INDEX traces_with_findings" in plan
    assert "findings USING PRIMARY KEY" in plan
