"""What is to be written to the connections of one client."""

from collections.abc import MutableMapping

from mitmproxy.connection import Connection
from mitmproxy.proxy.server import ConnectionIO


class Outbox:
    """What is to be written to the connections of one client when an event has been handled.

    A head and its body, or the chunks of an answer, leave in one write: each is a system call,
    and wakes up who reads it. It never holds more than what one event has to say.
    """

    def __init__(self, transports: MutableMapping[Connection, ConnectionIO]) -> None:
        self._transports = transports
        self._data: dict[Connection, list[bytes]] = {}

    def put(self, connection: Connection, data: bytes) -> None:
        """Add bytes for a connection; none for one that is closed."""
        if connection in self._transports:
            self._data.setdefault(connection, []).append(data)

    def flush(self) -> None:
        """Write all of it."""
        if not self._data:
            return
        data, self._data = self._data, {}
        for connection, pieces in data.items():
            io = self._transports.get(connection)
            if io and io.writer and not io.writer.is_closing():
                io.writer.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
