from mitmproxy.connection import Client, Connection
from mitmproxy.proxy.server import ConnectionIO

from llmtrace.addons.outbox import Outbox


class Written:
    """A writer that notes what it is given."""

    def __init__(self, *, closing: bool = False) -> None:
        self.closing = closing
        self.pieces: list[bytes] = []

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


def test_what_one_event_says_leaves_in_one_write_for_each_connection() -> None:
    one, two, closing, gone = (
        Client(peername=("192.0.2.1", n), sockname=("192.0.2.2", 1)) for n in range(4)
    )
    written = {one: Written(), two: Written(), closing: Written(closing=True)}
    transports: dict[Connection, ConnectionIO] = {
        client: ConnectionIO(writer=writer)  # type: ignore[arg-type]  # all of it that is used
        for client, writer in written.items()
    }
    outbox = Outbox(transports)
    for client, data in (
        (one, b"head "),
        (two, b"x"),
        (one, b"body"),
        (closing, b"y"),
        (gone, b""),
    ):
        outbox.put(client, data)
    outbox.flush()
    outbox.flush()
    assert [writer.pieces for writer in written.values()] == [[b"head body"], [b"x"], []]
