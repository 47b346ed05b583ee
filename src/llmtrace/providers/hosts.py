"""Which hosts are model providers, under every spelling that reaches them.

The list is data (``hosts.yaml``); a user adds to it by configuration. A host is compared by its
canonical form, on label boundaries, so that ``API.OpenAI.com.`` is the provider and
``api.openai.com.evil.test`` is not.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final, Literal
from urllib.parse import urlsplit

import yaml

from llmtrace.providers.addresses import (
    forbidden_address,
    forbidden_host,
    is_ip_literal,
    is_loopback,
)
from llmtrace.providers.hostnames import BadHost, canonical_host, split_host

__all__ = [
    "BadHost",
    "HostDecision",
    "HostTable",
    "canonical_host",
    "default_hosts",
    "forbidden_address",
    "forbidden_host",
    "is_ip_literal",
    "split_host",
]

type HostKind = Literal["provider", "telemetry", "other"]

_REGION: Final = r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDecision:
    """What becomes of a connection. ``host`` is the canonical name (or address) it is for.

    ``reason`` is set where it is refused: ``bad_host`` or ``authority_mismatch``.
    """

    kind: Literal["governed", "other", "refused"]
    host: str = ""
    provider: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider of the list. ``base_url`` is empty where it has no host of its own."""

    name: str
    family: str = "openai"
    base_url: str = ""
    aliases: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostList:
    """The shipped list, as read from ``hosts.yaml``."""

    providers: Mapping[str, Provider]
    regions: Mapping[str, tuple[str, ...]]
    ports: Mapping[int, str]
    telemetry: tuple[str, ...]


@cache
def shipped_hosts() -> HostList:
    """Read the list that comes with the package."""
    text = (files("llmtrace.providers") / "hosts.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    providers = {name: _provider(name, row) for name, row in data["providers"].items()}
    return HostList(
        providers=providers,
        regions={name: tuple(values) for name, values in data["regions"].items()},
        ports=dict(data["ports"]),
        telemetry=tuple(data["telemetry"]),
    )


def _provider(name: str, row: Mapping[str, object]) -> Provider:
    def texts(key: str) -> tuple[str, ...]:
        values = row.get(key, [])
        return tuple(map(str, values)) if isinstance(values, list) else ()

    return Provider(
        name=name,
        family=str(row.get("family", "openai")),
        base_url=str(row.get("base_url", "")),
        aliases=texts("aliases"),
        hosts=texts("hosts"),
    )


_REMEMBERED: Final = 253
"""Characters of a name that is remembered; longer ones are no hosts."""


class HostTable:
    """Tells providers by host. Immutable; safe to share between threads.

    Args:
        extra: The user's own hosts: ``host``, ``*.suffix`` or ``host:port`` to a provider,
            which may be one of the list or a new name. They come before the shipped ones.
        telemetry: Hosts to leave alone, beside the shipped ones: ``host`` or ``*.suffix``.

    Raises:
        ValueError: A key of ``extra`` or ``telemetry`` is no host or pattern, or a provider
            name is odd.
    """

    def __init__(
        self, extra: Mapping[str, str] | None = None, *, telemetry: tuple[str, ...] = ()
    ) -> None:
        shipped = shipped_hosts()
        self._providers = shipped.providers
        self._regions = shipped.regions
        self._ports = shipped.ports
        self._aliases = {a: p.name for p in self._providers.values() for a in p.aliases}
        self._own = _Patterns()
        self._own_ports: dict[tuple[str, int], str] = {}
        for pattern, provider in (extra or {}).items():
            self._add_own(pattern, self._provider_name(pattern, provider))
        self._names = {*self._providers, *self._own.providers(), *self._own_ports.values()}
        self._shipped = _Patterns()
        for known in self._providers.values():
            for pattern in known.hosts:
                self._shipped.add(pattern, known.name)
        self._telemetry = _Patterns()
        for pattern in (*shipped.telemetry, *telemetry):
            self._telemetry.add(_checked(pattern), "")
        self._found = lru_cache(maxsize=1024)(self._find)

    def _provider_name(self, pattern: str, text: str) -> str:
        name = self.resolve_provider(text)
        if name is None:
            raise ValueError(
                f"{pattern!r}: provider {text!r} is no name; "
                "expected 1 to 64 of a-z, 0-9, '_', '.' and '-'"
            )
        return name

    def _add_own(self, pattern: str, provider: str) -> None:
        if pattern.startswith("*."):
            self._own.add(_checked(pattern), provider)
            return
        try:
            host, port = split_host(pattern)
        except BadHost as error:
            raise ValueError(f"{pattern!r} is no host, *.suffix or host:port: {error}") from error
        if port is None:
            self._own.add(host, provider)
        else:
            self._own_ports[host, port] = provider

    def resolve_provider(self, text: str) -> str | None:
        """Return the name that ``text`` means (an alias is resolved), None where it is odd."""
        name = text.strip().lower()
        name = self._aliases.get(name, name)
        return name if _PROVIDER.fullmatch(name) else None

    def named(self, text: str) -> str | None:
        """Return the provider that ``text`` names, None where nobody is called so."""
        name = self.resolve_provider(text)
        return name if name in self._names else None

    def provider_of(self, host: str, port: int = 443) -> str | None:
        """Return who answers at a canonical host, None where it is no provider."""
        return (self._found if len(host) <= _REMEMBERED else self._find)(host, port)

    def _find(self, host: str, port: int) -> str | None:
        own = self._own_ports.get((host, port)) or self._own.find(host)
        if own:
            return own
        if self._telemetry.find(host) is not None:
            return None
        return self._shipped.find(host) or self._ports.get(port)

    def is_shipped(self, host: str) -> bool:
        """Tell whether a canonical host is one of the list that comes with the package."""
        return self._shipped.find(host) is not None

    def kind(self, host: str, port: int = 443) -> HostKind:
        """Tell a provider's host from its vendor's telemetry and from all the rest."""
        if self.provider_of(host, port):
            return "provider"
        return "other" if self._telemetry.find(host) is None else "telemetry"

    def family(self, provider: str | None) -> str:
        """Return the family of a provider's paths, empty where it is not of the list."""
        known = self._providers.get(provider or "")
        return known.family if known else ""

    def base_url(self, provider: str) -> str:
        """Return where a provider is reached by default, empty where nobody can know."""
        known = self._providers.get(provider)
        return known.base_url if known else ""

    def local_bases(self) -> frozenset[tuple[str, int]]:
        """Return host and port of those providers that are reached on this machine by default."""
        bases = [urlsplit(known.base_url) for known in self._providers.values()]
        found = ((base.hostname or "", base.port or 443) for base in bases)
        return frozenset((host, port) for host, port in found if is_loopback(host))

    def providers(self) -> list[str]:
        """Return the names of the shipped list, sorted."""
        return sorted(self._providers)

    def permitted_dns(self) -> list[str]:
        """Return the smallest set of DNS subtrees that holds every governed name, sorted.

        A CA constrained to them signs for these names and for what is below them (RFC 5280
        §4.2.1.10). Addresses are not in it: see ``permitted_addresses``.
        """
        names = {name for p in self._providers.values() for h in p.hosts for name in self._trees(h)}
        own = (*self._own.names(), *(host for host, _ in self._own_ports))
        names.update(name for name in own if not is_ip_literal(name))
        return sorted(name for name in names if not _above(name, names))

    def permitted_addresses(self) -> list[str]:
        """Return the IP addresses that the user named as providers, sorted."""
        own = (*self._own.names(), *(host for host, _ in self._own_ports))
        return sorted({name for name in own if is_ip_literal(name)})

    def _trees(self, pattern: str) -> list[str]:
        tree = pattern.removeprefix("*.")
        slot = re.search(r"\{(\w+)\}", tree)
        if slot is None:
            return [tree]
        return [tree.replace(slot[0], region) for region in self._regions[slot[1]]]

    def classify(
        self, *, connect: str | None = None, sni: str | None = None, host_header: str | None = None
    ) -> HostDecision:
        """Decide by all that a connection says of where it goes.

        Any of the three may be absent; each may have a port. A provider named by one of them
        governs the connection, an address is compatible with any name, and two that disagree
        are refused.
        """
        try:
            seen = [split_host(raw) if raw else None for raw in (connect, sni, host_header)]
        except BadHost:
            return HostDecision(kind="refused", reason="bad_host")
        said = [pair for pair in seen if pair]
        ports = {port for _, port in said if port is not None}
        if len(ports) > 1 or _disagree([pair[0] if pair else None for pair in seen]):
            return HostDecision(kind="refused", reason="authority_mismatch")
        hosts = dict.fromkeys(host for host, _ in said)
        if not hosts:
            return HostDecision(kind="refused", reason="bad_host")
        port = next(iter(ports), 443)
        provider = next((p for host in hosts if (p := self.provider_of(host, port))), None)
        host = next((host for host in hosts if not is_ip_literal(host)), next(iter(hosts)))
        kind: Literal["governed", "other"] = "governed" if provider else "other"
        return HostDecision(kind=kind, host=host, provider=provider)


def _disagree(hosts: list[str | None]) -> bool:
    """Tell whether CONNECT, SNI and Host can't all mean one place. Only CONNECT may be an IP
    where the others are a name.
    """
    connect, *others = hosts
    rest = {host for host in others if host}
    if connect is None or (is_ip_literal(connect) and not any(map(is_ip_literal, rest))):
        return len(rest) > 1
    return bool(rest - {connect})


def _above(name: str, names: set[str]) -> bool:
    """Tell whether a proper parent of ``name`` is among ``names``."""
    labels = name.split(".")
    return any(".".join(labels[i:]) in names for i in range(1, len(labels)))


def _checked(pattern: str) -> str:
    try:
        star = "*." if pattern.startswith("*.") else ""
        return star + canonical_host(pattern.removeprefix("*."))
    except BadHost as error:
        raise ValueError(f"{pattern!r} is no host or *.suffix: {error}") from error


class _Patterns:
    """Hosts and patterns, most exact first. Looking one up costs its labels, not the list."""

    def __init__(self) -> None:
        self._exact: dict[str, str] = {}
        self._suffixes: dict[str, str] = {}
        self._templates: list[tuple[re.Pattern[str], str]] = []

    def add(self, pattern: str, provider: str) -> None:
        if "{" in pattern:
            self._templates.append((_template(pattern), provider))
        elif pattern.startswith("*."):
            self._suffixes[pattern[2:]] = provider
        else:
            self._exact[pattern] = provider

    def providers(self) -> Iterator[str]:
        yield from self._exact.values()
        yield from self._suffixes.values()

    def names(self) -> Iterator[str]:
        yield from self._exact
        yield from self._suffixes

    def find(self, host: str) -> str | None:
        if host in self._exact:
            return self._exact[host]
        end = host.find(".") + 1
        while end:
            if host[end:] in self._suffixes:
                return self._suffixes[host[end:]]
            end = host.find(".", end) + 1
        return next((p for regex, p in self._templates if regex.fullmatch(host)), None)


def _template(pattern: str) -> re.Pattern[str]:
    star = r"(?:[a-z0-9_-]+\.)+" if pattern.startswith("*.") else ""
    before, _, rest = pattern.removeprefix("*.").partition("{")
    _, _, after = rest.partition("}")
    return re.compile(star + re.escape(before) + _REGION + re.escape(after))


@cache
def default_hosts() -> HostTable:
    """Return the table of the shipped list alone."""
    return HostTable()
