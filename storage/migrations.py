"""The layout of the SQLite file, one function for each change. Never edited after release.

``sqlite_file.LAYOUT`` repeats the names, so that a file that is up to date opens without
sqlite-utils, whose import alone takes longer than a query.
"""

import sqlite3
from typing import Final

from sqlite_utils import Database, Migrations

migrations: Final = Migrations("llmtrace")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file up to date; each step is one transaction together with its record."""
    migrations.apply(Database(connection, execute_plugins=False))


TRACES: Final = """
CREATE TABLE traces (
    id INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL UNIQUE,
    started_at INTEGER NOT NULL, -- microseconds since 1970, UTC
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    outcome TEXT NOT NULL,
    run TEXT NOT NULL,
    session TEXT NOT NULL,
    client TEXT NOT NULL,
    client_version TEXT NOT NULL,
    provider TEXT NOT NULL,
    dialect TEXT NOT NULL,
    operation TEXT NOT NULL,
    mode TEXT NOT NULL,
    method TEXT NOT NULL,
    host TEXT NOT NULL,
    path TEXT NOT NULL,
    model TEXT NOT NULL,
    model_answered TEXT NOT NULL,
    response_id TEXT NOT NULL,
    stream INTEGER NOT NULL,
    status INTEGER,
    verdict TEXT NOT NULL,
    error_code TEXT NOT NULL,
    error TEXT NOT NULL,
    usage_source TEXT NOT NULL,
    service_tier TEXT NOT NULL,
    cost_nano_usd INTEGER,
    price_version TEXT NOT NULL,
    ttft_ms REAL,
    duration_ms REAL,
    stop_reason TEXT NOT NULL,
    conversation TEXT NOT NULL,
    parent_conversation TEXT NOT NULL,
    turn INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    input_audio_tokens INTEGER NOT NULL,
    cache_audio_read_tokens INTEGER NOT NULL,
    output_audio_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    web_searches INTEGER NOT NULL,
    finding_count INTEGER NOT NULL,
    action_count INTEGER NOT NULL,
    details TEXT NOT NULL -- JSON: every other field of a trace
)
"""


@migrations()
def m001_traces(db: Database) -> None:
    """Traces with their findings and actions. Columns are what lists, filters and sums read."""
    db.execute(TRACES)
    db.execute("CREATE INDEX traces_by_time ON traces (started_at)")
    db.execute("CREATE INDEX traces_by_tenant ON traces (tenant, trace_id) WHERE tenant <> ''")
    db.execute("CREATE INDEX traces_by_agent ON traces (agent, trace_id) WHERE agent <> ''")
    db.execute("CREATE INDEX traces_by_model ON traces (model, trace_id) WHERE model <> ''")
    db.execute("CREATE INDEX traces_by_run ON traces (run, trace_id) WHERE run <> ''")
    db.execute(
        "CREATE INDEX traces_by_conversation ON traces (conversation, trace_id) "
        "WHERE conversation <> ''"
    )
    db.execute(
        """
        CREATE TABLE findings (
            trace INTEGER NOT NULL, -- traces.id
            position INTEGER NOT NULL,
            kind TEXT NOT NULL,
            severity TEXT NOT NULL,
            confidence REAL NOT NULL,
            location TEXT NOT NULL,
            "start" INTEGER NOT NULL, -- code points
            "end" INTEGER NOT NULL,
            detector TEXT NOT NULL,
            PRIMARY KEY (trace, position)
        ) WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE actions (
            trace INTEGER NOT NULL, -- traces.id
            position INTEGER NOT NULL,
            action_type TEXT NOT NULL,
            name TEXT NOT NULL,
            arguments TEXT NOT NULL,
            call_id TEXT NOT NULL,
            success INTEGER,
            result TEXT NOT NULL,
            PRIMARY KEY (trace, position)
        ) WITHOUT ROWID
        """
    )


@migrations()
def m002_bodies(db: Database) -> None:
    """Bodies as lists of pieces that are kept once, and the words that calls are found by."""
    db.execute(
        """
        CREATE TABLE bodies (
            trace INTEGER NOT NULL, -- traces.id
            which TEXT NOT NULL, -- request, answer
            media_type TEXT NOT NULL,
            size INTEGER NOT NULL, -- bytes
            digest BLOB NOT NULL, -- BLAKE2b-128 of the whole body
            recipe BLOB NOT NULL, -- zstd of the ids of its pieces as zigzag varint differences
            PRIMARY KEY (trace, which)
        ) WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE pieces (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE, -- BLAKE2b-160
            hour INTEGER NOT NULL, -- the latest, since 1970, in which a trace with it began
            packed INTEGER NOT NULL, -- 1: content is zstd
            content BLOB NOT NULL
        )
        """
    )
    db.execute("CREATE INDEX pieces_by_hour ON pieces (hour)")
    db.execute(
        """
        CREATE TABLE texts (
            trace INTEGER PRIMARY KEY, -- traces.id
            content BLOB NOT NULL -- zstd of the JSON of prompt and answer
        )
        """
    )
    db.execute(
        """
        CREATE VIRTUAL TABLE texts_index USING fts5(
            prompt, answer, content='', tokenize='unicode61 remove_diacritics 2'
        )
        """
    )


@migrations()
def m003_metadata(db: Database) -> None:
    """Who pays, and what was done to the gateway."""
    db.execute(
        """
        CREATE TABLE tenants (
            id TEXT PRIMARY KEY NOT NULL,
            name TEXT NOT NULL,
            created_at INTEGER NOT NULL, -- microseconds since 1970, UTC
            plan TEXT NOT NULL,
            config TEXT NOT NULL -- JSON
        )
        """
    )
    db.execute(
        """
        CREATE TABLE audit_events (
            position INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            tenant TEXT NOT NULL,
            event_type TEXT NOT NULL,
            actor TEXT NOT NULL,
            resource TEXT NOT NULL,
            timestamp INTEGER NOT NULL, -- microseconds since 1970, UTC
            data TEXT NOT NULL -- JSON
        )
        """
    )
    db.execute("CREATE INDEX audit_events_by_time ON audit_events (timestamp)")


@migrations()
def m004_decisions(db: Database) -> None:
    """What the policy made of each finding, and the few calls that have any, newest first."""
    db.execute("ALTER TABLE findings ADD COLUMN verdict TEXT NOT NULL DEFAULT 'allow'")
    db.execute("ALTER TABLE findings ADD COLUMN rule TEXT NOT NULL DEFAULT ''")
    db.execute(
        "CREATE UNIQUE INDEX traces_with_findings ON traces (trace_id) WHERE finding_count > 0"
    )


@migrations()
def m005_plans(db: Database) -> None:
    """Under which subscription a call was made: sums tell these apart."""
    db.execute("ALTER TABLE traces ADD COLUMN plan TEXT NOT NULL DEFAULT ''")
