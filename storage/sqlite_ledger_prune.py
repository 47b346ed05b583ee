"""Forgets what the ledger need not know any more, a little with each transaction."""

from sqlite3 import Connection
from typing import Final

from llmtrace.storage.ledger import GRACE

_CALLS: Final = """
DELETE FROM ledger_calls WHERE (tenant, id) IN (
    SELECT tenant, id FROM ledger_calls WHERE state <> 'open' AND ends <= ? ORDER BY ends LIMIT ?
)
"""
_REST: Final = (
    """
    DELETE FROM ledger_nodes WHERE (tenant, key) IN (
        SELECT tenant, key FROM ledger_nodes WHERE ends <= ? - {grace}
        ORDER BY ends LIMIT {most}
    )
    """,
    """
    DELETE FROM ledger_paces WHERE (tenant, key) IN (
        SELECT tenant, key FROM ledger_paces WHERE empty <= ? ORDER BY empty LIMIT {most}
    )
    """,
    """
    DELETE FROM ledger_marks WHERE key IN (
        SELECT key FROM ledger_marks WHERE ends <= ? ORDER BY ends LIMIT {most}
    )
    """,
    """
    DELETE FROM ledger_counts WHERE key IN (
        SELECT key FROM ledger_counts WHERE ends <= ? ORDER BY ends LIMIT {most}
    )
    """,
)
MOST: Final = 100
"""Most rows of a table that one transaction deletes."""

EVERY: Final = 50
"""Of so many transactions one looks at what is not a call."""

TOGETHER: Final = 8
"""Calls that are settled before it is looked for those to forget."""

_STATEMENTS: Final = tuple(
    text.format(grace=GRACE // GRACE.resolution, most=MOST) for text in _REST
)


class Pruner:
    """Deletes faster than calls come in: two for each that is settled, at least."""

    def __init__(self) -> None:
        self._turns = 0
        self._settled = 0

    def prune(self, db: Connection, now: int, *, settled: int) -> bool:
        """Delete a little; return whether that may be more than calls that have ended."""
        self._settled += settled
        if self._settled >= TOGETHER:
            db.execute(_CALLS, (now, min(MOST, 2 * self._settled + 2)))
            self._settled = 0
        self._turns += 1
        if self._turns % EVERY:
            return False
        for statement in _STATEMENTS:
            db.execute(statement, (now,))
        return True
