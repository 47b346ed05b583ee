"""Deletes what is too old, and writes down that it did."""

from datetime import datetime, timedelta
from typing import Final

from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import AuditEvent
from llmtrace.storage.base import Storage

PURGED: Final = "traces_purged"
"""The audit event of a purge; its data say how many traces, and from before when."""


def purge_older_than(storage: Storage, days: int, now: datetime) -> int:
    """Delete the traces that began more than ``days`` days before ``now``, and return how many.

    Args:
        storage: Where from. The audit log is told if anything was deleted.
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
        storage.traces.vacuum()
        storage.metadata.audit(_event(count, before, now))
    return count


def _event(count: int, before: datetime, now: datetime) -> AuditEvent:
    return AuditEvent(
        id=new_trace_id(),
        tenant="",
        event_type=PURGED,
        actor="gateway",
        resource="traces",
        timestamp=now,
        data={"count": count, "before": before.isoformat()},
    )
