from datetime import UTC
from pathlib import Path

from llmtrace.storage.base import TraceQuery
from llmtrace.storage.sqlite_costs import read_costs
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_traces import SqliteTraceRepository
from llmtrace.testing.records import a_record


def test_a_name_in_the_query_is_no_sql(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "llmtrace.db")
    store = SqliteTraceRepository(file)
    store.put([a_record(1, agent="a' OR 1=1 --"), a_record(2)])
    with file.reading() as db:
        rows = read_costs(db, TraceQuery(agent="a' OR 1=1 --"), "agent", UTC)
    assert [row.calls for row in rows] == [1]
    store.close()
