"""The tables of tenants, the audit log and keys in the shared file. Times as in the ledger's."""

from typing import Final

IDENTITY: Final = (
    """
    CREATE TABLE tenants (
        id TEXT PRIMARY KEY NOT NULL,
        name TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        plan TEXT NOT NULL,
        config TEXT NOT NULL -- JSON
    )
    """,
    """
    CREATE TABLE audit_events (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        event_type TEXT NOT NULL,
        actor TEXT NOT NULL,
        resource TEXT NOT NULL,
        timestamp INTEGER NOT NULL,
        data TEXT NOT NULL -- JSON
    )
    """,
    "CREATE INDEX audit_events_by_time ON audit_events (timestamp)",
    """
    CREATE TABLE api_keys (
        id TEXT PRIMARY KEY NOT NULL,
        tenant TEXT NOT NULL,
        agent TEXT NOT NULL,
        role TEXT NOT NULL,
        name TEXT NOT NULL,
        run TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER, -- NULL for never
        revoked_at INTEGER,
        rotated_at INTEGER,
        digest BLOB NOT NULL, -- HMAC-SHA256 of the key under the installation's secret
        previous BLOB, -- that of the secret before, good until previous_until
        previous_until INTEGER
    ) WITHOUT ROWID
    """,
    "CREATE INDEX api_keys_by_tenant ON api_keys (tenant)",
    """
    CREATE TABLE adopted_files (
        path TEXT PRIMARY KEY NOT NULL -- a file of traces whose tenants and audit log are here
    ) WITHOUT ROWID
    """,
)
