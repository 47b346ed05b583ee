import logging
from datetime import UTC, datetime

import pytest

from llmtrace.domain.traces import Tenant
from llmtrace.storage import newcomers
from llmtrace.storage.base import MetadataRepository, StorageUnavailable
from llmtrace.storage.keys import Key, Role
from llmtrace.storage.memory import MemoryMetadataRepository
from llmtrace.storage.newcomers import CONFLICT, CONFLICT_EVERY, FIRST_SIGHT, Newcomers

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Kept(MemoryMetadataRepository):
    """Can still be looked into after it was closed; ``asked`` counts what it was told."""

    asked = 0

    def meet_tenant(self, tenant: Tenant) -> bool:
        self.asked += 1
        return super().meet_tenant(tenant)

    def close(self) -> None:
        """Keep everything."""


def a_key(key_id: str) -> Key:
    return Key(id=key_id, tenant="acme", role=Role.OPERATOR, created_at=NOON, digest=b"d")


def met(kept: MetadataRepository, *tenants: str) -> None:
    people = Newcomers(lambda: kept, now=lambda: NOON)
    for tenant in tenants:
        people.meet(tenant)
    people.close()


def test_a_tenant_that_is_met_is_kept_once_and_has_no_rights() -> None:
    kept = Kept()
    met(kept, "a", "b", "a")
    expected = Tenant(id="a", name="a", created_at=NOON, plan=FIRST_SIGHT)
    assert kept.tenant("a") == expected
    assert kept.asked == 2


def test_a_tenant_that_somebody_created_stays_as_it_is() -> None:
    kept = Kept()
    mine = Tenant(id="a", name="Mine", created_at=NOON, plan="team")
    kept.put_tenant(mine)
    met(kept, "a")
    assert kept.tenants() == [mine]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "MAX_REMEMBERED", 2)
    kept = Kept()
    people = Newcomers(lambda: kept)
    for number in range(10):
        people.meet(str(number))
    assert len(people._remembered) <= 2
    people.close()
    assert len(kept.tenants()) == 10


def test_a_store_that_is_away_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> MetadataRepository:
        raise StorageUnavailable("locked, says the test")

    people = Newcomers(away)
    with caplog.at_level(logging.WARNING):
        people.meet("key-0123")
        people.close()
    assert "locked" in caplog.text


def test_a_key_with_the_name_of_another_tenant_is_put_on_record_once_an_hour() -> None:
    kept, clock = Kept(), [NOON]
    people = Newcomers(lambda: kept, now=lambda: clock[0])
    one, other = (a_key(key_id) for key_id in ("one", "other"))
    for key, claimed in ((one, "evil"), (one, "worse"), (other, "")):
        people.conflict(key, claimed)
    clock[0] += CONFLICT_EVERY
    people.conflict(one, "evil")
    people.close()
    found = [(event.actor, event.resource) for event in kept.audit_events(event_type=CONFLICT)]
    assert sorted(found) == [
        ("key/one", "tenant/evil"),
        ("key/one", "tenant/evil"),
        ("key/other", "tenant/"),
    ]
    assert {event.tenant for event in kept.audit_events()} == {"acme"}


def test_what_is_remembered_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "MAX_REMEMBERED", 2)
    people = Newcomers(Kept)
    for number in range(10):
        people.conflict(a_key(str(number)), "evil")
    assert len(people._conflicts) <= 2
    people.close()


def test_who_met_nobody_opens_nothing() -> None:
    def never() -> MetadataRepository:
        raise AssertionError("opened")

    Newcomers(never).close()
