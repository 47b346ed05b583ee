"""One suite over every store: what ``TraceRepository`` promises, whoever keeps it."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.traces import Body, Outcome, Record, Tenant, Texts
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.storage import registry
from llmtrace.storage.base import (
    Storage,
    TraceNotFound,
    TraceQuery,
    TraceRepository,
    TraceTotals,
)
from llmtrace.testing.records import (
    HOSTILE,
    NOON,
    a_finding,
    a_record,
    a_trace,
    numbered_id,
    records,
    whole_life_of,
)
from llmtrace.testing.stores import LASTING, STORES, opened

EVERYTHING = TraceQuery()
SECOND = timedelta(seconds=1)


def ids(store: TraceRepository, query: TraceQuery = EVERYTHING) -> list[str]:
    return [trace.trace_id for trace in store.query(query)]


def numbered(*numbers: int) -> list[str]:
    return [numbered_id(number) for number in numbers]


# --- put, get, body ---


def test_a_record_comes_back_whole(store: TraceRepository) -> None:
    record = a_record(1, findings=(a_finding("a"), a_finding("b")))
    store.put([record])
    assert store.get(numbered_id(1)) == record.trace
    assert store.body(numbered_id(1), "request") == record.request
    assert store.body(numbered_id(1), "answer") == record.answer
    assert list(store.export(EVERYTHING)) == [record]


def test_an_unknown_trace_is_not_found(store: TraceRepository) -> None:
    with pytest.raises(TraceNotFound, match="no-such-id"):
        store.get("no-such-id")
    with pytest.raises(TraceNotFound):
        store.body("no-such-id", "request")


def test_a_call_without_bodies_has_none(store: TraceRepository) -> None:
    store.put([Record(trace=a_trace())])
    assert store.body(numbered_id(0), "request") is None
    assert store.body(numbered_id(0), "answer") is None


def test_an_empty_body_is_a_body(store: TraceRepository) -> None:
    store.put([Record(trace=a_trace(), answer=Body(content=b""))])
    assert store.body(numbered_id(0), "answer") == Body(content=b"")


def test_a_start_without_time_zone_is_refused_and_nothing_kept(store: TraceRepository) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        store.put([a_record(1), a_record(2, started_at=NOON.replace(tzinfo=None))])
    assert ids(store) == []


def test_putting_nothing_is_no_error(store: TraceRepository) -> None:
    store.put([])
    assert ids(store) == []


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_strings_come_back_as_they_were(store: TraceRepository, hostile: str) -> None:
    record = replace(
        a_record(tenant=hostile, path=hostile, error=hostile, attributes={hostile: hostile}),
        texts=Texts(prompt=hostile, answer=hostile),
        request=Body(content=hostile.encode("utf-8", "surrogatepass"), media_type=hostile),
    )
    store.put([record])
    assert list(store.export(TraceQuery(tenant=hostile))) == [record]


@pytest.mark.parametrize("name", STORES)
@settings(max_examples=40, deadline=None)
@given(drawn=st.lists(records(), max_size=4, unique_by=lambda record: record.trace.trace_id))
def test_any_records_come_back_equal(name: str, drawn: list[Record]) -> None:
    with opened(name) as storage:
        storage.traces.put(drawn)
        assert {r.trace.trace_id: r for r in storage.traces.export(EVERYTHING)} == {
            r.trace.trace_id: r for r in drawn
        }


def test_absurd_counts_neither_fail_nor_spoil_the_sums(store: TraceRepository) -> None:
    absurd = Usage(input_tokens=2**80, output_tokens=2**80)
    store.put([a_record(n, usage=absurd, cost_nano_usd=2**80) for n in range(3)])
    assert len(store.query(EVERYTHING)) == 3
    assert store.totals(EVERYTHING).cost_nano_usd >= 3 * 10**15


# --- query, totals, export ---


def test_traces_come_newest_first_in_pages(store: TraceRepository) -> None:
    store.put([a_record(number) for number in (3, 1, 5, 2, 4)])
    assert ids(store, TraceQuery(limit=2)) == numbered(5, 4)
    assert ids(store, TraceQuery(limit=2, before_id=numbered_id(4))) == numbered(3, 2)
    assert ids(store, TraceQuery(limit=2, before_id=numbered_id(2))) == numbered(1)
    assert ids(store, TraceQuery(limit=2, before_id=numbered_id(1))) == []


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_gives_nothing(store: TraceRepository, limit: int) -> None:
    store.put([a_record(1)])
    assert ids(store, TraceQuery(limit=limit)) == []


FILTERS = ("tenant", "agent", "run", "provider", "dialect", "model", "conversation")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("value", ["wanted", "", "wan%", "\ud800"], ids=range(4))
def test_a_filter_finds_what_is_equal(store: TraceRepository, name: str, value: str) -> None:
    store.put([a_record(1, **{name: value}), a_record(2, **{name: "Wanted"})])
    query = replace(EVERYTHING, **{name: value})  # type: ignore[arg-type]  # all are texts
    assert ids(store, query) == numbered(1)
    assert store.totals(query).calls == 1


def test_filters_are_all_of_them(store: TraceRepository) -> None:
    store.put([a_record(1, tenant="a", outcome=Outcome.OK), a_record(2, tenant="a", run="r")])
    store.put([a_record(3, tenant="b", run="r", outcome=Outcome.BROKEN)])
    assert ids(store, TraceQuery(tenant="a", run="r")) == numbered(2)
    assert ids(store, TraceQuery(outcome="broken")) == numbered(3)
    assert ids(store, TraceQuery(tenant="a", outcome="broken")) == []


def test_times_are_half_open(store: TraceRepository) -> None:
    store.put([a_record(number, started_at=NOON + number * SECOND) for number in range(4)])
    query = TraceQuery(since=NOON + SECOND, until=NOON + 3 * SECOND)
    assert ids(store, query) == numbered(2, 1)


def test_totals_are_over_all_that_match(store: TraceRepository) -> None:
    priced = [a_record(number, findings=(a_finding("x"),)) for number in range(3)]
    unpriced = a_record(7, cost_nano_usd=None)
    refused = a_record(8, cost_nano_usd=None, usage=Usage(), usage_source=UsageSource.NONE)
    store.put([*priced, unpriced, refused, a_record(9, tenant="other")])
    assert store.totals(TraceQuery(tenant="acme", limit=1)) == TraceTotals(
        calls=5,
        input_tokens=4 * 900,
        output_tokens=4 * 100,
        cache_read_tokens=4 * 400,
        cost_nano_usd=3 * 1_250_000,
        unpriced_calls=1,
        findings=3,
    )


def test_totals_of_nothing_are_zero(store: TraceRepository) -> None:
    assert store.totals(TraceQuery(tenant="nobody")) == TraceTotals()


def test_export_goes_through_all_oldest_first(store: TraceRepository) -> None:
    store.put([a_record(number) for number in range(250, 0, -1)])
    exported = [record.trace.trace_id for record in store.export(TraceQuery(limit=3))]
    assert exported == numbered(*range(1, 251))


def test_export_goes_on_while_traces_come_and_go(store: TraceRepository) -> None:
    store.put([a_record(number, started_at=NOON + number * SECOND) for number in range(300)])
    exported = store.export(EVERYTHING)
    first = next(exported)
    store.purge(before=NOON + 150 * SECOND)
    store.put([a_record(400)])
    rest = [record.trace.trace_id for record in exported]
    assert first.trace.trace_id == numbered_id(0)
    assert set(numbered(*range(200, 300))) <= set(rest)


# --- search ---

SEARCHES: Sequence[tuple[str, str, bool]] = [
    ("deploy", "please DEPLOY the service", True),
    ("deploy service", "service, deploy!", True),
    ("deploy rocket", "please deploy the service", False),
    ("deplo", "please deploy the service", False),
    ("foo-bar", "run foo-bar now", True),
    ("foo-bar", "bar foo", False),
    ("café", "a Cafe in Paris", True),
    ("привет", "ПРИВЕТ мир", True),
    ("OR", "this or that", True),
    ("this NOT that", "this that", False),
    ("NEAR(a b)", "near a b", True),
    ("a*", "abc", False),
    ('"', 'say "hi"', False),
    ("prompt:deploy", "deploy", False),
    ("it's", "it's", True),
    ("{}[]()^-+", "{}[]()^-+", False),
    ("a\0b", "a b", True),
    ("\ud800", "x", False),
    ("x" * 5_000, "x", False),
    ("y " * 5_000, "y", True),
    ("", "anything", False),
]


@pytest.mark.parametrize(("search", "text", "found"), SEARCHES, ids=range(len(SEARCHES)))
def test_a_search_finds_words_and_is_never_an_error(
    store: TraceRepository, search: str, text: str, found: bool
) -> None:
    store.put([replace(a_record(1), texts=Texts(prompt=text))])
    store.put([replace(a_record(2), texts=Texts(answer=text))])
    assert ids(store, TraceQuery(text=search)) == (numbered(2, 1) if found else [])


@pytest.mark.parametrize("name", STORES)
def test_any_search_is_answered(name: str) -> None:
    with opened(name) as storage:
        storage.traces.put([a_record(1)])

        @settings(max_examples=150, deadline=None)
        @given(st.text() | st.text(st.sampled_from('"*^():-+ ANDORT{}\0\\')))
        def answered(search: str) -> None:
            storage.traces.query(TraceQuery(text=search))
            storage.traces.totals(TraceQuery(text=search))

        answered()


def test_words_of_prompt_and_answer_are_found_together(store: TraceRepository) -> None:
    store.put([replace(a_record(1), texts=Texts(prompt="alpha", answer="omega"))])
    assert ids(store, TraceQuery(text="alpha omega", tenant="acme")) == numbered(1)
    assert ids(store, TraceQuery(text="alpha omega", tenant="other")) == []


# --- threads, and what lasts ---


def test_readers_see_whole_batches_while_one_writes(store: TraceRepository) -> None:
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(store.totals(EVERYTHING).calls)
            store.query(TraceQuery(limit=5, text="hello"))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for batch in range(20):
            store.put([a_record(batch * 10 + number) for number in range(10)])
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert store.totals(EVERYTHING).calls == 200
    assert all(count % 10 == 0 for count in seen)


def test_threads_may_all_put(store: TraceRepository) -> None:
    def put(first: int) -> None:
        for number in range(first, first + 20):
            store.put([a_record(number)])

    writers = [threading.Thread(target=put, args=(first,)) for first in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.totals(EVERYTHING).calls == 60
    assert len(list(store.export(EVERYTHING))) == 60


@pytest.mark.parametrize("name", LASTING)
def test_opening_again_finds_everything(name: str, tmp_path: Path) -> None:
    storage = STORES[name](tmp_path)
    storage.traces.put([whole_life_of(1)])
    storage.metadata.put_tenant(Tenant(id="t", name="T", created_at=NOON))
    registry.close(storage)
    storage = STORES[name](tmp_path)
    assert list(storage.traces.export(EVERYTHING)) == [whole_life_of(1)]
    assert [tenant.id for tenant in storage.metadata.tenants()] == ["t"]
    registry.close(storage)


def test_all_three_are_healthy(storage: Storage) -> None:
    assert registry.health(storage) == {"traces": True, "metadata": True, "cache": True}
