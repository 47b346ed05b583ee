"""Knows the holders of LLMTrace keys again, and says why a key lets nobody in."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Final

from llmtrace.pipeline.counters import Counters
from llmtrace.storage.base import StorageError
from llmtrace.storage.keys import PREFIX, Key, KeyNotFound, Presented, presented

FRESH_SECONDS: Final = 1.0
"""How long what is known of a key is believed: a revoked one stops after this."""
MAX_KNOWN: Final = 10_000
"""Keys that are remembered. Those that do not exist never are."""


class KeyRefused(ValueError):
    """A call is not let through for want of a key that allows it."""

    reason = "refused"


class KeyMissing(KeyRefused):
    """There is none, and ``auth.enabled`` asks for one."""

    reason = "missing"

    def __init__(self) -> None:
        super().__init__(
            "it needs an LLMTrace key. Set HTTPS_PROXY=http://AGENT:KEY@host:port, or send the "
            "header X-LLMTrace-Token, or use the key as the API key in base-URL mode. "
            "'llmtrace keys create' makes one"
        )


class KeyUnknown(KeyRefused):
    """What was presented is no key of this installation; in what it differs is not said."""

    reason = "unknown"

    def __init__(self) -> None:
        super().__init__("its LLMTrace key is not known here. Ask who runs this gateway for one")


class TwoKeys(KeyRefused):
    """Two different keys were presented in the same place."""

    reason = "two"

    def __init__(self) -> None:
        super().__init__("it has two LLMTrace keys; send one")


class KeyExpired(KeyRefused):
    """The key was good once. Only who has all of it is told."""

    reason = "expired"

    def __init__(self) -> None:
        super().__init__("its LLMTrace key has expired. Ask who runs this gateway for a new one")


class KeyRevoked(KeyRefused):
    """Somebody has made the key useless. Only who has all of it is told."""

    reason = "revoked"

    def __init__(self) -> None:
        super().__init__("its LLMTrace key was revoked. Ask who runs this gateway for a new one")


class KeyForbids(KeyRefused):
    """The key is good, and its role calls no model."""

    reason = "role"

    def __init__(self, role: str) -> None:
        super().__init__(
            f"its LLMTrace key has the role {role!r}, which may read and call no model; use a "
            "key with the role 'operator'"
        )


class KeyConflict(KeyRefused):
    """The headers of the call name another tenant than that of its key."""

    reason = "conflict"

    def __init__(self) -> None:
        super().__init__(
            "its header X-LLMTrace-Tenant-ID names another tenant than that of its LLMTrace key. "
            "Leave the header away, or use a key of that tenant"
        )


class KeysUnavailable(KeyRefused):
    """Nobody can be known again now."""

    reason = "unavailable"

    def __init__(self) -> None:
        super().__init__("LLMTrace cannot look up its key now; try again in a moment")


class KeyRing:
    """Tells from keys who calls. One per worker.

    A key is looked up (some 30 µs) when it was not for ``FRESH_SECONDS``; that needs no slow
    hash, since nobody guesses 190 bits. What is remembered is what the repository has: digests.

    Args:
        lookup: Returns a key by its id, as ``KeyRepository.get``; None knows no key.
        secret: The installation's, under which keys are kept.
        required: Whether calls without a key are refused.
        agreed: Whether calls whose headers name another tenant than their key are refused too.
        clock: Monotonic, in seconds.
        now: The time (aware) by which keys expire.
    """

    def __init__(
        self,
        lookup: Callable[[str], Key] | None,
        *,
        secret: bytes,
        counters: Counters,
        required: bool = False,
        agreed: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.required = required
        self._agreed = agreed
        self._ask = lookup
        self._secret = secret
        self._counters = counters
        self._clock = clock
        self._now = now
        self._known: OrderedDict[str, tuple[float, Key]] = OrderedDict()

    def present(self, text: str) -> Presented | None:
        """Return what is told of a credential, None where it is no LLMTrace key."""
        return presented(text, self._secret) if text.startswith(PREFIX) else None

    def holder(self, keys: Sequence[Presented], proxy_key: Presented | None = None) -> Key | None:
        """Return the key that a call is made with, None where it needs none and has none.

        Args:
            keys: Those in its headers. They count before ``proxy_key``.
            proxy_key: That of the proxy credentials.

        Raises:
            KeyRefused: It must not go on.
        """
        try:
            return self._holder(keys, proxy_key)
        except KeyRefused as error:
            self._counters.count("key_refused", error.reason)
            raise

    def conflict(self) -> None:
        """Count a call whose headers name another tenant than its key does; the key counts.

        Raises:
            KeyConflict: Such calls are refused.
        """
        self._counters.count("identity_conflict")
        if self._agreed:
            self._counters.count("key_refused", KeyConflict.reason)
            raise KeyConflict

    def _holder(self, keys: Sequence[Presented], proxy_key: Presented | None) -> Key | None:
        if any(key != keys[0] for key in keys[1:]):
            raise TwoKeys
        shown = keys[0] if keys else proxy_key
        if shown is None:
            if self.required:
                raise KeyMissing
            return None
        key = self._proved(shown)
        if key.revoked_at is not None:
            raise KeyRevoked
        if not key.works(self._now()):
            raise KeyExpired
        if not key.role.may_call:
            raise KeyForbids(key.role)
        return key

    def _proved(self, shown: Presented) -> Key:
        since, key = self._known.get(shown.id, (-inf, None))
        if key is None or self._clock() - since >= FRESH_SECONDS or not self._proves(key, shown):
            key = self._lookup(shown.id)  # it may be new, or have a new secret
        if key is None or not self._proves(key, shown):
            raise KeyUnknown
        return key

    def _proves(self, key: Key, shown: Presented) -> bool:
        return key.is_proved_by(shown.digest, self._now())

    def _lookup(self, key_id: str) -> Key | None:
        if not key_id or self._ask is None:
            return None
        try:
            key = self._ask(key_id)
        except KeyNotFound:
            return None
        except StorageError as error:
            raise KeysUnavailable from error
        self._known[key_id] = (self._clock(), key)
        self._known.move_to_end(key_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return key
