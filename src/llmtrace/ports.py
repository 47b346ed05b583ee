"""Addresses that a gateway keeps for its workers."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """An address that is ours. ``fd`` is set where it can only be shared by inheritance."""

    host: str
    port: int
    fd: int | None = None


class Ports:
    """Keeps addresses for the workers: nobody else's, and the same for all of them.

    Workers bind the same port with SO_REUSEPORT; where there is none, they inherit the socket.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._sockets: list[socket.socket] = []
        try:
            self.reserved = tuple(self._reserve(host, port) for host, port in addresses)
        except OSError:
            self.close()
            raise

    def _reserve(self, host: str, port: int) -> Reserved:
        try:
            family, _, _, _, where = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            probe = _bound(family, where, shared=False)
            name = probe.getsockname()
            if not hasattr(socket, "SO_REUSEPORT"):
                self._sockets.append(probe)
                return Reserved(host=host, port=name[1], fd=probe.fileno())
            probe.close()
            self._sockets.append(_bound(family, name, shared=True))
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot listen on {host or '*'}:{port} ({error.strerror}); another gateway may "
                "be running: stop it, or choose another address in the configuration",
            ) from error
        return Reserved(host=host, port=name[1])

    def close(self) -> None:
        """Give the addresses back."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


def _bound(family: int, where: tuple[object, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        if shared:
            # Linux lets sockets with SO_REUSEADDR share an address while none listens, which
            # would let a second gateway start: from here on only SO_REUSEPORT may join.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        sock.close()
        raise
    return sock
