"""Tells who is calling: tenant, agent, run, session and client program."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from llmtrace.domain.ids import DEFAULT_TENANT, NAME
from llmtrace.domain.values import dataclass
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import Credentials, fingerprint
from llmtrace.pipeline.keyring import KeyRing
from llmtrace.providers.clients import ClientIdentity, identify
from llmtrace.storage.keys import Key, Presented, Role

TENANT_HEADER: Final = "x-llmtrace-tenant-id"
AGENT_HEADER: Final = "x-llmtrace-agent-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is calling, as far as it can be told. Empty strings say nothing.

    ``key_id`` and ``role`` are of the LLMTrace key, where the call has one.
    """

    tenant: str
    agent: str
    run: str
    client: ClientIdentity
    key_id: str = ""
    role: Role | None = None


class BadIdentity(ValueError):
    """An identity header from a trusted peer is no name."""


class Identifier:
    """Makes callers out of heads.

    An LLMTrace key says who pays, and who acts if it is bound to an agent. Else a trusted peer
    names the tenant, else it is the keyed hash of the provider credential: the same key is the
    same tenant, and the key itself is nowhere.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        trusted: Sequence[str],
        keys: KeyRing | None = None,
        met: Callable[[str], None] = lambda _tenant: None,
        conflicted: Callable[[Key, str], None] = lambda _key, _claimed: None,
    ) -> None:
        """Keep the arguments; ``met`` and ``conflicted`` are told, and must not wait.

        ``met`` is told the tenant of each call, ``conflicted`` a key that came with the name of
        another tenant than its own, and that name, empty where it is none.
        """
        self._secret = secret
        self._met = met
        self._conflicted = conflicted
        self._trusted = [ipaddress.ip_network(network) for network in trusted]
        self._keys = keys or KeyRing(None, secret=secret, counters=Counters())
        self._peers: dict[str, bool] = {}

    def caller(
        self,
        *,
        headers: Mapping[str, str],
        repeated: frozenset[str],
        peer: str,
        run: str,
        credentials: Credentials,
        keys: Sequence[Presented] = (),
        proxy_key: Presented | None = None,
    ) -> Caller:
        """Identify the caller.

        Args:
            headers: Lower-case names, first values.
            repeated: Names of headers that came more than once.
            peer: The client's IP address as the socket tells it.
            run: The user name of the proxy credentials.
            keys: The LLMTrace keys that stood in its headers.
            proxy_key: The one that was the password of the proxy credentials.

        Raises:
            BadIdentity: A peer that is believed sent a name that is none, or two of one kind.
            KeyRefused: It has no key that lets it in.
        """
        client = identify(headers)
        key = self._keys.holder(keys, proxy_key)
        trusted = self.trusts(peer)
        tenant = _named(headers, repeated, TENANT_HEADER) if trusted else ""
        agent = _named(headers, repeated, AGENT_HEADER) if trusted or _is_open(key) else ""
        if key is not None:
            self._compare(key, headers.get(TENANT_HEADER, ""))
            tenant = key.tenant
        if not tenant and credentials.principal:
            tenant = f"key-{fingerprint(self._secret, credentials.principal)}"
        self._met(tenant or DEFAULT_TENANT)
        named = "" if agent or keys or not _is_open(key) else run
        return Caller(
            tenant=tenant or DEFAULT_TENANT,
            agent=(key.agent if key else "") or agent or named or client.program or "unknown",
            run="" if named else run,
            client=client,
            key_id=key.id if key else "",
            role=key.role if key else None,
        )

    def _compare(self, key: Key, claimed: str) -> None:
        """Take note of a call whose headers name another tenant than its key: the key counts."""
        if claimed and claimed != key.tenant:
            self._conflicted(key, claimed if NAME.fullmatch(claimed) else "")
            self._keys.conflict()

    def trusts(self, peer: str) -> bool:
        """Whether the headers of a peer are believed."""
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) > 10_000:
                self._peers.clear()
            known = self._peers[peer] = self._in_trusted_network(peer)
        return known

    def _in_trusted_network(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)


def _is_open(key: Key | None) -> bool:
    """Whether the holder of a key names the agent: it is bound to none, and to no run."""
    return key is not None and not key.agent and not key.run


def _named(headers: Mapping[str, str], repeated: frozenset[str], header: str) -> str:
    value = headers.get(header, "")
    if header in repeated:
        raise BadIdentity(f"{header} stands twice; send it once")
    if value and not NAME.fullmatch(value):
        raise BadIdentity(f"{header} is no name; expected 1 to 128 of A-Z a-z 0-9 . _ : -")
    return value
