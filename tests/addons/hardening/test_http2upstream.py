"""What a provider does not take over HTTP/2 holds up the client that sends it, and nothing else."""

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._events import RequestData, RequestEndOfMessage, RequestHeaders

from llmtrace.addons.hardening import http2upstream
from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.hardening.http2upstream import PacedHttp2Client
from llmtrace.addons.limits import Limits
from llmtrace.addons.pacing import Waits
from llmtrace.addons.uploads import NO_LIMIT, Passing
from llmtrace.testing.dataplane import H2Client
from llmtrace.testing.tls import ThrowawayCa

LIMIT = 300_000


class Provider:
    """A layer towards a provider, and the provider, who opens its windows when a test says so."""

    def __init__(self, streams: int = 100) -> None:
        self.counts: list[str] = []
        guards = Guards(limits=Limits(upstream_unsent_bytes=LIMIT), count=self.counts.append)
        options = Options()
        for name in ("validate_inbound_headers", "normalize_outbound_headers"):
            options.add_option(name, bool, True, "as mitmproxy's proxyserver adds it")
        options.add_option("http2_ping_keepalive", int, 0, "the same")
        context = Context(Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2)), options)
        context.server.address = ("192.0.2.3", 443)
        context.server.state = ConnectionState.OPEN
        self.server = context.server
        self.layer: PacedHttp2Client = type("Ours", (PacedHttp2Client,), {"guards": guards})(
            context
        )
        self.context = context
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.conn.initiate_connection()
        self.conn.update_settings({3: streams})
        self.taken = 0
        self.waits: list[bool] = []
        self.tell(events.Start())
        self.reply()

    def tell(self, event: events.Event) -> None:
        """Have the layer handle an event; the provider reads what it sends."""
        for command in self.layer.handle_event(event):
            if isinstance(command, commands.SendData):
                received = self.conn.receive_data(command.data)
                self.taken += sum(len(getattr(one, "data", None) or b"") for one in received)
            elif isinstance(command, Waits):
                assert command.full
                self.waits.append(command.begins)

    def reply(self) -> None:
        """Let the layer read what the provider has to say."""
        self.tell(events.DataReceived(self.server, self.conn.data_to_send()))

    def begin(self, stream: int) -> None:
        """Begin an upload."""
        head = http.Request.make("POST", "https://files.example/x")
        head.authority, head.http_version = "files.example", "HTTP/2.0"
        del head.headers["content-length"]
        self.tell(RequestHeaders(stream, head, end_stream=False))

    def open(self, stream: int, size: int) -> None:
        """Open the provider's windows by so many bytes."""
        self.conn.increment_flow_control_window(size)
        self.conn.increment_flow_control_window(size, stream)
        self.reply()


@pytest.fixture
def provider() -> Provider:
    return Provider()


def test_what_is_not_taken_holds_the_client_up_until_it_is(provider: Provider) -> None:
    provider.begin(1)
    for _ in range(10):
        provider.tell(RequestData(1, b"x" * 30_000))
    assert provider.waits == []
    for _ in range(5):
        provider.tell(RequestData(1, b"x" * 30_000))
    assert (provider.taken, provider.waits) == (65_535, [True])
    assert provider.counts == ["upstream_unsent_bytes"]
    provider.open(1, 500_000)
    assert (provider.taken, provider.waits) == (450_000, [True, False])


def test_many_short_pieces_are_too_much_as_well(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2upstream, "MOST_PIECES", 50)
    provider.begin(1)
    provider.tell(RequestData(1, b"x" * 65_535))
    for _ in range(51):
        provider.tell(RequestData(1, b"x"))
    assert provider.waits == [True]


def test_streams_that_wait_for_others_to_end_count() -> None:
    provider = Provider(streams=1)
    provider.begin(1)
    provider.begin(3)
    provider.tell(RequestData(3, b"x" * (LIMIT + 1)))
    assert (provider.taken, provider.waits) == (0, [True])


def test_a_connection_that_has_ended_holds_nobody_up(provider: Provider) -> None:
    provider.begin(1)
    provider.tell(RequestData(1, b"x" * (2 * LIMIT)))
    provider.server.state = ConnectionState.CLOSED
    provider.tell(events.ConnectionClosed(provider.server))
    assert provider.waits == [True, False]


def test_what_goes_at_once_holds_nobody_up(provider: Provider) -> None:
    provider.begin(1)
    provider.tell(RequestData(1, b"x" * 60_000))
    provider.tell(RequestEndOfMessage(1))
    assert (provider.taken, provider.waits, provider.counts) == (60_000, [], [])


class Closed:
    """A provider that speaks HTTP/2 and opens its windows when it is told to."""

    def __init__(self) -> None:
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.size = 0
        self.stream = 0
        self.writer: Any = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.conn.initiate_connection()
        self.flush()
        while data := await reader.read(65536):
            for event in self.conn.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.size += len(event.data or b"")
                    self.stream = event.stream_id or 0
                elif isinstance(event, h2.events.StreamEnded):
                    self.conn.send_headers(self.stream, [(":status", "200")], end_stream=True)
            self.flush()

    def open(self, size: int) -> None:
        self.conn.increment_flow_control_window(size)
        self.conn.increment_flow_control_window(size, self.stream)
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.conn.data_to_send())


class Unread:
    """Lets a body of any length pass."""

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        flow.request.stream = Passing(limit=NO_LIMIT)


async def test_a_client_is_read_no_further_than_its_provider_takes(
    gateway: Any, provider_ca: ThrowawayCa
) -> None:
    closed, size = Closed(), 16_000_000
    context = provider_ca.server_context(alpn=["h2"])
    server = await asyncio.start_server(closed.serve, "127.0.0.1", 0, ssl=context)

    async def dial(_host: str, _port: int) -> Any:
        return await asyncio.open_connection(*server.sockets[0].getsockname())

    limits = Limits(upstream_unsent_bytes=LIMIT, body_bytes=2 * size)
    gw = await gateway(addons=[Unread()], dial=dial, limits=limits)
    client = H2Client(await gw.tls("h2"))
    await client.until(h2.events.RemoteSettingsChanged)
    head = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "x")]
    client.conn.send_headers(1, head)
    while size:
        piece = min(size, client.conn.local_flow_control_window(1), 16_384)
        assert piece, "mitmproxy opens its windows wide at once"
        client.conn.send_data(1, bytes(piece), end_stream=piece == size)
        size -= piece
    client.flush()
    unsent = vars(client.writer.transport)["_ssl_protocol"]._transport.get_write_buffer_size
    for _ in range(1_000):
        await asyncio.sleep(0.01)
        if gw.counts["upstream_unsent_bytes"] and closed.size:
            break
    for _ in range(30):
        await asyncio.sleep(0.01)
    assert closed.size == 65_535
    assert unsent() > 1_000_000
    closed.open(16_000_000)
    assert await client.answer(1) == (200, b"")
    assert closed.size == 16_000_000
    server.close()
