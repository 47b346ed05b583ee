"""Keeps the values that placeholders stand for: in memory, and encrypted in a store for a while."""

import hashlib
import hmac
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llmtrace.policy.masking import one_way
from llmtrace.policy.placeholders import (
    MARK,
    PLACEHOLDER,
    canonical,
    is_genuine,
    is_masked,
    placeholder,
)
from llmtrace.storage.base import StorageError
from llmtrace.storage.vault import VaultStore

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 32 << 20
"""What is kept in memory, in bytes of values; the store has the rest."""
MAX_VALUE: Final = 128 << 10
"""Longest value that can come back, in bytes of UTF-8; a longer one is hidden for good."""
REVERSIBLE: Final = ("pii.", "secret.")
"""Kinds whose values may come back. An attack that was cut out must not."""
RENEWED: Final = 8
"""A value that is seen again is stored again after an eighth of its lifetime."""
_OVERHEAD: Final = 400
"""Bytes that an entry takes beside its value."""
_NONCE: Final = 12


class OneWay:
    """Masks that say the kind and nothing else, for good."""

    def mask(self, tenant: str, kind: str, value: str) -> str:
        """Return ``[PII:EMAIL]`` and the like; what is hidden already is returned as it is."""
        del tenant
        return value if is_masked(value) else one_way(kind)

    def unmask(self, tenant: str, masked: str) -> str | None:
        """Return None: nothing comes back."""
        del tenant, masked
        return None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A value in memory. Times are in seconds since 1970."""

    value: str
    size: int
    stored: float
    expires: float


class Vault:
    """Masks whose values come back, to the tenant that had them and to no other.

    The same value of a tenant has the same placeholder in every process and after every restart:
    it is made under a key that is made of the installation's secret and the tenant. A placeholder
    of another tenant is under another key, and stands for nothing here.

    A store that fails costs values their return, and nothing else: they are hidden all the same.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        store: VaultStore | None = None,
        ttl_seconds: float = 7 * 86_400,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the installation's secret, and where values are kept beside memory.

        ``ttl_seconds`` is how long a value can come back after it was last seen; ``max_bytes``
        bounds what is held in memory; ``clock`` tells seconds since 1970.
        """
        self._secret = secret
        self._cipher = AESGCM(hmac.digest(secret, b"llmtrace vault values", hashlib.sha256))
        self._store = store
        self._ttl = ttl_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0

    def mask(self, tenant: str, kind: str, value: str) -> str:
        """Return the placeholder of a value, and keep the value.

        What is hidden already is returned as it is. What cannot come back (an attack, a value that
        is too long) is hidden for good.
        """
        if is_masked(value):
            return value
        if MARK in value:  # hidden in part: what comes back is to be the whole
            value = self.restore(tenant, value)
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > MAX_VALUE or not kind.startswith(REVERSIBLE):
            return one_way(kind)
        masked = placeholder(self._key(tenant), kind, value)
        now = self._clock()
        entry = self._entry(tenant, masked)
        if entry is not None and entry.value != value:
            return one_way(kind)  # two values of one tag: neither may come back as the other
        if entry is None or now - entry.stored > self._ttl / RENEWED:
            self._remember(tenant, masked, _Entry(value, size, now, now + self._ttl))
            self._keep(tenant, masked, value, now + self._ttl)
        return masked

    def unmask(self, tenant: str, masked: str) -> str | None:
        """Return the value that this tenant's placeholder stands for, None if there is none."""
        if not is_genuine(self._key(tenant), masked):
            return None
        masked = canonical(masked)
        now = self._clock()
        entry = self._entry(tenant, masked)
        if entry is not None and entry.expires > now:
            return entry.value
        value = self._fetch(tenant, masked, now)
        if value is not None:
            size = len(value.encode("utf-8", "surrogatepass"))
            self._remember(tenant, masked, _Entry(value, size, 0.0, now + self._ttl / RENEWED))
        return value

    def restore(self, tenant: str, text: str) -> str:
        """Return a text with all of this tenant's placeholders as what they stand for."""
        return PLACEHOLDER.sub(lambda found: self.unmask(tenant, found[0]) or found[0], text)

    def close(self) -> None:
        """Finish what the store has begun, and let go of it."""
        if self._store is not None:
            self._store.close()

    @property
    def held_bytes(self) -> int:
        """How much memory the values take."""
        return self._bytes

    def _key(self, tenant: str) -> bytes:
        name = f"llmtrace vault tenant\0{tenant}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, name, hashlib.sha256)

    def _entry(self, tenant: str, masked: str) -> _Entry | None:
        with self._lock:
            entry = self._entries.get((tenant, masked))
            if entry is not None:
                self._entries.move_to_end((tenant, masked))
        return entry

    def _remember(self, tenant: str, masked: str, entry: _Entry) -> None:
        with self._lock:
            self._drop((tenant, masked))
            self._entries[tenant, masked] = entry
            self._bytes += entry.size + _OVERHEAD
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, str]) -> None:
        gone = self._entries.pop(key, None)
        if gone is not None:
            self._bytes -= gone.size + _OVERHEAD

    def _keep(self, tenant: str, masked: str, value: str, expires: float) -> None:
        if self._store is None:
            return
        nonce = os.urandom(_NONCE)
        plain = value.encode("utf-8", "surrogatepass")
        sealed = nonce + self._cipher.encrypt(nonce, plain, _bound(tenant, masked))
        try:
            self._store.put(tenant, masked, sealed, expires)
        except StorageError as error:
            logger.warning("a hidden value will not outlive this process: %s", error)

    def _fetch(self, tenant: str, masked: str, now: float) -> str | None:
        if self._store is None:
            return None
        try:
            sealed = self._store.get(tenant, masked, now)
            if sealed is None:
                return None
            bound = _bound(tenant, masked)
            plain = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
        except StorageError as error:
            logger.warning("hidden values cannot be read: %s", error)
            return None
        except (InvalidTag, ValueError):
            logger.warning("a hidden value was sealed with another secret, or changed; left as is")
            return None
        return plain.decode("utf-8", "surrogatepass")


def _bound(tenant: str, masked: str) -> bytes:
    """Return what a sealed value belongs to: it opens nowhere else."""
    return f"{tenant}\0{masked}".encode("utf-8", "surrogatepass")
