"""Findings over all calls: the query, and its rows as sightings."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from llmtrace.domain.findings import Verdict
from llmtrace.storage.base import FindingQuery, Sighting
from llmtrace.storage.search import glob
from llmtrace.storage.sqlite_rows import FINDING_COLUMNS, Row, SqlValue, finding_of
from llmtrace.storage.sqlite_values import text_in, text_out, time_in, time_out

_CALL: Final = ("trace_id", "started_at", "tenant", "agent", "verdict")
_CONDITIONS: Final[Mapping[str, tuple[str, Callable[[Any], SqlValue]]]] = {
    "since": ("traces.started_at >= ?", time_in),
    "until": ("traces.started_at < ?", time_in),
    "tenant": ("traces.tenant = ?", text_in),
    "agent": ("traces.agent = ?", text_in),
    "trace_id": ("traces.trace_id = ?", text_in),
    "kind": ("findings.kind GLOB ?", lambda kind: text_in(glob(kind))),
    "verdict": ("findings.verdict = ?", str),
}

_FROM: Final = (
    "FROM traces INDEXED BY traces_with_findings "
    "CROSS JOIN findings ON findings.trace = traces.id WHERE"
)


def findings_sql(query: FindingQuery) -> tuple[str, list[SqlValue]]:
    """Return the statement of a query, and its values; nobody's text is in the statement.

    The calls are gone through, newest first, and only those that have findings: a few from the
    end of their index are enough for a page.
    """
    wanted = {
        name: condition
        for name, condition in _CONDITIONS.items()
        if getattr(query, name) is not None
    }
    severities = query.severities
    conditions = [
        "traces.finding_count > 0",
        *(sql for sql, _ in wanted.values()),
        " ".join(("findings.severity IN (", ", ".join("?" * len(severities)), ")")),
    ]
    columns = [f"traces.{name}" for name in _CALL]
    columns += [f'findings."{name}"' for name in FINDING_COLUMNS]
    statement = (
        "SELECT",
        ", ".join(columns),
        _FROM,
        " AND ".join(conditions),
        "ORDER BY traces.trace_id DESC, findings.position LIMIT ?",
    )
    values = [to_sql(getattr(query, name)) for name, (_, to_sql) in wanted.items()]
    return " ".join(statement), [*values, *map(str, severities), max(0, query.limit)]


def sightings(rows: Iterator[Row]) -> Iterator[Sighting]:
    """Build the findings of the rows that ``findings_sql`` selects."""
    for row in rows:
        trace_id, started_at, tenant, agent, verdict = row[: len(_CALL)]
        yield Sighting(
            trace_id=text_out(trace_id),
            started_at=time_out(started_at),
            tenant=text_out(tenant),
            agent=text_out(agent),
            call_verdict=Verdict(text_out(verdict)),
            finding=finding_of(row[len(_CALL) :]),
        )
