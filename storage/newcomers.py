"""Puts on record whom calls are from, without letting anybody wait for it: the tenants that are
met for the first time, and keys that came with the name of another tenant."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import AuditEvent, Tenant
from llmtrace.storage.base import MetadataRepository, StorageError
from llmtrace.storage.keys import Key

logger = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 10_000
"""Tenants of which a process knows that they are kept."""
MAX_WAITING: Final = 1_000
"""Tenants that wait to be kept; further ones are kept when they are met again."""
FIRST_SIGHT: Final = "first_sight"
"""The plan of a tenant that nobody created: it has no rights, until a key is made for it."""


CONFLICT: Final = "identity_conflict"
"""The event in the audit log: a call whose headers named another tenant than its key."""
CONFLICT_EVERY: Final = timedelta(hours=1)
"""How often that is put on record of the same key; the counter tells how often it was."""


class Newcomers:
    """Keeps each tenant that is met, once. Nothing here waits or fails.

    Args:
        open_metadata: Opens the store when there is something to keep.
        now: The time (aware) at which a tenant is met.
    """

    def __init__(
        self,
        open_metadata: Callable[[], MetadataRepository],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._open = open_metadata
        self._now = now
        self._metadata: MetadataRepository | None = None
        self._remembered: set[str] = set()
        self._conflicts: dict[str, datetime] = {}
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="newcomers")

    def meet(self, tenant_id: str) -> None:
        """Keep a tenant soon, unless that was done. From one thread."""
        if tenant_id in self._remembered or not self._waiting.acquire(blocking=False):
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered.add(tenant_id)
        self._writer.submit(self._keep, self._meet, tenant_id)

    def conflict(self, key: Key, claimed: str) -> None:
        """Put on record soon that a key came with the name of another tenant. From one thread."""
        now = self._now()
        last = self._conflicts.get(key.id)
        if last is not None and now - last < CONFLICT_EVERY:
            return
        if not self._waiting.acquire(blocking=False):
            return
        if len(self._conflicts) >= MAX_REMEMBERED:
            self._conflicts.clear()
        self._conflicts[key.id] = now
        event = AuditEvent(
            id=new_trace_id(),
            tenant=key.tenant,
            event_type=CONFLICT,
            actor=f"key/{key.id}",
            resource=f"tenant/{claimed}",
            timestamp=now,
        )
        self._writer.submit(self._keep, self._note, event)

    def close(self) -> None:
        """Keep what waits, and let go of the store."""
        self._writer.shutdown()
        if self._metadata is not None:
            self._metadata.close()

    def _keep[T](self, keep: Callable[[MetadataRepository, T], None], what: T) -> None:
        try:
            if self._metadata is None:
                self._metadata = self._open()
            keep(self._metadata, what)
        except StorageError as error:  # its calls are recorded all the same
            logger.warning("who calls was not put on record: %s", error)
        finally:
            self._waiting.release()

    def _meet(self, metadata: MetadataRepository, tenant_id: str) -> None:
        metadata.meet_tenant(
            Tenant(id=tenant_id, name=tenant_id, created_at=self._now(), plan=FIRST_SIGHT)
        )

    @staticmethod
    def _note(metadata: MetadataRepository, event: AuditEvent) -> None:
        metadata.audit(event)
