"""LLMTrace keys: who holds them, how they are written and known again, and what keeps them.

A key is ``llmt_ID_SECRET``: ``llmt_``, 12 letters and digits that name it, ``_`` and 32 that
prove it (190 bits). It is shown once. What is kept is an HMAC-SHA256 of it under the
installation's secret: a copy of the database lets nobody in, and since the secret half cannot be
guessed, a slow hash would protect nothing more.
"""

import hmac
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

PREFIX: Final = "llmt_"
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 32
TOKEN_LENGTH: Final = len(PREFIX) + ID_LENGTH + 1 + SECRET_LENGTH
TOKEN: Final = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})")
"""A whole key, as it is presented."""

MAX_KEYS: Final = 100_000
"""Most keys of an installation."""

KEEP_ENDED: Final = timedelta(days=90)
"""How long a revoked or expired key is still listed."""

_ALPHABET: Final = string.ascii_letters + string.digits
_CONTEXT: Final = b"llmtrace-key\0"


class KeyNotFound(LookupError):
    """There is no key with this id."""


class TooManyKeys(RuntimeError):
    """There are ``MAX_KEYS``; revoke what is not needed, it is forgotten after ``KEEP_ENDED``."""


class Role(StrEnum):
    """What the holder of a key may do; each may do what those after it may."""

    ADMIN = "admin"
    """Manage tenants, keys and settings."""
    OPERATOR = "operator"
    """Call models through the gateway, and release what was stopped."""
    VIEWER = "viewer"
    """Read what was recorded; call no model."""

    @property
    def may_call(self) -> bool:
        """Whether calls to models are let through."""
        return self is not Role.VIEWER


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is kept. Times are aware.

    ``agent`` empty lets the holder name its agent. ``run`` is the ``llmtrace run`` that the key
    was made for, if any. After a rotation the old secret, ``previous``, is good until
    ``previous_until``.
    """

    id: str
    tenant: str
    role: Role
    created_at: datetime
    digest: bytes = field(repr=False)
    agent: str = ""
    name: str = ""
    run: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rotated_at: datetime | None = None
    previous: bytes | None = field(default=None, repr=False)
    previous_until: datetime | None = None

    def works(self, at: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def is_proved_by(self, digest: bytes, at: datetime) -> bool:
        """Whether a digest is that of the key, or of its secret before, while that is good.

        Takes the same time wherever they differ.
        """
        now = hmac.compare_digest(self.digest, digest)
        before = hmac.compare_digest(self.previous or self.digest, digest)
        return now or (before and self.previous_until is not None and at < self.previous_until)


@dataclass(frozen=True, slots=True)
class Presented:
    """A key that somebody presented: its id, and the digest of all of it. Never the key itself.

    ``id`` is empty where what was presented cannot be a key.
    """

    id: str
    digest: bytes = field(repr=False)


def new_token() -> tuple[str, str]:
    """Return the id of a new key, and the key."""
    key_id, secret = (
        "".join(secrets.choice(_ALPHABET) for _ in range(length))
        for length in (ID_LENGTH, SECRET_LENGTH)
    )
    return key_id, f"{PREFIX}{key_id}_{secret}"


def rotated_token(key_id: str) -> str:
    """Return a key of the same id with a new secret."""
    return f"{PREFIX}{key_id}{new_token()[1][-SECRET_LENGTH - 1 :]}"


def digest_of(token: str, secret: bytes) -> bytes:
    """Return what is kept of a key, under the installation's secret: 32 bytes."""
    return hmac.digest(secret, _CONTEXT + token.encode("utf-8", "surrogateescape"), "sha256")


def presented(token: str, secret: bytes) -> Presented:
    """Return what is told of a text that begins with ``PREFIX``, whatever it is."""
    found = TOKEN.fullmatch(token) if len(token) == TOKEN_LENGTH else None
    return Presented(found[1], digest_of(token, secret)) if found else Presented("", b"")


class KeyRepository(Protocol):
    """Keeps keys. Safe to share between threads; each call is one transaction.

    What any of them may raise: StorageUnavailable, StorageCorrupt.
    """

    def add(self, key: Key) -> None:
        """Keep a new key, and forget what ended over ``KEEP_ENDED`` before it was made.

        Raises:
            ValueError: There is one with this id.
            TooManyKeys: There are ``MAX_KEYS``.
        """
        ...

    def get(self, key_id: str) -> Key:
        """Return one key. Raises: KeyNotFound."""
        ...

    def keys(self, *, tenant: str | None = None, works_at: datetime | None = None) -> Sequence[Key]:
        """Return the keys, oldest first: of one tenant, and those that work at a time."""
        ...

    def revoke(self, key_id: str, *, at: datetime) -> Key:
        """Make a key useless from ``at`` on, for good; one that is revoked stays as it was.

        Raises: KeyNotFound.
        """
        ...

    def rotate(
        self, key_id: str, *, digest: bytes, at: datetime, previous_until: datetime | None
    ) -> Key:
        """Give a key another secret; the one it has is good until ``previous_until``.

        Raises:
            KeyNotFound: There is none with this id.
            ValueError: It is revoked or expired.
        """
        ...

    def healthy(self) -> bool:
        """Whether the store answers now."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
