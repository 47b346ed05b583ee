"""Tells a ledger that has lost what was spent: the traces know.

Redis may come back empty, or a second behind, after a crash, a failover or a FLUSHALL. What is
spent of a budget is then at least the sum over its traces.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from llmtrace.config.limits import CostCapsConfig
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.limits.budgets import Budget, Budgets, Payer
from llmtrace.limits.charging import CHARGED
from llmtrace.storage.base import TraceQuery, TraceRepository
from llmtrace.storage.ledger import LARGEST, Ledger

MARK: Final = "reconciled"
_YEAR: Final = 365 * 86_400
"""The mark is forgotten then; to compare once more does no harm."""
PAGE: Final = 1_000
FRESH: Final = timedelta(seconds=30)
"""Calls that ended later are still being settled: they would count twice."""
LONGEST: Final = timedelta(days=32)
"""Longer than any period but ``total``."""


def has_lost(ledger: Ledger) -> bool:
    """Whether a ledger is new, or has forgotten what it knew. Raises: LedgerUnavailable."""
    return ledger.bump(MARK, by=0, window_seconds=_YEAR) == 0


def mark(ledger: Ledger) -> None:
    """Note that a ledger knows what was spent. Raises: LedgerUnavailable."""
    ledger.bump(MARK, window_seconds=_YEAR)


def reconcile(
    ledger: Ledger, traces: TraceRepository, config: CostCapsConfig, budgets: Budgets
) -> int:
    """Raise what is spent to the sum over the traces; return how many budgets were looked at.

    ``budgets`` are those of the configuration.

    Raises:
        LedgerUnavailable: The ledger cannot be reached.
        StorageError: The traces cannot be read.
    """
    now = ledger.now()
    sums: dict[tuple[str, str], int] = defaultdict(int)
    found: dict[tuple[str, str], Budget] = {}
    for trace in _ended(traces, now, all_time=_has_totals(config)):
        if trace.plan and config.plan_traffic == "ignore":
            continue
        payer = Payer(tenant=trace.tenant, agent=trace.agent, key_id=trace.key_id)
        for budget in budgets.budgets(
            payer, provider=trace.provider, model=trace.model, at=trace.started_at
        ):
            if now in budget.period:
                key = (budget.tenant, budget.node.key)
                sums[key] += charged(trace)
                found[key] = budget
    for key, budget in found.items():
        ledger.raise_spent(budget.tenant, budget.node, min(sums[key], LARGEST))
    return len(found)


def _has_totals(config: CostCapsConfig) -> bool:
    own = (*config.agents, *config.tenants, *config.keys, *config.models)
    caps = [*config.default_budget_caps, *(cap for one in own for cap in one.budget_caps or ())]
    return any(cap.window == "total" for cap in caps)


def charged(trace: Trace) -> int:
    """Return what was charged for a call that has ended, in nano-USD."""
    told = trace.attributes.get(CHARGED, "")
    return int(told) if told.isdigit() else trace.cost_nano_usd or 0


def _ended(traces: TraceRepository, now: datetime, *, all_time: bool) -> Iterator[Trace]:
    query = TraceQuery(since=None if all_time else now - LONGEST, limit=PAGE)
    before: str | None = None
    while page := traces.query(_before(query, before)):
        for trace in page:
            took = timedelta(milliseconds=trace.duration_ms or 0)
            if trace.outcome is not Outcome.PENDING and trace.started_at + took < now - FRESH:
                yield trace
        before = page[-1].trace_id


def _before(query: TraceQuery, before: str | None) -> TraceQuery:
    return TraceQuery(since=query.since, limit=query.limit, before_id=before)
