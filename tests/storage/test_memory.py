"""Bounds and clock; what the stores promise in common is in the conformance suite."""

from dataclasses import replace

import pytest

from llmtrace.domain.traces import AuditEvent, Body
from llmtrace.storage.base import TraceNotFound, TraceQuery
from llmtrace.storage.memory import MemoryCache, MemoryMetadataRepository, MemoryTraceRepository
from llmtrace.testing.records import NOON, a_record, numbered_id


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_oldest_traces_go_first_and_are_counted() -> None:
    store = MemoryTraceRepository(max_traces=3)
    store.put([a_record(number) for number in range(5)])
    assert [trace.trace_id for trace in store.query(TraceQuery())] == [
        numbered_id(number) for number in (4, 3, 2)
    ]
    assert store.dropped == 2


def test_large_bodies_push_old_traces_out() -> None:
    store = MemoryTraceRepository(max_bytes=1_000)
    for number in range(3):
        store.put([replace(a_record(number), request=Body(content=bytes(400)))])
    assert store.dropped == 1
    with pytest.raises(TraceNotFound):
        store.get(numbered_id(0))


def test_the_bytes_of_what_was_replaced_or_purged_do_not_count() -> None:
    store = MemoryTraceRepository(max_bytes=1_000)
    for _ in range(50):
        store.put([replace(a_record(1), request=Body(content=bytes(900)))])
        store.purge(before=NOON)
    assert store.dropped == 0
    store.close()
    store.put([replace(a_record(2), request=Body(content=bytes(900)))])
    assert store.dropped == 0


def test_the_oldest_audit_events_go_first() -> None:
    metadata = MemoryMetadataRepository(max_audit_events=2)
    for number in range(4):
        metadata.audit(
            AuditEvent(
                id=str(number),
                tenant="",
                event_type="x",
                actor="",
                resource="",
                timestamp=NOON,
            )
        )
    assert [event.id for event in metadata.audit_events()] == ["3", "2"]


def test_a_value_ends_with_its_time() -> None:
    clock = Clock()
    cache = MemoryCache(clock=clock)
    cache.set("a", b"1", ttl_seconds=10)
    clock.now += 9.999
    assert cache.get("a") == b"1"
    clock.now += 0.001
    assert cache.get("a") is None


def test_setting_again_starts_the_time_anew() -> None:
    clock = Clock()
    cache = MemoryCache(clock=clock)
    cache.set("a", b"1", ttl_seconds=10)
    clock.now += 9
    cache.set("a", b"2", ttl_seconds=10)
    clock.now += 9
    assert cache.get("a") == b"2"


def test_the_least_recently_used_goes_first() -> None:
    cache = MemoryCache(max_entries=2)
    cache.set("a", b"1", ttl_seconds=10)
    cache.set("b", b"2", ttl_seconds=10)
    cache.get("a")
    cache.set("c", b"3", ttl_seconds=10)
    assert [cache.get(key) for key in "abc"] == [b"1", None, b"3"]


def test_the_bytes_of_the_cache_are_bounded() -> None:
    cache = MemoryCache(max_bytes=10)
    cache.set("a", bytes(6), ttl_seconds=10)
    cache.set("b", bytes(6), ttl_seconds=10)
    cache.set("huge", bytes(11), ttl_seconds=10)
    assert [cache.get(key) for key in ("a", "b", "huge")] == [None, bytes(6), None]
    cache.invalidate(["b"])
    cache.set("c", bytes(10), ttl_seconds=10)
    assert cache.get("c") == bytes(10)
