"""What workers found in texts, shared in a cache that may be slow, away, or in wrong hands."""

import asyncio
import hashlib
import hmac
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llmtrace.analyzers.base import Hit, Inspection
from llmtrace.domain.findings import Severity
from llmtrace.storage.base import CacheLayer, StorageUnavailable

logger = logging.getLogger(__name__)

REST_SECONDS: Final = 5.0
"""How long a cache is left alone that failed or was too slow."""
STRIKES: Final = 3
"""Requests in a row that may wait in vain before the cache counts as too slow. One may have waited
for the processor."""
MOST_ASKED: Final = 512
"""Texts that are asked for in one trip; further ones are looked into."""
MOST_WAITING: Final = 32
"""Requests that wait for an answer of the cache at once; further ones do without."""
MOST_KEPT: Final = 1024
"""Verdicts that wait to be shared; further ones are not."""
MAX_VALUE: Final = 16 * 1024
"""Bytes of a verdict: about 150 hits. Larger ones are not shared."""
KEEP_AT_ONCE: Final = 64
_NONCE: Final = 12
_FIELDS: Final = ("kind", "confidence", "start", "end", "detector", "value", "stable")


class _Asked:
    """A request that waits: for these keys, until ``done``."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.done = threading.Event()
        self.given_up = False
        self.values: Sequence[bytes | None] = ()


class SharedVerdicts:
    """Shares verdicts through a cache. Safe to share between threads; nothing here raises.

    Names are keyed hashes and values are encrypted and bound to their names, all under the
    installation's secret: who reads the cache learns no text and no finding, and what anyone else
    has put there counts as not there. ``seal`` stands for all that finds: what was found by
    something else has other names.

    A request waits for at most ``deadline`` seconds, and never in an event loop; the cache itself
    is spoken to by one thread. One that fails, or is too slow ``STRIKES`` times in a row, is left
    alone for ``rest`` seconds, and asked again once it has answered that thread in time.
    """

    def __init__(
        self,
        cache: CacheLayer,
        *,
        secret: bytes,
        seal: str,
        ttl_seconds: float,
        deadline: float,
        rest: float = REST_SECONDS,
    ) -> None:
        self._cache = cache
        self._names = _derived(secret, f"names {seal}")
        self._cipher = AESGCM(_derived(secret, f"values {seal}"))
        self._ttl, self._deadline, self._rest = ttl_seconds, deadline, rest
        self._jobs: queue.Queue[_Asked | None] = queue.Queue(MOST_WAITING)
        self._kept: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._why = ""
        self._strikes = 0
        self._rests_until = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="verdicts", daemon=True)
        self._thread.start()

    # --- for analyzers -----------------------------------------------------------------------

    def recall(self, keys: Sequence[bytes]) -> Mapping[bytes, Inspection]:
        """Return what is known of these keys, or nothing in an event loop or a bad moment."""
        if self._why or self._closed or not keys or _in_event_loop():
            return {}
        keys = keys[:MOST_ASKED]
        asked = _Asked([self._name(key) for key in keys])
        try:
            self._jobs.put_nowait(asked)
        except queue.Full:
            self._count("busy")
            return {}
        if not asked.done.wait(self._deadline):
            asked.given_up = True
            self._strike()
            return {}
        self._strikes = 0
        found = {
            key: made
            for key, name, value in zip(keys, asked.names, asked.values, strict=False)
            if value is not None and (made := self._opened(name, value)) is not None
        }
        self._count("hit", len(found))
        self._count("miss", len(keys) - len(found))
        return found

    def keep(self, key: bytes, made: Inspection) -> None:
        """Share a verdict, soon; it is dropped where too many wait."""
        if self._why or self._closed or made.skipped:
            return
        name = self._name(key)
        value = self._sealed(name, made)
        with self._lock:
            fits = len(value) <= MAX_VALUE and len(self._kept) < MOST_KEPT
            if fits:
                self._kept[name] = value
        if not fits:
            self._count("not_shared")
            return
        if self._jobs.empty():
            self._wake()

    # --- for those who look after it ---------------------------------------------------------

    @property
    def counts(self) -> Mapping[str, int]:
        """What it did so far, as ``Counters.snapshot`` names it."""
        with self._lock:
            return {f"verdict_cache{{{name}}}": count for name, count in self._counts.items()}

    @property
    def status(self) -> Mapping[str, object]:
        """Whether the cache is used now, and else why it is not."""
        return {"name": "verdicts", "reachable": not self._why, "reason": self._why}

    def close(self) -> None:
        """Stop. What waits to be shared is lost; nothing waits for a cache that does not answer."""
        self._closed = True
        self._wake()
        self._thread.join(self._deadline)
        self._cache.close()

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            asked = self._next()
            if self._why:
                self._try_again()
            else:
                self._serve(asked)
            if asked is not None:
                asked.done.set()

    def _next(self) -> _Asked | None:
        wait = max(0.01, self._rests_until - time.monotonic()) if self._why else None
        try:
            return self._jobs.get(timeout=wait)
        except queue.Empty:
            return None

    def _serve(self, asked: _Asked | None) -> None:
        try:
            if asked is not None and not asked.given_up:
                asked.values = self._cache.get_many(asked.names)
                asked.done.set()
            while self._jobs.empty() and (some := self._some_kept()):
                self._cache.set_many(some, ttl_seconds=self._ttl)
        except StorageUnavailable as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001  # a fault of the client's must not end the thread
            self._fail(type(error).__name__)

    def _some_kept(self) -> dict[str, bytes]:
        with self._lock:
            return {name: self._kept.pop(name) for name in list(self._kept)[:KEEP_AT_ONCE]}

    def _try_again(self) -> None:
        began = time.monotonic()
        if began < self._rests_until:
            return
        if self._cache.healthy() and time.monotonic() - began <= self._deadline:
            logger.info("verdicts are shared again")
            self._why, self._strikes = "", 0
        else:
            self._rests_until = time.monotonic() + self._rest

    def _strike(self) -> None:
        self._count("slow")
        self._strikes += 1
        if self._strikes >= STRIKES:
            self._fail("it takes too long to answer")

    def _fail(self, why: str) -> None:
        if self._closed:
            return
        with self._lock:
            first, self._why = not self._why, why
            self._rests_until = time.monotonic() + self._rest
            self._kept.clear()
            self._counts["unavailable"] += first
        if first:
            logger.warning("verdicts are not shared for now: %s", why)
            self._wake()

    def _wake(self) -> None:
        with suppress(queue.Full):  # it is awake then
            self._jobs.put_nowait(None)

    def _count(self, name: str, amount: int = 1) -> None:
        if amount:
            with self._lock:
                self._counts[name] += amount

    # --- names and values ---------------------------------------------------------------------

    def _name(self, key: bytes) -> str:
        return hmac.digest(self._names, key, "sha256")[:20].hex()

    def _sealed(self, name: str, made: Inspection) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, encoded(made), name.encode())

    def _opened(self, name: str, value: bytes) -> Inspection | None:
        try:
            return decoded(self._cipher.decrypt(value[:_NONCE], value[_NONCE:], name.encode()))
        except (InvalidTag, ValueError, TypeError):
            self._count("rejected")
            return None


def encoded(made: Inspection) -> bytes:
    """Write a complete inspection: kinds, places and numbers, nothing of the text."""
    hits = [[one.severity, *(getattr(one, name) for name in _FIELDS)] for one in made.hits]
    return orjson.dumps([made.attack, hits])


def decoded(data: bytes) -> Inspection:
    """Read what ``encoded`` wrote. Raises: ValueError, TypeError."""
    attack, rows = orjson.loads(data)
    hits = tuple(
        Hit(severity=Severity(severity), **dict(zip(_FIELDS, values, strict=True)))
        for severity, *values in rows
    )
    return Inspection(hits, (), attack)


def _derived(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, f"llmtrace verdicts {purpose}".encode(), hashlib.sha256)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
