"""Deletes what is too old, and writes down that it did."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import AuditEvent
from llmtrace.storage.base import Storage

VACUUMED: Final = "traces_vacuumed"
"""The audit event of a vacuum."""

VACUUM_EVERY: Final = timedelta(days=1)
"""A vacuum reads and writes much of what is kept, so that not every purge is followed by one."""

PURGED: Final = "traces_purged"
"""The audit event of a purge; its data say how many traces, and from before when."""


def purge_older_than(storage: Storage, days: int, now: datetime) -> int:
    """Delete the traces that began more than ``days`` days before ``now``, and return how many.

    Args:
        storage: Where from. The audit log is told if anything was deleted, and at most once a
            day the space goes back to the file system.
        days: 0 keeps everything.
        now: Aware.

    Raises:
        StorageUnavailable: Some may be deleted, the rest goes the next time.
    """
    if days <= 0:
        return 0
    before = now - timedelta(days=days)
    count = storage.traces.purge(before=before)
    if count:
        storage.metadata.audit(_event(PURGED, now, {"count": count, "before": before.isoformat()}))
        _vacuum_sometimes(storage, now)
    return count


def _vacuum_sometimes(storage: Storage, now: datetime) -> None:
    since = now - VACUUM_EVERY + timedelta(microseconds=1)
    if not storage.metadata.audit_events(event_type=VACUUMED, since=since, limit=1):
        storage.traces.vacuum()
        storage.metadata.audit(_event(VACUUMED, now, {}))


def _event(event_type: str, now: datetime, data: Mapping[str, object]) -> AuditEvent:
    return AuditEvent(
        id=new_trace_id(),
        tenant="",
        event_type=event_type,
        actor="gateway",
        resource="traces",
        timestamp=now,
        data=data,
    )
