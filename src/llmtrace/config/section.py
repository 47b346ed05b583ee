"""What all sections share, and the kinds of value that more than one uses."""

import ipaddress
import re
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict

MAX_PORT: Final = 65_535
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_ALL: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  an address is read, not bound
_NAMES: Final = {"localhost": "127.0.0.1"}


class Section(BaseModel):
    """A closed, frozen section. Its field docstrings are the documentation of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Address(NamedTuple):
    """A host and a port to listen on; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``host:port`` or ``[ipv6]:port``.

    Raises:
        ValueError: It is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:8642")
    if host.startswith("[") and host.endswith("]"):
        return Address(_ipv6(host[1:-1], text), int(port))
    if not host:
        raise ValueError(f"{text!r} names no host; write 127.0.0.1{text}, or 0.0.0.0{text} for all")
    if not _HOST.fullmatch(host):
        hint = "write an IPv6 address in brackets, [::1]:8642"
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:8642; {hint}")
    return Address(host, int(port))


def _ipv6(host: str, text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f"{text!r} has no IPv6 address in its brackets") from None


def clash(one: str, other: str) -> bool:
    """Whether two listen addresses cannot be had at once; port 0 never clashes."""
    a, b = parse_address(one), parse_address(other)
    if a.port != b.port or a.port == 0:
        return False
    hosts = {_NAMES.get(a.host.lower(), a.host), _NAMES.get(b.host.lower(), b.host)}
    return len(hosts) == 1 or bool(hosts & _ALL)


def _canonical_address(text: str) -> str:
    return str(parse_address(text))


type ListenAddress = Annotated[str, AfterValidator(_canonical_address)]
"""``host:port``, as text."""


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


type Network = Annotated[str, AfterValidator(_network)]
"""An address range in CIDR form, as text."""


def is_url(text: str, *, plain: bool = False) -> bool:
    """Whether a text is an HTTP URL; ``plain`` allows no user name. It may hold a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:  # its message quotes the text
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, text)):
        return False
    bare = not (parts.query or parts.fragment)
    return bare and not (plain and (parts.username is not None or parts.password is not None))


def place_of(url: str) -> tuple[str, int | str]:
    """Return which server a Redis URL means: host and port, or the path of a socket.

    One that is no URL means itself.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
    except ValueError:  # its message quotes the text
        return "", url
    return ("", parts.path) if parts.scheme == "unix" else (_NAMES.get(host, host), port)
