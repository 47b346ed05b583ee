"""Queries as SQL: fixed fragments with places for values, and never anybody's text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmtrace.storage.base import TraceQuery
from llmtrace.storage.search import fts_query
from llmtrace.storage.sqlite_values import text_in, time_in


@dataclass(frozen=True, slots=True)
class _Filter:
    """A condition, its value's form, and what the index's own condition needs beside it."""

    sql: str
    to_sql: Callable[[Any], Any] = text_in
    indexed: str = ""


_FILTERS: Final[Mapping[str, _Filter]] = {
    "since": _Filter("started_at >= ?", time_in),
    "until": _Filter("started_at < ?", time_in),
    "tenant": _Filter("tenant = ?", indexed="tenant <> ''"),
    "agent": _Filter("agent = ?", indexed="agent <> ''"),
    "run": _Filter("run = ?", indexed="run <> ''"),
    "provider": _Filter("provider = ?"),
    "dialect": _Filter("dialect = ?"),
    "model": _Filter("model = ?", indexed="model <> ''"),
    "outcome": _Filter("outcome = ?"),
    "conversation": _Filter("conversation = ?", indexed="conversation <> ''"),
    "text": _Filter("id IN (SELECT rowid FROM texts_index WHERE texts_index MATCH ?)", fts_query),
    "before_id": _Filter("trace_id < ?"),
}


def where(query: TraceQuery, *more: str) -> tuple[str, list[Any]]:
    """Return the WHERE clause of a query and its values; ``more`` are conditions before them.

    A search that has no word finds nothing, as ``search.fts_query`` says.
    """
    conditions = list(more)
    values: list[Any] = []
    for name, condition in _FILTERS.items():
        wanted = getattr(query, name)
        if wanted is None:
            continue
        value = condition.to_sql(wanted)
        if name == "text" and not value:
            conditions.append("0")
            continue
        conditions.append(condition.sql)
        values.append(value)
        if condition.indexed and value:
            conditions.append(condition.indexed)
    return ("WHERE " + " AND ".join(conditions) if conditions else ""), values
