"""What all sections share, and the kinds of value that more than one uses."""

import ipaddress
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict


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
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:8642")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host or not host:
        raise ValueError(
            f"{text!r} is not host:port; write an IPv6 address in brackets, [::1]:8642"
        )
    return Address(host, int(port))


def _canonical_address(text: str) -> str:
    return str(parse_address(text))


type ListenAddress = Annotated[str, AfterValidator(_canonical_address)]
"""``host:port``, as text."""


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


type Network = Annotated[str, AfterValidator(_network)]
"""An address range in CIDR form, as text."""
