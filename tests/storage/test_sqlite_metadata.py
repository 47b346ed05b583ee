"""What SQLite adds; the promises in common are in the conformance suite."""

from pathlib import Path

from llmtrace.domain.traces import AuditEvent, Tenant
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository
from llmtrace.testing.records import NOON


def test_statements_stay_data(tmp_path: Path) -> None:
    metadata = SqliteMetadataRepository(SqliteFile(tmp_path / "llmtrace.db"))
    name = "x'); DROP TABLE tenants; --"
    metadata.put_tenant(Tenant(id=name, name=name, created_at=NOON))
    assert [tenant.id for tenant in metadata.tenants()] == [name]
    assert metadata.audit_events(tenant=name, event_type=name) == []
    metadata.close()


def test_a_closed_store_is_not_healthy(tmp_path: Path) -> None:
    metadata = SqliteMetadataRepository(SqliteFile(tmp_path / "llmtrace.db"))
    assert metadata.healthy()
    metadata.close()
    assert not metadata.healthy()


def test_numbers_of_any_size_are_kept_in_an_event(tmp_path: Path) -> None:
    metadata = SqliteMetadataRepository(SqliteFile(tmp_path / "llmtrace.db"))
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
