"""Tells who is calling: tenant, agent, run, session and client program."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llmtrace.pipeline.credentials import Credentials, fingerprint
from llmtrace.providers.clients import ClientIdentity, identify

DEFAULT_TENANT: Final = "default"
TENANT_HEADER: Final = "x-llmtrace-tenant-id"
AGENT_HEADER: Final = "x-llmtrace-agent-id"
_NAME: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is calling, as far as it can be told. Empty strings say nothing."""

    tenant: str
    agent: str
    run: str
    client: ClientIdentity


class BadIdentity(ValueError):
    """An identity header from a trusted peer is no name."""


class Identifier:
    """Makes callers out of heads.

    A tenant is named by a trusted peer, else it is the keyed hash of the provider credential:
    the same key is the same tenant, and the key itself is nowhere.
    """

    def __init__(self, *, secret: bytes, trusted: Sequence[str]) -> None:
        self._secret = secret
        self._trusted = [ipaddress.ip_network(network) for network in trusted]
        self._peers: dict[str, bool] = {}

    def caller(
        self,
        *,
        headers: Mapping[str, str],
        repeated: frozenset[str],
        peer: str,
        run: str,
        credentials: Credentials,
    ) -> Caller:
        """Identify the caller.

        Args:
            headers: Lower-case names, first values.
            repeated: Names of headers that came more than once.
            peer: The client's IP address as the socket tells it.
            run: The user name of the proxy credentials.

        Raises:
            BadIdentity: A trusted peer sent a name that is none, or two of one kind.
        """
        client = identify(headers)
        tenant = agent = ""
        if self._trusts(peer):
            tenant = _named(headers, repeated, TENANT_HEADER)
            agent = _named(headers, repeated, AGENT_HEADER)
        if not tenant and credentials.principal:
            tenant = f"key-{fingerprint(self._secret, credentials.principal)}"
        return Caller(
            tenant=tenant or DEFAULT_TENANT,
            agent=agent or client.program or "unknown",
            run=run,
            client=client,
        )

    def _trusts(self, peer: str) -> bool:
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


def _named(headers: Mapping[str, str], repeated: frozenset[str], header: str) -> str:
    value = headers.get(header, "")
    if header in repeated:
        raise BadIdentity(f"{header} stands twice; send it once")
    if value and not _NAME.fullmatch(value):
        raise BadIdentity(f"{header} is no name; expected 1 to 128 of A-Z a-z 0-9 . _ : -")
    return value
