"""The layout, word for word: whoever changes it changes this, and writes a migration."""

import sqlite3
from collections.abc import Iterator
from dataclasses import fields

import pytest
from sqlite_utils import Database

from llmtrace.domain.findings import Finding
from llmtrace.domain.traces import AgentAction, AuditEvent, Tenant
from llmtrace.storage.migrations import migrate, migrations
from llmtrace.storage.sqlite_file import LAYOUT
from llmtrace.storage.sqlite_rows import ACTION_COLUMNS, FINDING_COLUMNS, TRACE_COLUMNS

TEXTS = (
    "trace_id tenant agent outcome run session client client_version provider dialect operation "
    "mode method host path model model_answered response_id verdict error_code error "
    "usage_source service_tier price_version stop_reason conversation parent_conversation details "
    "plan"
)
COUNTS = (
    "started_at stream turn input_tokens output_tokens cache_read_tokens cache_write_5m_tokens "
    "cache_write_1h_tokens input_audio_tokens cache_audio_read_tokens output_audio_tokens "
    "reasoning_tokens web_searches finding_count action_count"
)
TABLES = {
    "traces": {
        "id": "INTEGER",
        **dict.fromkeys(TEXTS.split(), "TEXT!"),
        **dict.fromkeys(COUNTS.split(), "INTEGER!"),
        "status": "INTEGER",
        "cost_nano_usd": "INTEGER",
        "ttft_ms": "REAL",
        "duration_ms": "REAL",
    },
    "findings": {
        "trace": "INTEGER!",
        "position": "INTEGER!",
        "kind": "TEXT!",
        "severity": "TEXT!",
        "confidence": "REAL!",
        "location": "TEXT!",
        "start": "INTEGER!",
        "end": "INTEGER!",
        "detector": "TEXT!",
        "verdict": "TEXT!",
        "rule": "TEXT!",
    },
    "actions": {
        "trace": "INTEGER!",
        "position": "INTEGER!",
        "action_type": "TEXT!",
        "name": "TEXT!",
        "arguments": "TEXT!",
        "call_id": "TEXT!",
        "success": "INTEGER",
        "result": "TEXT!",
    },
    "bodies": {
        "trace": "INTEGER!",
        "which": "TEXT!",
        "media_type": "TEXT!",
        "size": "INTEGER!",
        "digest": "BLOB!",
        "recipe": "BLOB!",
    },
    "pieces": {
        "id": "INTEGER",
        "digest": "BLOB!",
        "hour": "INTEGER!",
        "packed": "INTEGER!",
        "content": "BLOB!",
    },
    "texts": {"trace": "INTEGER", "content": "BLOB!"},
    "tenants": {
        "id": "TEXT!",
        "name": "TEXT!",
        "created_at": "INTEGER!",
        "plan": "TEXT!",
        "config": "TEXT!",
    },
    "audit_events": {
        "position": "INTEGER",
        "id": "TEXT!",
        "tenant": "TEXT!",
        "event_type": "TEXT!",
        "actor": "TEXT!",
        "resource": "TEXT!",
        "timestamp": "INTEGER!",
        "data": "TEXT!",
    },
}
INDEXES = {
    "audit_events_by_time",
    "pieces_by_hour",
    "traces_by_agent",
    "traces_by_conversation",
    "traces_by_model",
    "traces_by_run",
    "traces_by_tenant",
    "traces_by_time",
    "traces_with_findings",
}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def columns(db: sqlite3.Connection, table: str) -> dict[str, str]:
    rows = db.execute('SELECT name, type, "notnull" FROM pragma_table_info(?)', (table,))
    return {name: kind + "!" * required for name, kind, required in rows}


def test_the_layout_is_what_it_is(db: sqlite3.Connection) -> None:
    names = {
        name
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if not name.startswith(("sqlite_", "_sqlite", "texts_index"))
    }
    assert {name: columns(db, name) for name in names} == TABLES


def test_the_indexes_are_what_they_are(db: sqlite3.Connection) -> None:
    found = db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    assert {name for (name,) in found if not name.startswith("idx__")} == INDEXES


def test_the_index_of_words_keeps_no_copy_of_the_texts(db: sqlite3.Connection) -> None:
    (sql,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'texts_index'").fetchone()
    assert "content=''" in sql


def test_the_file_opens_by_the_names_of_the_migrations() -> None:
    assert tuple(one.name for one in migrations._migrations) == LAYOUT


def test_migrating_again_changes_nothing(db: sqlite3.Connection) -> None:
    before = db.execute("SELECT sql FROM sqlite_schema").fetchall()
    migrate(db)
    assert db.execute("SELECT sql FROM sqlite_schema").fetchall() == before


def test_findings_of_before_have_been_allowed_by_no_rule() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrations.apply(Database(connection), stop_before="m004_decisions")
    connection.execute("INSERT INTO findings VALUES (1, 0, 'k', 'high', 0.5, 'l', 0, 1, 'd')")
    migrate(connection)
    assert connection.execute("SELECT verdict, rule FROM findings").fetchall() == [("allow", "")]
    connection.close()


def test_calls_of_before_are_under_no_plan() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrations.apply(Database(connection), stop_before="m005_plans")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(traces)")]
    values = [0 if name in COUNTS.split() or name == "id" else "x" for name in columns]
    places = ", ".join("?" * len(columns))
    connection.execute(" ".join(("INSERT INTO traces VALUES (", places, ")")), values)
    migrate(connection)
    assert connection.execute("SELECT plan FROM traces").fetchall() == [("",)]
    connection.close()


def test_rows_are_written_to_columns_that_are_there() -> None:
    assert set(TRACE_COLUMNS) == set(TABLES["traces"])
    assert set(FINDING_COLUMNS) == set(TABLES["findings"])
    assert set(ACTION_COLUMNS) == set(TABLES["actions"])


@pytest.mark.parametrize(
    ("value", "table"),
    [
        (Finding, "findings"),
        (AgentAction, "actions"),
        (Tenant, "tenants"),
        (AuditEvent, "audit_events"),
    ],
)
def test_each_field_of_a_listed_value_has_a_column(value: type, table: str) -> None:
    assert {field.name for field in fields(value)} <= set(TABLES[table])


def test_there_is_no_column_for_a_credential() -> None:
    words = {word for table in TABLES.values() for name in table for word in name.split("_")}
    assert not words & {"header", "headers", "authorization", "token", "key", "secret", "cookie"}
