"""Tells which addresses an agent should not reach. Hosts are data: ``hosts.yaml``."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import unquote

from llmtrace.analyzers.actions.tables import table

type Address = IPv4Address | IPv6Address

MAX_URL: Final = 8192
URL: Final = re.compile(r"(?i)\b(?:https?|ftps?|wss?|gopher|tcp|sftp)://[^\s\"'<>`\\]{1,8192}")
PARTS: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*):[\\/]{1,}(?P<authority>[^/?#\\]*)(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?",
    re.IGNORECASE,
)
NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|\d+")
OWN: Final = tuple(
    ip_network(net)
    for net in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Networks of one's own: loopback, private, link-local, multicast."""

NAT64: Final = ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Hosts:
    """``hosts.yaml`` as it is looked up."""

    rules: Mapping[str, str]
    echo_names: tuple[str, ...]
    known: frozenset[Address]
    metadata: frozenset[Address]
    installers: tuple[str, ...]
    work: frozenset[str]
    secret: re.Pattern[str]
    signed: re.Pattern[str]
    key_owners: Mapping[str, tuple[str, ...]]
    """By variable that holds the key of one provider: its domains."""


@cache
def hosts() -> Hosts:
    """Return the shipped lists."""
    data = table("hosts.yaml")
    return Hosts(
        rules={host: rule for rule, names in data["lists"].items() for host in names},
        echo_names=tuple(f".{name}" for name in data["echo_names"]),
        known=frozenset(map(ip_address, data["known_addresses"])),
        metadata=frozenset(map(ip_address, data["metadata_addresses"])),
        installers=tuple(data["installers"]),
        work=frozenset(data["work_hosts"]),
        secret=re.compile("|".join(data["secret_values"])),
        signed=re.compile(data["secret_parameters_signed"]),
        key_owners={name: tuple(names) for name, names in data["key_owners"].items()},
    )


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an address that rules look at; ``host`` without port, lower-case."""

    scheme: str
    user: str
    host: str
    path: str
    query: str

    @property
    def local(self) -> bool:
        """Whether it stays on the machine or in its own network."""
        address = to_address(self.host)
        if address is not None:
            return _own(address) and address not in hosts().metadata
        name = self.host.rstrip(".")
        return name in ("", "localhost") or name.endswith((".localhost", ".local"))


def split(text: str) -> Url | None:
    """Read an address as lenient clients do: ``\\`` is ``/``, a missing scheme is http."""
    text = text.strip().strip("'\"")[:MAX_URL]
    found = PARTS.match(text) or PARTS.match(f"http://{text}")
    if found is None:
        return None
    user, _, rest = found["authority"].rpartition("@")
    host = unquote(rest).lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    # as a resolver takes it: full-width letters and dots are plain ones
    host = unicodedata.normalize("NFKC", host).replace("\u3002", ".").rstrip(".")
    return Url(found["scheme"].lower(), user, host, found["path"].lower(), found["query"] or "")


def to_address(host: str) -> Address | None:
    """Return the address that a host is, in any spelling of ``inet_aton`` (hex, octal, short)."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return _aton(host)
    return _inner(address)


def _inner(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one, if there is one."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _aton(host: str) -> Address | None:
    pieces = host.split(".")
    if not 1 <= len(pieces) <= 4 or not all(map(NUMBER.fullmatch, pieces)) or len(host) > 64:
        return None
    try:
        numbers = [_number(piece) for piece in pieces]
    except ValueError:
        return None
    *front, last = numbers
    if any(n > 255 for n in front) or last >= 256 ** (5 - len(numbers)):
        return None
    value = last + sum(n << (24 - 8 * i) for i, n in enumerate(front))
    return IPv4Address(value)


def _number(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text, 8) if text.startswith("0") and text != "0" else int(text)


def _own(address: Address) -> bool:
    return any(address.version == net.version and address in net for net in OWN)


def rules_of(text: str) -> Iterator[str]:
    """Go through the rules that hold for an address."""
    url = split(text)
    if url is None or not url.host:
        return
    yield from _of_host(url)
    if "." in url.user.partition(":")[0] and not url.local:
        yield "url.userinfo"
    if url.query and _carries_secret(url.query) and not url.local:
        yield "url.secret_in_query"


def _of_host(url: Url) -> Iterator[str]:
    lists = hosts()
    address, spelled = to_address(url.host), _spelled_oddly(url.host)
    if address is None and url.host.endswith(lists.echo_names):
        address = _echoed(url.host)
        spelled = address is not None
    if address is None:
        if rule := listed(url.host, url.path):
            yield rule
    elif address in lists.metadata:
        yield "url.metadata"
    elif spelled:
        yield "url.encoded_ip"
    elif not _own(address) and address not in lists.known:
        yield "url.raw_ip"


def _spelled_oddly(host: str) -> bool:
    """Whether a host is an IPv4 address, but not as people write one."""
    return ":" not in host and not re.fullmatch(
        r"(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})", host
    )


def _echoed(host: str) -> Address | None:
    found = re.search(r"(?:^|[.-])(\d{1,3}(?:[.-]\d{1,3}){3})\.\w+\.\w+$", host)
    return to_address(found[1].replace("-", ".")) if found else None


def listed(host: str, path: str = "") -> str:
    """Return the rule of the list that a host is on, empty if it is on none."""
    rules = hosts().rules
    for name in suffixes(host):
        if rule := rules.get(name):
            return rule if name == host or "." in name or name == "onion" else ""
    return rules.get(host + "/".join(path.split("/")[:3]), "")


def suffixes(host: str) -> Iterator[str]:
    """Go through a host and the domains that it is below: ``a.b.example``, ``b.example``, …"""
    labels = host.split(".")[-8:]
    for index in range(len(labels)):
        yield ".".join(labels[index:])


def is_installer(text: str) -> bool:
    """Whether an address is where a well-known tool is installed from, over TLS."""
    url = split(text)
    if url is None or url.scheme != "https" or url.user or ".." in url.path:
        return False
    place = url.host + (url.path or "/")
    return any(
        place.startswith(known) if "/" in known else url.host == known
        for known in hosts().installers
    )


def is_work_host(text: str) -> bool:
    """Whether an address is of a service that software is made with."""
    url = split(text)
    return url is not None and any(name in hosts().work for name in suffixes(url.host))


def is_drop(text: str) -> bool:
    """Whether what is sent to an address is given away: raw addresses and drop sites."""
    return any(rule != "url.secret_in_query" for rule in rules_of(text))


def _carries_secret(query: str) -> bool:
    lists = hosts()
    for field in query.split("&")[:256]:
        name, _, value = field.partition("=")
        if not lists.signed.match(name) and lists.secret.search(unquote(value or name)):
            return True
    return False


def urls_in(text: str) -> Iterator[tuple[str, int, int]]:
    """Go through the addresses in a prose, each with where it stands."""
    for found in URL.finditer(text):
        url = found[0].rstrip(".,;:!?)]}")
        yield url, found.start(), found.start() + len(url)
