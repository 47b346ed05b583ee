"""The same call put again, and what a purge leaves: over every store."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.traces import Body, Outcome, Texts
from llmtrace.storage.base import (
    TraceQuery,
    TraceRepository,
    TraceTotals,
)
from llmtrace.testing.records import (
    NOON,
    a_finding,
    a_record,
    life_of,
    numbered_id,
    whole_life_of,
)
from llmtrace.testing.stores import STORES, opened

EVERYTHING = TraceQuery()
SECOND = timedelta(seconds=1)


def ids(store: TraceRepository, query: TraceQuery = EVERYTHING) -> list[str]:
    return [trace.trace_id for trace in store.query(query)]


def numbered(*numbers: int) -> list[str]:
    return [numbered_id(number) for number in numbers]


# --- the same call again ---


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "batch-each"])
def test_the_end_wins_in_any_order(
    store: TraceRepository, order: tuple[int, ...], together: bool
) -> None:
    life = [life_of(1)[at] for at in order]
    for batch in [life] if together else [[record] for record in life]:
        store.put(batch)
    assert list(store.export(EVERYTHING)) == [whole_life_of(1)]
    assert ids(store, TraceQuery(text="question")) == numbered(1)
    assert store.totals(EVERYTHING).calls == 1


@pytest.mark.parametrize("name", STORES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_replay_changes_nothing(name: str, data: st.DataObject) -> None:
    lives = [record for number in (1, 2, 3) for record in life_of(number)]
    replay = data.draw(st.permutations(lives + lives))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(replay)), max_size=5)))
    with opened(name) as storage:
        for start, end in itertools.pairwise([0, *cuts, len(replay)]):
            storage.traces.put(replay[start:end])
        kept = list(storage.traces.export(EVERYTHING))
    assert kept == [whole_life_of(number) for number in (1, 2, 3)]


def test_a_pending_trace_is_given_up_and_a_given_up_one_is_not_pending_again(
    store: TraceRepository,
) -> None:
    start, interrupted, _ = life_of(1)
    store.put([start])
    assert store.get(numbered_id(1)).outcome is Outcome.PENDING
    store.put([interrupted])
    store.put([start])
    assert store.get(numbered_id(1)).outcome is Outcome.INTERRUPTED
    assert store.body(numbered_id(1), "request") == start.request


def test_a_late_start_fills_up_and_replaces_nothing(store: TraceRepository) -> None:
    start, _, end = life_of(1)
    late = replace(
        start, answer=Body(content=b"not this"), texts=Texts(prompt="question", answer="not this")
    )
    store.put([end])
    store.put([late])
    assert list(store.export(EVERYTHING)) == [whole_life_of(1)]
    assert ids(store, TraceQuery(text="not")) == []


def test_an_end_again_replaces_the_end(store: TraceRepository) -> None:
    store.put([a_record(1, findings=(a_finding("old"),) * 3)])
    store.put([a_record(1, findings=(a_finding("new"),), status=201)])
    trace = store.get(numbered_id(1))
    assert (trace.status, [finding.kind for finding in trace.findings]) == (201, ["new"])


def test_words_that_were_replaced_are_not_found(store: TraceRepository) -> None:
    store.put([replace(a_record(1), texts=Texts(prompt="alpha", answer="beta"))])
    store.put([replace(a_record(1), texts=Texts(prompt="gamma"))])
    assert ids(store, TraceQuery(text="alpha")) == []
    assert ids(store, TraceQuery(text="gamma beta")) == numbered(1)


# --- purge ---


def test_purge_keeps_the_boundary(store: TraceRepository) -> None:
    store.put([a_record(1, started_at=NOON - timedelta(microseconds=1))])
    store.put([a_record(2, started_at=NOON)])
    assert store.purge(before=NOON) == 1
    assert ids(store) == numbered(2)
    assert store.purge(before=NOON) == 0


def test_purge_leaves_nothing_of_what_it_deletes(store: TraceRepository) -> None:
    store.put([a_record(1, findings=(a_finding("x"),))])
    assert store.purge(before=NOON + SECOND) == 1
    assert ids(store, TraceQuery(text="hello")) == []
    assert store.totals(EVERYTHING) == TraceTotals()
    store.put([a_record(1)])
    assert store.get(numbered_id(1)).findings == ()


@pytest.mark.parametrize("gap", [SECOND, timedelta(hours=1), timedelta(days=40)], ids=str)
def test_purge_keeps_what_others_share(store: TraceRepository, gap: timedelta) -> None:
    store.put([a_record(1, started_at=NOON), a_record(2, started_at=NOON + gap)])
    assert store.purge(before=NOON + gap) == 1
    assert store.body(numbered_id(2), "request") == a_record(2).request


def test_a_request_kept_from_a_start_outlives_the_hour_of_the_start(
    store: TraceRepository,
) -> None:
    start, _, end = life_of(1)
    store.put([start])
    store.put([replace(end, trace=replace(end.trace, started_at=NOON + timedelta(hours=5)))])
    store.purge(before=NOON + timedelta(hours=4))
    assert store.body(numbered_id(1), "request") == start.request


def test_a_request_from_a_late_start_lives_as_long_as_its_trace(store: TraceRepository) -> None:
    start, _, end = life_of(1)
    store.put([replace(end, trace=replace(end.trace, started_at=NOON + timedelta(hours=5)))])
    store.put([start])
    store.purge(before=NOON + timedelta(hours=4))
    assert store.body(numbered_id(1), "request") == start.request


@pytest.mark.parametrize("name", STORES)
@settings(max_examples=40, deadline=None)
@given(
    starts=st.lists(st.integers(0, 200), min_size=1, max_size=12),
    bodies=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    before=st.integers(0, 200),
    late=st.booleans(),
)
def test_what_survives_any_purge_is_whole(
    name: str, starts: list[int], bodies: list[int], before: int, late: bool
) -> None:
    minute = timedelta(minutes=1)
    made = [
        replace(
            a_record(number, started_at=NOON + start * minute),
            request=Body(content=b"body %d " % body * 300),
        )
        for number, (start, body) in enumerate(zip(starts, bodies, strict=False))
    ]
    kept = [record for record in made if record.trace.started_at >= NOON + before * minute]
    with opened(name) as storage:
        storage.traces.put(made)
        assert storage.traces.purge(before=NOON + before * minute) == len(made) - len(kept)
        assert list(storage.traces.export(EVERYTHING)) == kept
        if late:
            storage.traces.put(made)
            assert list(storage.traces.export(EVERYTHING)) == made
        storage.traces.vacuum()
