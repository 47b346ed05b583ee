"""Opens connections to providers: resolves once, checks what came, connects to just that."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from llmtrace.addons.connections import Streams
from llmtrace.addons.limits import Count, discard

type Refuses = Callable[[str, int, str], str | None]
"""Says why a host and port must not be reached at an IP address, or None where it may."""
type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host, best first. Raises OSError where there is none."""

NAME_UNRESOLVED = "name_unresolved"
DESTINATION_FORBIDDEN = "destination_forbidden"
"""What the errors begin with that say why nothing was connected to."""

MOST_ADDRESSES = 8
"""Addresses of one name that are tried."""


class DestinationForbidden(OSError):
    """The name leads to an address where no call may go."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Dialer:
    """Connects to checked addresses alone.

    The address that is checked is the one that is connected to, so a name that resolves
    differently a moment later gains nothing. One forbidden address forbids the name: a name
    that is public and private at once is an attack or a mistake.
    """

    def __init__(
        self, *, refuses: Refuses, resolve: Resolve = resolve, count: Count = discard
    ) -> None:
        self._refuses = refuses
        self._resolve = resolve
        self._count = count

    async def __call__(self, host: str, port: int) -> Streams:
        """Return the streams of a new connection.

        Raises:
            DestinationForbidden: An address of the host must not be called.
            OSError: The host is unknown, or none of its addresses accepts.
        """
        addresses = await self._addresses(host, port)
        for address in addresses:
            if reason := self._refuses(host, port, address):
                self._count(DESTINATION_FORBIDDEN)
                raise DestinationForbidden(
                    f"{DESTINATION_FORBIDDEN}: {host}:{port} leads to a {reason} address; name "
                    "the host in intercept.hosts or upstreams if you mean it"
                )
        error = OSError(f"{NAME_UNRESOLVED}: {host} has no address")
        for address in addresses:
            try:
                return await asyncio.open_connection(address, port)
            except OSError as failed:
                error = OSError(failed.errno, f"cannot connect to {host}:{port}: {failed.strerror}")
        raise error

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return (await self._resolve(host, port))[:MOST_ADDRESSES]
        except socket.gaierror as error:
            raise OSError(f"{NAME_UNRESOLVED}: {host}: {error.strerror}") from error
