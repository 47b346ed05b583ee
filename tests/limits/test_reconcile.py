"""A ledger that has lost what was spent learns it from the traces, once, and never too much."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtrace.config.limits import CostCapsConfig
from llmtrace.domain.traces import Outcome, Record, Trace
from llmtrace.limits.budgets import Budgets
from llmtrace.limits.charging import CHARGED
from llmtrace.limits.reconcile import has_lost, mark, reconcile
from llmtrace.storage.ledger import Admission, Node, Settlement
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.sqlite_ledger import SqliteLedger

NOON = datetime(2026, 11, 21, 12, 45, tzinfo=UTC)
CONFIG = CostCapsConfig.model_validate(
    {
        "enabled": True,
        "default_budget_caps": [
            {"window": "hourly", "hard_limit_usd": 1},
            {"window": "daily", "hard_limit_usd": 1},
            {"window": "total", "hard_limit_usd": 1},
        ],
        "plan_traffic": "ignore",
    }
)
BUDGETS = Budgets(CONFIG)


def trace(number: int, before: timedelta, cost: int | None, **values: object) -> Trace:
    made = Trace(
        trace_id=f"{number:04d}",
        started_at=NOON - before,
        tenant="t",
        agent="a",
        provider="openai",
        model="gpt-4o",
        outcome=Outcome.OK,
        cost_nano_usd=cost,
        duration_ms=1000.0,
    )
    return replace(made, **values)  # type: ignore[arg-type]  # its own fields


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger.at(
        tmp_path / "limits.sqlite", clock=lambda: int(NOON.timestamp() * 1_000_000)
    )
    yield ledger
    ledger.close()


def filled() -> MemoryTraceRepository:
    kept = MemoryTraceRepository()
    minute = timedelta(minutes=1)
    found = (
        trace(1, 400 * 24 * 60 * minute, 1_000_000),
        trace(2, 600 * minute, 10_000),
        trace(3, 30 * minute, 100, attributes={CHARGED: "700"}),
        trace(4, 20 * minute, 5, plan="max"),
        trace(5, 10 * minute, None),
        trace(6, 0 * minute, 90_000_000),
        trace(7, 9 * minute, 8, outcome=Outcome.PENDING),
        trace(8, timedelta(hours=1), 40_000),
    )
    kept.put([Record(trace=each) for each in found])
    return kept


def spent(ledger: SqliteLedger) -> dict[str, int]:
    return {one.key.split("|")[3]: one.spent for one in ledger.current()}


def test_what_is_spent_is_at_least_the_sum_over_the_traces(ledger: SqliteLedger) -> None:
    assert has_lost(ledger)
    assert reconcile(ledger, filled(), CONFIG, BUDGETS) == 3
    assert spent(ledger) == {"hourly": 700, "daily": 50_700, "total": 1_050_700}
    mark(ledger)
    assert not has_lost(ledger)


def test_it_may_be_done_again(ledger: SqliteLedger) -> None:
    reconcile(ledger, filled(), CONFIG, BUDGETS)
    before = spent(ledger)
    reconcile(ledger, filled(), CONFIG, BUDGETS)
    assert spent(ledger) == before


def test_nothing_is_taken_back(ledger: SqliteLedger) -> None:
    reconcile(ledger, filled(), CONFIG, BUDGETS)
    (daily,) = [one for one in ledger.current() if "daily" in one.key]
    node = Node(key=daily.key, unit="usd", limit=None, ends=daily.ends)
    ledger.admit(Admission(id="x", tenant="t", amounts={"usd": 5}, nodes=(node,)))
    ledger.settle([Settlement(id="x", tenant="t", kind="settle", amounts={"usd": 5})])
    reconcile(ledger, filled(), CONFIG, BUDGETS)
    assert spent(ledger)["daily"] == 50_705
