"""IP addresses: every spelling that a resolver takes for one, and which ones are off limits."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

type Address = IPv4Address | IPv6Address

_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_MAX_TEXT: Final = 512  # leading zeros may be many
_IPV4_WIDTHS: Final = {1: (32,), 2: (8, 24), 3: (8, 8, 16), 4: (8, 8, 8, 8)}
"""Bits of each part of an IPv4 address, by how many parts it is written in (inet_aton(3))."""


def parse_address(text: str) -> Address | None:
    """Read an IP literal in any spelling that ``inet_aton`` or ``inet_pton`` accepts.

    ``127.1``, ``2130706433``, ``0x7f.1`` and ``0177.0.0.1`` are all 127.0.0.1. An IPv6 address
    may stand in brackets; one with a zone (``%eth0``) is no literal here.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" in text:
        try:
            return IPv6Address(text) if "%" not in text else None
        except ValueError:
            return None
    return _parse_ipv4(text)


def is_ip_literal(host: str) -> bool:
    """Tell whether a resolver would take ``host`` for an address and ask no name server."""
    return parse_address(host) is not None


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is an address of this machine alone, in any spelling."""
    address = parse_address(host)
    return address is not None and address.is_loopback


def _parse_ipv4(text: str) -> IPv4Address | None:
    parts = text.split(".") if len(text) <= _MAX_TEXT else []
    widths = _IPV4_WIDTHS.get(len(parts))
    if widths is None:
        return None
    value = 0
    for part, width in zip(parts, widths, strict=True):
        number = _number(part)
        if number is None or number >> width:
            return None
        value = (value << width) | number
    return IPv4Address(value)


def _number(part: str) -> int | None:
    if not part.isascii() or not _NUMBER.fullmatch(part):
        return None
    if part[:2] in {"0x", "0X"}:
        return int(part[2:], 16)
    try:
        return int(part, 8 if len(part) > 1 and part[0] == "0" else 10)
    except ValueError:  # 08 and 09 are no octal numbers
        return None


@dataclass(frozen=True, slots=True)
class _Range:
    network: IPv4Network | IPv6Network
    reason: str


def _ranges(table: dict[str, tuple[str, ...]]) -> tuple[_Range, ...]:
    return tuple(
        _Range(IPv6Network(text) if ":" in text else IPv4Network(text), reason)
        for reason, texts in table.items()
        for text in texts
    )


FORBIDDEN_RANGES: Final = _ranges(
    {
        "unspecified": ("0.0.0.0/8", "::/128"),
        "loopback": ("127.0.0.0/8", "::1/128"),
        "metadata": (
            "169.254.169.254/32",
            "169.254.170.2/32",  # ECS task credentials
            "169.254.170.23/32",  # EKS pod identity
            "168.63.129.16/32",  # Azure's host agent
            "100.100.100.200/32",  # Alibaba
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/32",
            "fd20:ce::254/128",  # Google
        ),
        "link_local": ("169.254.0.0/16", "fe80::/10"),
        "cgnat": ("100.64.0.0/10",),
        "private": (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
            "fec0::/10",
            "64:ff9b:1::/48",  # NAT64 of local use, RFC 8215
        ),
        "multicast": ("224.0.0.0/4", "ff00::/8"),
        "broadcast": ("255.255.255.255/32",),
        "documentation": (
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "2001:db8::/32",
            "3fff::/20",
        ),
        "reserved": ("192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "100::/64", "2001:2::/48"),
    }
)
"""Where no call may go, most telling reason first (IANA special-purpose registries, RFC 6890)."""

_LOW_32: Final = 0xFFFF_FFFF
EMBEDDING: Final = (
    # prefix of an IPv6 address that carries an IPv4 address, its name, where it stands (bits
    # to shift right), and the mask to exclusive-or it with
    (IPv6Network("::ffff:0:0/96"), "ipv4_mapped", 0, 0),
    (IPv6Network("::ffff:0:0:0/96"), "ipv4_translated", 0, 0),
    (IPv6Network("64:ff9b::/96"), "nat64", 0, 0),
    (IPv6Network("2002::/16"), "6to4", 80, 0),
    (IPv6Network("2001::/32"), "teredo", 0, _LOW_32),
    (IPv6Network("2001::/32"), "teredo", 64, 0),
    (IPv6Network("::/96"), "ipv4_compatible", 0, 0),
)


def forbidden_address(address: str | Address) -> str | None:
    """Say why a call must not go to ``address``, or return None where it may.

    The reason is a word of ``FORBIDDEN_RANGES``; where IPv6 carries an IPv4 address it is that
    one's, after the kind of carrier: ``6to4:metadata``.

    Raises:
        ValueError: ``address`` is a text that is no IP address.
    """
    ip = ip_address(address) if isinstance(address, str) else address
    for known in FORBIDDEN_RANGES:
        if ip.version == known.network.version and ip in known.network:
            return known.reason
    return _forbidden_ipv6(ip) if isinstance(ip, IPv6Address) else None


def _forbidden_ipv6(ip: IPv6Address) -> str | None:
    carried = False
    for network, kind, shift, mask in EMBEDDING:
        if ip in network:
            carried = True
            inner = forbidden_address(IPv4Address(((int(ip) >> shift) & _LOW_32) ^ mask))
            if inner:
                return f"{kind}:{inner}"
    return None if carried or ip in _GLOBAL_UNICAST else "reserved"


_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")

FORBIDDEN_NAMES: Final = {
    "localhost": "loopback",
    "localhost.localdomain": "loopback",
    "localhost6": "loopback",
    "ip6-localhost": "loopback",
    "ip6-loopback": "loopback",
    "metadata": "metadata",
    "instance-data": "metadata",
    "metadata.google.internal": "metadata",
    "metadata.goog": "metadata",
    "instance-data.ec2.internal": "metadata",
    "host.docker.internal": "private",
    "gateway.docker.internal": "private",
    "kubernetes.default.svc": "private",
}
FORBIDDEN_SUFFIXES: Final = {".localhost": "loopback", ".cluster.local": "private"}


def forbidden_host(host: str) -> str | None:
    """Say why a canonical host must not be called, without asking a name server.

    Names that resolve to a forbidden address are told by ``forbidden_address`` once resolved.
    """
    address = parse_address(host)
    if address is not None:
        return forbidden_address(address)
    if host in FORBIDDEN_NAMES:
        return FORBIDDEN_NAMES[host]
    return next((why for end, why in FORBIDDEN_SUFFIXES.items() if host.endswith(end)), None)
