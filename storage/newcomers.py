"""Keeps the tenants that are met for the first time, without letting anybody wait for it."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

from llmtrace.domain.traces import Tenant
from llmtrace.storage.base import MetadataRepository, StorageError

logger = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 10_000
"""Tenants of which a process knows that they are kept."""
MAX_WAITING: Final = 1_000
"""Tenants that wait to be kept; further ones are kept when they are met again."""
FIRST_SIGHT: Final = "first_sight"
"""The plan of a tenant that nobody created: it has no rights, until a key is made for it."""


class Newcomers:
    """Keeps each tenant that is met, once. ``meet`` never waits and never fails.

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
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="newcomers")

    def meet(self, tenant_id: str) -> None:
        """Keep a tenant soon, unless that was done. From one thread."""
        if tenant_id in self._remembered or not self._waiting.acquire(blocking=False):
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered.add(tenant_id)
        self._writer.submit(self._keep, tenant_id)

    def close(self) -> None:
        """Keep what waits, and let go of the store."""
        self._writer.shutdown()
        if self._metadata is not None:
            self._metadata.close()

    def _keep(self, tenant_id: str) -> None:
        try:
            if self._metadata is None:
                self._metadata = self._open()
            self._metadata.meet_tenant(
                Tenant(id=tenant_id, name=tenant_id, created_at=self._now(), plan=FIRST_SIGHT)
            )
        except StorageError as error:  # its calls are recorded all the same
            logger.warning("a new tenant was not kept: %s", error)
        finally:
            self._waiting.release()
