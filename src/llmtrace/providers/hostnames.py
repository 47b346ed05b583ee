"""One spelling for each host: what names are compared by."""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from llmtrace.providers.addresses import Address, parse_address

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_HOST: Final = 253


class BadHost(ValueError):
    """A host that no client of good faith writes: it is refused, not guessed at."""


@lru_cache(maxsize=1024)  # a few hosts get nearly all calls
def split_host(raw: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port`` or ``[v6]:port``, and canonicalise the host.

    Names become lower-case ASCII (IDNA 2003, as resolvers do) without their one trailing dot;
    an IP literal, however spelled, takes its usual form, IPv6 without brackets.

    Raises:
        BadHost: Userinfo, percent-encoding, control characters, empty labels, a bad port, or
            a name that ends in a number and is no address.
    """
    if not raw or len(raw) > 2 * _MAX_HOST:
        raise BadHost(f"host has {len(raw)} characters, expected 1 to {_MAX_HOST}")
    name, port = _split_port(raw)
    address = parse_address(name)
    if address is not None:
        return _spelled(address), port
    if name.startswith("["):
        raise BadHost("host in brackets is not an IPv6 address")
    return _canonical_name(name), port


def canonical_host(raw: str) -> str:
    """Return the canonical form of a host, without its port; see ``split_host``.

    Raises:
        BadHost: As ``split_host``.
    """
    return split_host(raw)[0]


def _split_port(raw: str) -> tuple[str, int | None]:
    if raw.startswith("["):
        name, bracket, rest = raw.partition("]")
        name += bracket
    elif raw.count(":") > 1:
        name, rest = raw, ""
    else:
        name, colon, rest = raw.partition(":")
        rest = colon + rest
    if rest in {"", ":"}:
        return name, None
    digits = rest[1:]
    if rest[0] != ":" or not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
        raise BadHost("port of host is not a number")
    if not 0 < int(digits) < 65536:
        raise BadHost("port of host is not within 1 to 65535")
    return name, int(digits)


def _spelled(address: Address) -> str:
    """Write an address; Python 3.12 writes a mapped one in hexadecimal, 3.13 with dots."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if mapped is None else f"::ffff:{mapped}"


def _canonical_name(raw: str) -> str:
    name = _to_ascii(raw).lower()
    if name.endswith("."):
        name = name[:-1]
    if len(name) > _MAX_HOST:
        raise BadHost(f"host has {len(name)} characters, expected at most {_MAX_HOST}")
    address = parse_address(name)
    if address is not None:
        return _spelled(address)
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise BadHost("host has a label that is empty, too long, or not of letters and digits")
    if _NUMERIC.fullmatch(labels[-1]):
        raise BadHost("host ends in a number but is not an IP address")
    return name


def _to_ascii(name: str) -> str:
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise BadHost("host is not a valid internationalised name") from error
