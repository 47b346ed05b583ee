"""Who may read from the gateway's own server: holders of keys, and programs of this machine."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from llmtrace.storage.keys import Key, KeyNotFound, Role, presented

KEY_HEADER: Final = "x-llmtrace-token"
_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})


class NoAccess(Exception):
    """A request that is not answered. ``status`` is that of HTTP; the message is for a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads. ``tenant`` None may read of all tenants."""

    tenant: str | None = None


class Access:
    """Tells who may read, and of whom.

    A key counts wherever one is sent: that of an admin reads of all tenants, any other of its
    own. Without a key only this machine reads, and only under its own name or address: a page in
    a browser that has another name made to point here is not answered.

    Args:
        lookup: Returns a key by its id. Raises: KeyNotFound.
        secret: The installation's, under which keys are kept.
        required: Whether nobody reads without a key.
    """

    def __init__(
        self,
        lookup: Callable[[str], Key],
        *,
        secret: bytes,
        required: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lookup = lookup
        self._secret = secret
        self._required = required
        self._now = now

    def reader(self, headers: Mapping[str, str], peer: str) -> Reader:
        """Return who reads. Headers are found whatever their case.

        Raises:
            NoAccess: Nobody who may.
        """
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        token = headers.get(KEY_HEADER, "") or (
            bearer.strip() if scheme.lower() == "bearer" else ""
        )
        if token:
            return self._holder(token)
        if self._required:
            raise NoAccess(401, "send an LLMTrace key, as 'Authorization: Bearer llmt_…'")
        if not _is_loopback(peer) or not _is_own_name(headers.get("host", "")):
            raise NoAccess(
                403, "without an LLMTrace key this is answered only to programs of this machine"
            )
        return Reader()

    def _holder(self, token: str) -> Reader:
        shown, now = presented(token, self._secret), self._now()
        try:
            key = self._lookup(shown.id) if shown.id else None
        except KeyNotFound:
            key = None
        if key is None or not key.is_proved_by(shown.digest, now) or not key.works(now):
            raise NoAccess(401, "this LLMTrace key is not known here, or is good no more")
        return Reader(tenant=None if key.role is Role.ADMIN else key.tenant)


def _is_loopback(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _is_own_name(host: str) -> bool:
    """Whether a Host header has an address or a name that is always this machine's."""
    name = host.rpartition(":")[0] if host.count(":") == 1 else host
    name = name.partition("]")[0].lstrip("[").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in _LOCAL_NAMES
    return True
