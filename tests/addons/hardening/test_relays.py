from mitmproxy.connection import Client, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context

from llmtrace.addons.hardening import Guards
from llmtrace.addons.hardening.relays import CountedTCPLayer


def test_bytes_pass_and_are_counted_by_direction() -> None:
    seen: list[tuple[str, int, int]] = []

    class Counted(CountedTCPLayer):
        guards = Guards(relayed=lambda *said: seen.append(said))

    client = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2))
    context = Context(client, Options())
    context.server = Server(address=("www.example.org", 443))
    layer = Counted(context, ignore=True)
    for connection, data in ((client, b"abc"), (context.server, b"defgh")):
        (sent,) = layer.relay_messages(events.DataReceived(connection, data))
        assert isinstance(sent, commands.SendData)
        assert sent.data == data
    assert seen == [("www.example.org", 3, 0), ("www.example.org", 0, 5)]
