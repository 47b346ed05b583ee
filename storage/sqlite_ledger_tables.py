"""The tables of the ledger in the shared file. Times are microseconds since 1970, UTC."""

from typing import Final

LEDGER: Final = (
    """
    CREATE TABLE ledger_clock (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seen INTEGER NOT NULL -- the latest time that any worker has seen
    )
    """,
    "INSERT INTO ledger_clock VALUES (1, 0)",
    """
    CREATE TABLE ledger_nodes (
        tenant TEXT NOT NULL,
        key TEXT NOT NULL,
        unit TEXT NOT NULL,
        spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
        reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
        upper INTEGER, -- the limit when a call was admitted last, NULL for none
        ends INTEGER, -- NULL for a total
        PRIMARY KEY (tenant, key)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_nodes_by_end ON ledger_nodes (ends) WHERE ends IS NOT NULL",
    """
    CREATE TABLE ledger_paces (
        tenant TEXT NOT NULL,
        key TEXT NOT NULL,
        held INTEGER NOT NULL CHECK (held >= 0), -- nanoseconds until it is empty, at ``at``
        at INTEGER NOT NULL,
        empty INTEGER NOT NULL, -- when it can be forgotten
        PRIMARY KEY (tenant, key)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_paces_by_end ON ledger_paces (empty)",
    """
    CREATE TABLE ledger_calls (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        state TEXT NOT NULL,
        owner TEXT NOT NULL,
        strict INTEGER NOT NULL,
        ends INTEGER NOT NULL, -- of the lease while it is open, then of the memory of it
        amounts TEXT NOT NULL, -- JSON: unit to amount
        charged TEXT NOT NULL,
        nodes TEXT NOT NULL, -- JSON: key and unit of each
        paces TEXT NOT NULL, -- JSON: key, unit and nanoseconds for a unit of each
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_calls_open ON ledger_calls (ends) WHERE state = 'open'",
    "CREATE INDEX ledger_calls_ended ON ledger_calls (ends) WHERE state <> 'open'",
    """
    CREATE TABLE ledger_marks (
        key TEXT PRIMARY KEY NOT NULL,
        ends INTEGER -- NULL for ever
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_marks_by_end ON ledger_marks (ends) WHERE ends IS NOT NULL",
    """
    CREATE TABLE ledger_counts (
        key TEXT PRIMARY KEY NOT NULL,
        began INTEGER NOT NULL,
        ends INTEGER NOT NULL,
        count INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_counts_by_end ON ledger_counts (ends)",
    """
    CREATE TABLE ledger_holds (
        key TEXT PRIMARY KEY NOT NULL,
        reason TEXT NOT NULL,
        since INTEGER NOT NULL,
        ends INTEGER -- NULL until a person releases it
    ) WITHOUT ROWID
    """,
)
