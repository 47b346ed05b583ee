"""What SQLite adds; the promises in common are in the conformance suite."""

from contextlib import closing
from pathlib import Path

import pytest

from llmtrace.domain.traces import AuditEvent, Tenant
from llmtrace.storage import sqlite_metadata
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository, adopt
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.testing.records import NOON


def test_statements_stay_data(tmp_path: Path) -> None:
    metadata = SqliteMetadataRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    name = "x'); DROP TABLE tenants; --"
    metadata.put_tenant(Tenant(id=name, name=name, created_at=NOON))
    assert [tenant.id for tenant in metadata.tenants()] == [name]
    assert metadata.audit_events(tenant=name, event_type=name) == []
    metadata.close()


def test_a_closed_store_is_not_healthy(tmp_path: Path) -> None:
    metadata = SqliteMetadataRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    assert metadata.healthy()
    metadata.close()
    assert not metadata.healthy()


def test_numbers_of_any_size_are_kept_in_an_event(tmp_path: Path) -> None:
    metadata = SqliteMetadataRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    event = AuditEvent(
        id="1",
        tenant="",
        event_type="x",
        actor="",
        resource="",
        timestamp=NOON,
        data={"count": 2**60, "share": 0.25, "list": [None, True]},
    )
    metadata.audit(event)
    assert metadata.audit_events() == [event]
    metadata.close()


def test_no_more_tenants_come_to_be_by_themselves_than_there_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_metadata, "MAX_MET", 2)
    metadata = SqliteMetadataRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    people = [Tenant(id=name, name=name, created_at=NOON) for name in "abc"]
    assert [metadata.meet_tenant(tenant) for tenant in people] == [True, True, False]
    metadata.put_tenant(people[2])
    assert len(metadata.tenants()) == 3
    metadata.close()


def test_what_was_kept_with_the_traces_is_taken_over_once(tmp_path: Path) -> None:
    with (
        closing(SqliteFile(tmp_path / "llmtrace.db")) as traces,
        closing(SharedSqliteFile(tmp_path / "limits.sqlite")) as shared,
    ):
        with traces.writing() as db:
            db.executemany(
                "INSERT INTO tenants VALUES (?, ?, 0, 'free', '{}')", [("a", "A"), ("b", "B")]
            )
            db.executemany(
                "INSERT INTO audit_events VALUES (NULL, ?, 'a', 'x', 'ada', 'r', 0, '{}')",
                [("2",), ("1",)],
            )
        metadata = SqliteMetadataRepository(shared)
        metadata.put_tenant(Tenant(id="b", name="kept", created_at=NOON))
        adopt(shared, traces)
        assert [tenant.name for tenant in metadata.tenants()] == ["A", "kept"]
        assert [event.id for event in metadata.audit_events()] == ["1", "2"]
        metadata.delete_tenant("a")
        adopt(shared, traces)
        assert [tenant.id for tenant in metadata.tenants()] == ["b"]
