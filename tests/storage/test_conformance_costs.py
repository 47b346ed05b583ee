"""Sums by a name: the same of all stores, and the same as the sum of the traces."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.traces import Record
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.storage.base import Costs, CostsBy, TraceQuery, TraceRepository, TraceTotals
from llmtrace.testing.records import NOON, a_record, records
from llmtrace.testing.stores import STORES, opened

EVERYTHING = TraceQuery()
BY: tuple[CostsBy, ...] = ("tenant", "agent", "model", "day", "provider", "plan")
ONE = Costs(
    name="",
    calls=1,
    input_tokens=900,
    output_tokens=100,
    cache_read_tokens=400,
    cost_nano_usd=1_250_000,
)


def names(store: TraceRepository, by: CostsBy, query: TraceQuery = EVERYTHING) -> list[str]:
    return [row.name for row in store.costs(query, by)]


def test_nothing_has_no_sums(store: TraceRepository) -> None:
    assert all(list(store.costs(EVERYTHING, by)) == [] for by in BY)


def test_the_dearest_comes_first(store: TraceRepository) -> None:
    store.put([a_record(n, agent="cheap") for n in range(3)])
    store.put([a_record(7, agent="dear", cost_nano_usd=10**9), a_record(8, agent="also cheap")])
    store.put([a_record(9, agent="nothing", cost_nano_usd=None, usage=Usage())])
    assert names(store, "agent") == ["dear", "cheap", "also cheap", "nothing"]


def test_only_what_the_query_means_is_summed(store: TraceRepository) -> None:
    store.put([a_record(1, tenant="a"), a_record(2, tenant="b"), a_record(3, tenant="b")])
    query = TraceQuery(tenant="b", limit=1)
    assert [row.calls for row in store.costs(query, "agent")] == [2]
    assert names(store, "tenant", TraceQuery(since=NOON + timedelta(1))) == []


def test_calls_under_a_plan_are_summed_apart(store: TraceRepository) -> None:
    store.put([a_record(1), a_record(2, plan="claude-subscription")])
    store.put([a_record(3, plan="claude-subscription", cost_nano_usd=None)])
    (row,) = store.costs(EVERYTHING, "agent")
    assert (row.calls, row.cost_nano_usd) == (3, 1_250_000)
    assert (row.plan_calls, row.plan_nano_usd, row.unpriced_calls) == (2, 1_250_000, 1)
    assert names(store, "plan") == ["claude-subscription", ""]


def test_a_model_is_the_one_that_answered(store: TraceRepository) -> None:
    store.put([a_record(1, model="gpt-5", model_answered="gpt-5-2026-01-01")])
    store.put([a_record(2, model="gpt-6", model_answered="")])
    assert set(names(store, "model")) == {"gpt-5-2026-01-01", "gpt-6"}


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", ["2026-03-07", "2026-03-08", "2026-03-09"]),
        ("America/New_York", ["2026-03-07", "2026-03-08"]),
        ("Asia/Kathmandu", ["2026-03-08", "2026-03-09"]),
    ],
)
def test_days_are_those_of_the_zone(store: TraceRepository, zone: str, days: list[str]) -> None:
    moments = [
        datetime(2026, 3, 7, 18, 15, tzinfo=UTC),  # midnight in Kathmandu
        datetime(2026, 3, 8, 4, 59, 59, 999_999, tzinfo=UTC),  # the last of the day in New York
        datetime(2026, 3, 8, 5, 0, tzinfo=UTC),
        datetime(2026, 3, 9, 3, 59, 59, tzinfo=UTC),  # a day of 23 hours there
    ]
    store.put([a_record(n, started_at=at) for n, at in enumerate(moments)])
    rows = store.costs(EVERYTHING, "day", zone=ZoneInfo(zone))
    assert [row.name for row in rows] == days
    assert sum(row.calls for row in rows) == 4


@pytest.mark.parametrize("name", STORES)
@settings(max_examples=30, deadline=None)
@given(
    drawn=st.lists(records(), max_size=5, unique_by=lambda record: record.trace.trace_id),
    by=st.sampled_from(BY),
)
def test_they_add_up_to_the_totals(name: str, drawn: list[Record], by: CostsBy) -> None:
    with opened(name) as storage:
        storage.traces.put(drawn)
        rows = storage.traces.costs(EVERYTHING, by)
        total = storage.traces.totals(EVERYTHING)
        assert _totals(rows, findings=total.findings) == total
        assert len({row.name for row in rows}) == len(rows)


def _totals(rows: object, *, findings: int) -> TraceTotals:
    assert isinstance(rows, list)
    return TraceTotals(
        calls=sum(row.calls for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cache_read_tokens=sum(row.cache_read_tokens for row in rows),
        cost_nano_usd=sum(row.cost_nano_usd + row.plan_nano_usd for row in rows),
        unpriced_calls=sum(row.unpriced_calls for row in rows),
        findings=findings,
    )


def test_both_stores_say_the_same(tmp_path: object) -> None:
    kept = [
        a_record(n, agent=f"a{n % 3}", plan="p" if n % 2 else "", cost_nano_usd=n * 1_000)
        for n in range(20)
    ]
    kept.append(a_record(99, usage_source=UsageSource.NONE, cost_nano_usd=None))
    told = []
    for name in STORES:
        with opened(name) as storage:
            storage.traces.put(kept)
            told.append([list(storage.traces.costs(EVERYTHING, by)) for by in BY])
    assert all(each == told[0] for each in told)
