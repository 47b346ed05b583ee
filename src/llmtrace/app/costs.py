"""What was spent, and what may still be: from the traces, and from the ledger of budgets."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from llmtrace.app.ledgers import ledger_of
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.domain.times import moment
from llmtrace.limits.refusals import dollars, instant
from llmtrace.limits.standings import BudgetRow, budget_rows, configured_rows, unspent_rows
from llmtrace.storage.base import Costs, CostsBy, StorageError, TraceQuery, TraceRepository
from llmtrace.storage.costs import added
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.registry import close

DAYS: Final = 30
"""How far back costs are told of where nobody says."""
BY: Final[tuple[CostsBy, ...]] = ("agent", "model", "day", "tenant", "provider", "plan")
"""What costs are told by; the first is the default."""
_MONEY: Final = {"cost_nano_usd": "cost_usd", "plan_nano_usd": "plan_cost_usd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsReport:
    """Costs of a time, by a name, and the budgets as they stand now.

    ``budgets`` None: no budgets are kept. ``configured`` are the caps as if nothing were spent.
    """

    query: TraceQuery
    by: CostsBy
    rows: Sequence[Costs]
    budgets: Sequence[BudgetRow] | None
    at: datetime
    configured: Sequence[BudgetRow] = ()

    @property
    def unspent(self) -> Sequence[BudgetRow]:
        """The caps of which nothing is spent, for a person to see that they are there."""
        asked = self.query
        return unspent_rows(
            self.configured, self.budgets or (), tenant=asked.tenant, agent=asked.agent
        )

    @property
    def total(self) -> Costs:
        """The sums over all rows."""
        total = Costs(name="total")
        for row in self.rows:
            total = added("total", total, row)
        return total

    def document(self) -> dict[str, object]:
        """Return it as JSON has it; the same on the command line and from the API."""
        return {
            "at": instant(self.at),
            "since": instant(self.query.since),
            "until": instant(self.query.until),
            "by": self.by,
            "costs": [{self.by: row.name, **_sums(row)} for row in self.rows],
            "total": _sums(self.total),
            "budgets": None if self.budgets is None else [b.document() for b in self.budgets],
        }


def costs_report(
    settings: Settings,
    traces: TraceRepository,
    query: TraceQuery,
    by: CostsBy,
) -> CostsReport:
    """Sum up what a query means, and look up the budgets.

    Raises:
        StorageError: A store cannot be read; ``LedgerUnavailable`` is one.
    """
    at = datetime.now(UTC)
    return CostsReport(
        query=query,
        by=by,
        rows=traces.costs(query, by, zone=_zone(settings)),
        budgets=_budgets(settings, query),
        at=at,
        configured=configured_rows(settings.config.cost_caps, at=at),
    )


def costs_of(settings: Settings, asked: Mapping[str, str]) -> Mapping[str, object]:
    """Return the report that is asked for in words, as JSON has it.

    Raises:
        ValueError: A word is wrong.
        StorageError: A store cannot be read.
    """
    now = datetime.now(UTC)
    by = asked.get("by", BY[0])
    if by not in BY:
        raise ValueError(f"by is {by!r}; expected one of {', '.join(BY)}")
    query = TraceQuery(
        since=moment(asked.get("since", f"{DAYS}d"), now=now),
        until=moment(asked["until"], now=now) if "until" in asked else None,
        tenant=asked.get("tenant"),
        agent=asked.get("agent"),
        model=asked.get("model"),
    )
    with _traces(settings) as traces:
        return costs_report(settings, traces, query, by).document()


@contextmanager
def _traces(settings: Settings) -> Iterator[TraceRepository]:
    """Open the traces, to look at; before the first call there are none."""
    if settings.config.storage.profile == "memory":
        raise ValueError("storage.profile is memory: this configuration keeps no traces")
    if not settings.database.exists():
        yield MemoryTraceRepository()
        return
    storage = open_storage(settings, read_only=True)
    try:
        yield storage.traces
    finally:
        close(storage)


def _zone(settings: Settings) -> tzinfo | None:
    """Return whose days are meant: those of the budgets, else those of the machine."""
    caps = settings.config.cost_caps
    return ZoneInfo(caps.time_zone) if caps.enabled else None


def _budgets(settings: Settings, query: TraceQuery) -> Sequence[BudgetRow] | None:
    if not settings.config.cost_caps.enabled:
        return None
    try:
        ledger = ledger_of(settings)
    except ValueError:  # its message may name what is in the URL
        raise StorageError("the ledger of budgets cannot be opened; check storage") from None
    with closing(ledger):
        return budget_rows(ledger.current(), tenant=query.tenant, agent=query.agent)


def _sums(row: Costs) -> dict[str, object]:
    names = [field.name for field in fields(row) if field.name != "name"]
    return {
        _MONEY.get(name, name): dollars(getattr(row, name))
        if name in _MONEY
        else getattr(row, name)
        for name in names
    }
