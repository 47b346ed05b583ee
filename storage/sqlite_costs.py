"""Sums over traces in SQL. Days are put together of quarters of an hour, whatever the zone."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from sqlite3 import Connection
from typing import Any, Final

from llmtrace.storage.base import Costs, CostsBy, TraceQuery
from llmtrace.storage.costs import summed
from llmtrace.storage.sqlite_search import where
from llmtrace.storage.sqlite_values import text_out, time_out

_QUARTER: Final = 900_000_000
"""Microseconds; all zones are such a multiple from UTC since 1972."""
_NAMES: Final[Mapping[CostsBy, str]] = {
    "tenant": "tenant",
    "agent": "agent",
    "provider": "provider",
    "plan": "plan",
    "model": "CASE model_answered WHEN '' THEN model ELSE model_answered END",
    "day": "started_at / 900000000",
}
_SUMS: Final = """
    count(*),
    sum(input_tokens),
    sum(output_tokens),
    sum(cache_read_tokens),
    sum(CASE plan WHEN '' THEN cost_nano_usd END),
    sum(plan <> ''),
    sum(CASE plan WHEN '' THEN NULL ELSE cost_nano_usd END),
    sum(cost_nano_usd IS NULL AND usage_source <> 'none')
"""


def read_costs(
    db: Connection, query: TraceQuery, by: CostsBy, zone: tzinfo | None
) -> Sequence[Costs]:
    """Return what ``TraceRepository.costs`` promises."""
    clause, values = where(query)
    sql = " ".join(
        (
            "SELECT",
            _NAMES[by],
            ",",
            _SUMS,
            "FROM traces",
            clause,
            "GROUP BY 1 ORDER BY ifnull(sum(cost_nano_usd), 0) DESC, count(*) DESC, 1",
        )
    )
    return summed(_rows(db.execute(sql, values), by, zone), by)


def _rows(rows: Iterator[Sequence[Any]], by: CostsBy, zone: tzinfo | None) -> Iterator[Costs]:
    for name, *sums in rows:
        calls, given, answered, cached, cost, planned, plan_cost, unpriced = (n or 0 for n in sums)
        day = by == "day"
        yield Costs(
            name=f"{time_out(name * _QUARTER).astimezone(zone):%Y-%m-%d}"
            if day
            else text_out(name),
            calls=calls,
            input_tokens=given,
            output_tokens=answered,
            cache_read_tokens=cached,
            cost_nano_usd=cost,
            plan_calls=planned,
            plan_nano_usd=plan_cost,
            unpriced_calls=unpriced,
        )
