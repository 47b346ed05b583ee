"""Answers that come later, for gateways on many hosts: known in Redis to all of them."""

import logging
from typing import Final

from llmtrace.storage.deferred import (
    KEEP_SECONDS,
    MOST,
    Deferred,
    Owed,
    digest,
    owed_in,
    owed_out,
)
from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.redis_ledger import PREFIX
from llmtrace.storage.redis_ledger_rows import Keys
from llmtrace.storage.redis_link import RedisLink
from llmtrace.storage.redis_scripts import BEGIN_DEFERRED, TAKE_DEFERRED, TAKEN

logger = logging.getLogger(__name__)

_KEEP: Final = int(KEEP_SECONDS) * 1_000_000
_PAID: Final = "paid:"
"""Before the names of answers that were told while Redis could not be asked: it may know them."""


class RedisDeferred:
    """Remembers for all workers of all hosts.

    Args:
        link: The way to Redis; it is not closed here.
        local: Where what begins is noted while Redis cannot be reached: known to this host then.
            So is what was told meanwhile.
        prefix: Of all keys.
        size: How many may wait.
    """

    def __init__(
        self, link: RedisLink, local: Deferred, *, prefix: str = PREFIX, size: int = MOST
    ) -> None:
        self._link = link
        self._local = local
        self._keys = Keys(prefix).deferred
        self._size = size

    def begin(self, name: str, owed: Owed) -> None:
        """Note an answer that is not there yet."""
        note = owed_out(owed).decode()
        try:
            self._link.run(BEGIN_DEFERRED, self._keys, digest(name), note, self._size, _KEEP)
        except LedgerUnavailable as error:
            logger.error("an answer to come is noted on this host alone: %s", error)
            self._local.begin(name, owed)

    def take(self, name: str) -> Owed | None:
        """Return what is owed, to the first who asks.

        While Redis cannot be reached, only what is noted on this host is told. Where it did not
        answer and yet noted, or took, both it and this host know: then one of them counts.
        """
        noted, paid = self._local.take(name), self._local.take(_PAID + name)
        known = noted or paid
        try:
            _, (found,) = self._link.run(
                TAKE_DEFERRED, self._keys, digest(name), int(bool(known)), self._size, _KEEP
            )
        except LedgerUnavailable as error:
            logger.error("an answer cannot be looked up: %s", error)
            if known:
                self._local.begin(_PAID + name, known)
            return None if paid else noted
        if paid or found == TAKEN:
            return None
        return owed_in(found.encode()) if found else noted
