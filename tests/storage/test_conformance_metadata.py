"""Tenants, audit log and cache: over every store."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llmtrace.domain.traces import AuditEvent, Tenant
from llmtrace.storage.base import (
    CacheLayer,
    MetadataRepository,
    TenantNotFound,
)
from llmtrace.testing.records import (
    HOSTILE,
    NOON,
    numbered_id,
)

SECOND = timedelta(seconds=1)


# --- metadata ---


def _tenant(key: str, **changes: object) -> Tenant:
    return replace(
        Tenant(id=key, name=key.upper(), created_at=NOON, plan="free", config={"a": [1, None]}),
        **changes,  # type: ignore[arg-type]  # replace checks the names
    )


def _event(number: int, **changes: object) -> AuditEvent:
    event = AuditEvent(
        id=numbered_id(number),
        tenant="acme",
        event_type="tenant_created",
        actor="ada",
        resource="tenant/acme",
        timestamp=NOON + number * SECOND,
        data={"n": number},
    )
    return replace(event, **changes)  # type: ignore[arg-type]  # replace checks the names


def test_tenants_are_created_replaced_and_deleted(metadata: MetadataRepository) -> None:
    metadata.put_tenant(_tenant("b", name="Same"))
    metadata.put_tenant(_tenant("a", name="Same"))
    metadata.put_tenant(_tenant("c", name="First"))
    metadata.put_tenant(_tenant("b", name="Same", plan="team"))
    assert [tenant.id for tenant in metadata.tenants()] == ["c", "a", "b"]
    assert metadata.tenant("b").plan == "team"
    metadata.delete_tenant("b")
    with pytest.raises(TenantNotFound):
        metadata.tenant("b")
    with pytest.raises(TenantNotFound):
        metadata.delete_tenant("b")


def test_a_tenant_that_is_met_changes_none_that_is_there(metadata: MetadataRepository) -> None:
    assert metadata.meet_tenant(_tenant("a"))
    assert not metadata.meet_tenant(_tenant("a", name="other", plan="other"))
    assert metadata.tenants() == [_tenant("a")]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_come_back_as_they_were(metadata: MetadataRepository, hostile: str) -> None:
    tenant = _tenant(hostile, name=hostile, plan=hostile, config={hostile: hostile})
    event = _event(1, tenant=hostile, actor=hostile, resource=hostile, data={hostile: hostile})
    metadata.put_tenant(tenant)
    metadata.audit(event)
    assert metadata.tenant(hostile) == tenant
    assert metadata.audit_events(tenant=hostile) == [event]


def test_audit_events_come_newest_first(metadata: MetadataRepository) -> None:
    for event in (_event(2), _event(1), _event(3, tenant="b"), _event(4, event_type="x")):
        metadata.audit(event)
    assert [e.data["n"] for e in metadata.audit_events()] == [4, 3, 2, 1]
    assert [e.data["n"] for e in metadata.audit_events(limit=2)] == [4, 3]
    assert [e.data["n"] for e in metadata.audit_events(tenant="b")] == [3]
    assert [e.data["n"] for e in metadata.audit_events(event_type="x")] == [4]
    assert [e.data["n"] for e in metadata.audit_events(since=NOON + 3 * SECOND)] == [4, 3]
    assert metadata.audit_events(limit=0) == []


def test_audit_events_of_one_moment_come_last_first(metadata: MetadataRepository) -> None:
    for number in (1, 2, 3):
        metadata.audit(_event(number, timestamp=NOON))
    assert [e.data["n"] for e in metadata.audit_events()] == [3, 2, 1]


def test_an_audit_event_is_never_changed(metadata: MetadataRepository) -> None:
    metadata.audit(_event(1))
    metadata.audit(_event(1, actor="mallory"))
    assert metadata.audit_events() == [_event(1)]


# --- cache (its clock and bounds: test_memory.py) ---


def test_the_cache_keeps_replaces_and_forgets(cache: CacheLayer) -> None:
    assert cache.get("a") is None
    cache.set("a", b"1", ttl_seconds=60)
    cache.set("b", b"\0", ttl_seconds=60)
    cache.set("a", b"2", ttl_seconds=60)
    assert (cache.get("a"), cache.get("b")) == (b"2", b"\0")
    cache.invalidate(["a", "unknown"])
    assert (cache.get("a"), cache.get("b")) == (None, b"\0")


def test_many_are_kept_and_found_in_one_trip(cache: CacheLayer) -> None:
    cache.set_many({"a": b"1", "b": bytes(range(256)), "c": b"3"}, ttl_seconds=60)
    assert cache.get_many(["b", "unknown", "a"]) == [bytes(range(256)), None, b"1"]
    assert cache.get_many([]) == []
    cache.set_many({}, ttl_seconds=60)
    cache.invalidate([])
    cache.set_many({"a": b"4"}, ttl_seconds=0)
    assert cache.get_many(["a", "c"]) == [None, b"3"]
    assert cache.healthy()


def test_what_is_kept_for_no_time_is_not_kept(cache: CacheLayer) -> None:
    cache.set("a", b"1", ttl_seconds=60)
    cache.set("a", b"2", ttl_seconds=0)
    assert cache.get("a") is None
