"""The table of tools that sessions were offered, in the shared file."""

from typing import Final

TOOLS: Final = (
    """
    CREATE TABLE offered_tools (
        position INTEGER PRIMARY KEY, -- the lowest is the oldest
        run BLOB NOT NULL, -- the workers that share this
        session BLOB NOT NULL, -- keyed hash of tenant, agent, session and dialect
        name BLOB NOT NULL, -- keyed hash of the name, within the session
        digests TEXT NOT NULL, -- SHA-256 over each definition, ordered, a space between two
        at INTEGER NOT NULL, -- microseconds since 1970, UTC
        UNIQUE (run, session, name)
    )
    """,
)
