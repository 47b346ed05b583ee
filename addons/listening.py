"""Accepts client connections: shared ports, inherited sockets, and how many at once."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from llmtrace.addons.limits import Count, Limits, discard

logger = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections the kernel holds for one socket until they are accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """An address to accept on and what is spoken there.

    ``mode`` is a mitmproxy mode without its ``@address``: ``regular``,
    ``reverse:https://llmtrace.invalid`` or ``upstream:http://proxy:3128``. Port 0 takes a free
    one. With ``fd`` the socket is inherited (from a supervisor or systemd) and listens already
    or is bound; ``host`` and ``port`` are then only what messages say.
    """

    mode: str
    host: str = "127.0.0.1"
    port: int = 0
    fd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where a listener really is."""

    mode: str
    host: str
    port: int


type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]
"""Serves one connection, to its end, in the mode that it is given."""


def inherit(fd: int) -> socket.socket:
    """Wrap an inherited TCP socket.

    asyncio sets TCP_NODELAY only on sockets that say IPPROTO_TCP. Without it Nagle's algorithm
    and delayed acknowledgements add 44 ms to each small answer.
    """
    found = socket.socket(fileno=fd)
    family = found.family
    found.detach()
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=fd)


def _bind_one(
    family: socket.AddressFamily, address: tuple[object, ...], *, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def bind(listen: Listen, *, reuse_port: bool) -> list[socket.socket]:
    """Return the bound sockets of an address: one, or one per IP version.

    Raises:
        OSError: The address cannot be bound; the message names it and says what to do.
    """
    if listen.fd is not None:
        return [inherit(listen.fd)]
    socks: list[socket.socket] = []
    port = listen.port
    try:
        infos = socket.getaddrinfo(
            listen.host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in dict.fromkeys(infos):
            where = (address[0], port, *address[2:])
            socks.append(_bind_one(family, where, reuse_port=reuse_port))
            port = socks[-1].getsockname()[1]
    except OSError as error:
        for sock in socks:
            sock.close()
        raise OSError(
            error.errno,
            f"cannot listen on {listen.host or '*'}:{listen.port} ({error.strerror}); "
            "stop what holds the address, or choose another in the configuration",
        ) from error
    return socks


class Caps:
    """Counts open connections, in all and by client address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many are open."""
        return self._open.total()

    def admit(self, ip: str) -> str | None:
        """Count a connection in, or name the limit that it would exceed."""
        if self._open.total() >= self._limits.connections_total:
            return "connections_total"
        if self._open[ip] >= self._limits.connections_per_ip:
            return "connections_per_ip"
        self._open[ip] += 1
        return None

    def release(self, ip: str) -> None:
        """Count a connection out that ``admit`` let in."""
        self._open[ip] -= 1
        if self._open[ip] <= 0:
            del self._open[ip]


class Listeners:
    """The accepting side of a gateway: starts, says where it is, stops accepting.

    ``serve`` is awaited once per admitted connection. What it raises is logged without the
    connection's data, and ends that connection alone.
    """

    def __init__(
        self,
        *,
        listens: Sequence[Listen],
        serve: Serve,
        limits: Limits | None = None,
        count: Count = discard,
        reuse_port: bool = False,
    ) -> None:
        self._listens = tuple(listens)
        self._serve = serve
        self._count = count
        self._reuse_port = reuse_port
        self._caps = Caps(limits or Limits())
        self._servers: list[asyncio.Server] = []
        self._bound: tuple[Bound, ...] = ()

    @property
    def bound(self) -> tuple[Bound, ...]:
        """Where it accepts, in the order of its listens; empty before ``start``."""
        return self._bound

    @property
    def accepting(self) -> bool:
        """Whether new connections are accepted."""
        return bool(self._servers)

    async def start(self) -> None:
        """Bind all addresses, then accept.

        Raises:
            OSError: An address cannot be bound. Nothing is left bound then.
        """
        pairs: list[tuple[Listen, socket.socket]] = []
        try:
            for listen in self._listens:
                pairs += [(listen, s) for s in bind(listen, reuse_port=self._reuse_port)]
        except OSError:
            for _, sock in pairs:
                sock.close()
            raise
        for listen, sock in pairs:
            on_stream = partial(self._on_stream, listen.mode)
            self._servers.append(await asyncio.start_server(on_stream, sock=sock, backlog=BACKLOG))
        self._bound = tuple(
            Bound(mode=listen.mode, host=name[0], port=name[1])
            for listen, sock in pairs
            for name in [sock.getsockname()]
        )

    def close(self) -> None:
        """Stop accepting. Connections that are open stay open."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _on_stream(
        self, mode: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")
        if not peer:  # gone before it was accepted
            writer.transport.abort()
            return
        if limit := self._caps.admit(peer[0]):
            self._count(limit)
            writer.transport.abort()
            return
        try:
            await self._serve(reader, writer, mode)
        except Exception:  # what one connection does must not end the others
            logger.exception("a connection on %s ended with an error", mode.partition(":")[0])
            writer.transport.abort()
        finally:
            self._caps.release(peer[0])
