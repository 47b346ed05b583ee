import pytest

from llmtrace.cli import following
from llmtrace.cli.following import Following
from llmtrace.domain.traces import Outcome, Record
from llmtrace.storage.base import TraceQuery
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.testing.records import NOON, a_trace, numbered_id


def a(number: int, outcome: Outcome = Outcome.OK, agent: str = "builder") -> Record:
    return Record(trace=a_trace(number, outcome=outcome, agent=agent))


def told(follower: Following) -> list[int]:
    return [int(trace.trace_id[-12:], 16) for trace in follower.new()]


@pytest.fixture
def store() -> MemoryTraceRepository:
    return MemoryTraceRepository()


def test_only_what_ends_from_now_on_is_told_once(store: MemoryTraceRepository) -> None:
    store.put([a(1), a(2)])
    follower = Following(store, TraceQuery())
    assert told(follower) == []
    store.put([a(4), a(3)])
    assert told(follower) == [3, 4]
    assert told(follower) == []


def test_a_call_that_was_under_way_is_told_when_it_ends(store: MemoryTraceRepository) -> None:
    store.put([a(1, Outcome.PENDING)])
    follower = Following(store, TraceQuery())
    store.put([a(2, Outcome.PENDING)])
    assert told(follower) == []
    store.put([a(2), a(1)])
    assert told(follower) == [1, 2]
    assert told(follower) == []


def test_a_call_that_comes_late_is_told(store: MemoryTraceRepository) -> None:
    store.put([a(1), a(5)])
    follower = Following(store, TraceQuery())
    store.put([a(3)])
    assert told(follower) == [3]


def test_only_what_matches_is_told(store: MemoryTraceRepository) -> None:
    follower = Following(store, TraceQuery(agent="builder"))
    store.put([a(1), a(2, agent="other")])
    assert told(follower) == [1]


def test_a_flood_is_told_whole(store: MemoryTraceRepository) -> None:
    store.put([a(0)])
    follower = Following(store, TraceQuery())
    store.put([a(number) for number in range(1, 2 * following.PAGE + 50)])
    assert told(follower) == list(range(1, 2 * following.PAGE + 50))


def test_what_is_remembered_is_bounded(
    store: MemoryTraceRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MAX_SEEN", 5)
    monkeypatch.setattr(following, "MAX_PENDING", 3)
    follower = Following(store, TraceQuery())
    store.put([a(number, Outcome.PENDING) for number in range(30)])
    assert told(follower) == []
    assert len(follower._seen) == 10
    assert len(follower._pending) == 3


def test_a_call_that_is_deleted_while_under_way_is_forgotten(store: MemoryTraceRepository) -> None:
    store.put([a(1, Outcome.PENDING)])
    follower = Following(store, TraceQuery())
    store.purge(before=NOON.replace(year=2030))
    assert told(follower) == []
    assert numbered_id(1) not in follower._pending
