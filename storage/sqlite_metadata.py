"""Tenants and the audit log in the shared SQLite file: commands write while a gateway runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from llmtrace.domain.traces import AuditEvent, Tenant
from llmtrace.storage.base import MAX_MET, StorageError, TenantNotFound
from llmtrace.storage.codec import from_json, to_json
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.storage.sqlite_values import SqlText, text_in, text_out, time_in, time_out

_TENANTS: Final = "SELECT id, name, created_at, plan, config FROM tenants "
_PUT_TENANT: Final = """
INSERT INTO tenants (id, name, created_at, plan, config) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, created_at = excluded.created_at,
    plan = excluded.plan, config = excluded.config
"""
_MEET_TENANT: Final = """
INSERT INTO tenants (id, name, created_at, plan, config) SELECT ?, ?, ?, ?, ?
WHERE (SELECT count(*) FROM tenants) < ? ON CONFLICT (id) DO NOTHING
"""
_COUNT: Final = "SELECT count(*) FROM tenants"
_PUT_EVENT: Final = """
INSERT INTO audit_events (id, tenant, event_type, actor, resource, timestamp, data)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_EVENTS: Final = """
SELECT id, tenant, event_type, actor, resource, timestamp, data FROM audit_events
WHERE (:tenant IS NULL OR tenant = :tenant)
    AND (:event_type IS NULL OR event_type = :event_type) AND timestamp >= :since
ORDER BY timestamp DESC, position DESC LIMIT :limit
"""
_ALWAYS: Final = -(2**62)
_IS_ADOPTED: Final = "SELECT 1 FROM adopted_files WHERE path = ?"
_ADOPTED: Final[Mapping[str, str]] = {
    "tenants": "INSERT OR IGNORE INTO tenants VALUES (?, ?, ?, ?, ?)",
    "audit_events": (
        "INSERT OR IGNORE INTO audit_events "
        "(id, tenant, event_type, actor, resource, timestamp, data) VALUES (?, ?, ?, ?, ?, ?, ?)"
    ),
}
_TO_ADOPT: Final[Mapping[str, str]] = {
    "tenants": "SELECT id, name, created_at, plan, config FROM tenants",
    "audit_events": (
        "SELECT id, tenant, event_type, actor, resource, timestamp, data FROM audit_events "
        "ORDER BY position"
    ),
}


class SqliteMetadataRepository:
    """Keeps tenants and the audit log; see ``MetadataRepository`` for what each method promises."""

    def __init__(self, file: SharedSqliteFile) -> None:
        self._file = file

    def put_tenant(self, tenant: Tenant) -> None:
        """Create the tenant or replace it."""
        with self._file.writing() as db:
            db.execute(_PUT_TENANT, _values(tenant))

    def meet_tenant(self, tenant: Tenant) -> bool:
        """Create a tenant unless it is there, or ``MAX_MET`` are; return whether it was."""
        with self._file.reading() as db:  # who is there, or comes too late, costs no lock
            known = db.execute("SELECT 1 FROM tenants WHERE id = ?", (text_in(tenant.id),))
            if known.fetchone() or db.execute(_COUNT).fetchone()[0] >= MAX_MET:
                return False
        with self._file.writing() as db:
            return bool(db.execute(_MEET_TENANT, (*_values(tenant), MAX_MET)).rowcount)

    def tenant(self, tenant_id: str) -> Tenant:
        """Return one tenant. Raises: TenantNotFound."""
        with self._file.reading() as db:
            row = db.execute(_TENANTS + "WHERE id = ?", (text_in(tenant_id),)).fetchone()
        if row is None:
            raise _not_found(tenant_id)
        return _tenant(row)

    def tenants(self) -> Sequence[Tenant]:
        """Return all tenants by name."""
        with self._file.reading() as db:
            return [_tenant(row) for row in db.execute(_TENANTS + "ORDER BY name, id")]

    def delete_tenant(self, tenant_id: str) -> None:
        """Delete one tenant. Raises: TenantNotFound."""
        with self._file.writing() as db:
            deleted = db.execute("DELETE FROM tenants WHERE id = ?", (text_in(tenant_id),)).rowcount
        if not deleted:
            raise _not_found(tenant_id)

    def audit(self, event: AuditEvent) -> None:
        """Append to the audit log; an event that is there is not added again."""
        texts = (event.id, event.tenant, event.event_type, event.actor, event.resource)
        values = (*map(text_in, texts), time_in(event.timestamp), to_json(event.data).decode())
        with self._file.writing() as db:
            db.execute(_PUT_EVENT, values)

    def audit_events(
        self,
        *,
        tenant: str | None = None,
        event_type: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[AuditEvent]:
        """Return audit events, newest first; of the same time, the last one first."""
        values = {
            "tenant": None if tenant is None else text_in(tenant),
            "event_type": None if event_type is None else text_in(event_type),
            "since": _ALWAYS if since is None else time_in(since),
            "limit": max(0, limit),
        }
        with self._file.reading() as db:
            return [_event(row) for row in db.execute(_EVENTS, values)]

    def healthy(self) -> bool:
        """Whether the file can be read now."""
        try:
            with self._file.reading() as db:
                db.execute("SELECT 1 FROM tenants LIMIT 1").fetchone()
        except StorageError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def adopt(shared: SharedSqliteFile, traces: SqliteFile) -> None:
    """Take over tenants and audit log of a file of traces, where they once were; once for a file.

    What the shared file has of them already stays.

    Raises:
        StorageError: Either file cannot be used.
    """
    path = (str(traces.path.absolute()),)
    with shared.reading() as db:
        if db.execute(_IS_ADOPTED, path).fetchone():
            return
    with traces.reading() as db:
        rows = {table: db.execute(query).fetchall() for table, query in _TO_ADOPT.items()}
    with shared.writing() as db:
        if db.execute(_IS_ADOPTED, path).fetchone():
            return  # another process was faster
        for table, statement in _ADOPTED.items():
            db.executemany(statement, rows[table])
        db.execute("INSERT INTO adopted_files VALUES (?)", path)


def _not_found(tenant_id: str) -> TenantNotFound:
    return TenantNotFound(f"there is no tenant {tenant_id!r}")


def _values(tenant: Tenant) -> tuple[SqlText | int, ...]:
    return (
        text_in(tenant.id),
        text_in(tenant.name),
        time_in(tenant.created_at),
        text_in(tenant.plan),
        to_json(tenant.config).decode(),
    )


def _tenant(row: tuple[Any, ...]) -> Tenant:
    tenant_id, name, created_at, plan, config = row
    return Tenant(
        id=text_out(tenant_id),
        name=text_out(name),
        created_at=time_out(created_at),
        plan=text_out(plan),
        config=from_json(config),
    )


def _event(row: tuple[Any, ...]) -> AuditEvent:
    *texts, timestamp, data = row
    event_id, tenant, event_type, actor, resource = map(text_out, texts)
    return AuditEvent(
        id=event_id,
        tenant=tenant,
        event_type=event_type,
        actor=actor,
        resource=resource,
        timestamp=time_out(timestamp),
        data=from_json(data),
    )
