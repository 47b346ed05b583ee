"""A bare data plane and a raw HTTP/1.1 provider on loopback, for tests over real sockets."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events

from llmtrace.addons.connections import Dial, Streams
from llmtrace.addons.hardening import Relayed, unread
from llmtrace.addons.limits import Limits
from llmtrace.addons.listening import Listen
from llmtrace.addons.master import GatewayMaster, MasterOptions, build_master
from llmtrace.addons.tls import GatewayTls

type Script = Callable[[asyncio.StreamWriter, bytes, bytes], Awaitable[None]]

PROVIDER = "api.openai.com"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer_ok(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
    """Answer 200 with two bytes."""
    writer.write(OK)


class Upstream:
    """A provider that reads HTTP/1.1 and answers by a script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        """Accept on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop accepting, and end what is open."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if task := asyncio.current_task():
            self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        finally:
            self.closed.set()
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await self._read_body(reader, head.lower())
                self.requests.append((head, body))
                await self._script(writer, head, body)
                await writer.drain()

    @staticmethod
    async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
        if b"content-length:" in head:
            return await reader.readexactly(
                int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            )
        if b"transfer-encoding: chunked" in head:
            return await reader.readuntil(b"0\r\n\r\n")
        return b""


def _is_governed(name: str) -> bool:
    return name.endswith(("openai.com", "anthropic.com"))


@dataclass
class Gateway:
    """A running master, and how to reach it."""

    master: GatewayMaster
    counts: Counter[str]
    ca_pem: Path
    task: asyncio.Task[None]
    ports: list[int] = field(default_factory=list)
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The first port that it listens on."""
        return self.ports[0]

    async def stop(self) -> None:
        """Shut down at once, clients first."""
        for client in self.clients:
            client.transport.abort()
        self.master.should_exit.set()
        await self.task

    async def connect(self, port: int | None = None) -> Streams:
        """Open a connection to it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        self.clients.append(writer)
        return reader, writer

    async def ask(self, data: bytes, *, port: int | None = None, seconds: float = 5.0) -> bytes:
        """Send bytes on a new connection and return all that comes until it ends."""
        reader, writer = await self.connect(port)
        writer.write(data)
        try:
            async with asyncio.timeout(seconds):
                return await read_all(reader)
        finally:
            writer.close()

    def client_context(self, *alpn: str) -> ssl.SSLContext:
        """Return what a client uses that trusts the gateway's CA."""
        context = ssl.create_default_context(cafile=str(self.ca_pem))
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    async def tunnel(self, target: str = f"{PROVIDER}:443") -> tuple[bytes, Streams]:
        """CONNECT, and return the answer's head and the connection."""
        reader, writer = await self.connect()
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return head, (reader, writer)

    async def tls(self, *alpn: str, host: str = PROVIDER, sni: str = "") -> Streams:
        """CONNECT and finish the TLS handshake inside."""
        _, (reader, writer) = await self.tunnel(f"{host}:443")
        await writer.start_tls(self.client_context(*alpn), server_hostname=sni or host)
        return reader, writer


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends, one way or another."""
    out = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65536):
            out += data
    return out


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Read one HTTP/1.1 answer with Content-Length or chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"content-length:" in lower:
        size = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        return head + await reader.readexactly(size)
    return head + await reader.readuntil(b"0\r\n\r\n")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a bare data plane is made of. Without ``to`` no provider may be called."""

    ca_dir: Path
    ca_pem: Path
    provider_ca: Path
    addons: Sequence[object] = ()
    modes: Sequence[str] = ("regular",)
    limits: Limits = field(default_factory=Limits)
    to: Upstream | None = None
    dial: Dial | None = None
    may_mint: Callable[[str], bool] = _is_governed
    relayed: Relayed = unread


async def start_gateway(setup: Setup) -> Gateway:
    """Start a master on free ports, with every provider connection led to one upstream."""
    counts: Counter[str] = Counter()

    def count(limit: str) -> None:
        counts[limit] += 1

    async def dial(host: str, _port: int) -> Streams:
        if setup.to is None:
            raise OSError(f"{host} was to be called, and no provider may be in this test")
        return await asyncio.open_connection("127.0.0.1", setup.to.port)

    tls = GatewayTls(
        ca_dir=setup.ca_dir, may_mint=setup.may_mint, upstream_ca=[setup.provider_ca], count=count
    )
    options = MasterOptions(
        listens=[Listen(mode=mode) for mode in setup.modes],
        ca_dir=setup.ca_dir,
        limits=setup.limits,
    )
    master = build_master(
        options=options,
        addons=[*setup.addons, tls],
        dial=setup.dial or dial,
        count=count,
        relayed=setup.relayed,
    )
    task = asyncio.create_task(master.run())
    bound = await asyncio.wait_for(master.ready(), 5)
    return Gateway(master, counts, setup.ca_pem, task, [b.port for b in bound])


class H2Client:
    """An HTTP/2 client that says exactly what a test wants, well-behaved or not."""

    def __init__(self, streams: Streams) -> None:
        self.reader, self.writer = streams
        config = h2.config.H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False
        )
        self.conn = h2.connection.H2Connection(config)
        self.conn.initiate_connection()
        self.seen: list[h2.events.Event] = []
        self.flush()

    def flush(self) -> None:
        """Send what the connection has to say."""
        self.writer.write(self.conn.data_to_send())

    def request(
        self, *extra: tuple[str, str], body: bytes | None = None, path: str = "/v1/x"
    ) -> int:
        """Send a request, whole if it has a body or none (None); return its stream."""
        stream_id = self.conn.get_next_available_stream_id()
        head = [
            (":method", "GET" if body is None else "POST"),
            (":scheme", "https"),
            (":path", path),
            (":authority", PROVIDER),
        ]
        self.conn.send_headers(stream_id, [*head, *extra], end_stream=body is None)
        if body is not None:
            self.conn.send_data(stream_id, body, end_stream=True)
        self.flush()
        return stream_id

    async def until[E: h2.events.Event](self, wanted: type[E], seconds: float = 5.0) -> E | None:
        """Read until such an event, or until the connection ends (None)."""
        async with asyncio.timeout(seconds):
            while True:
                for index, event in enumerate(self.seen):
                    if isinstance(event, wanted):
                        return self.seen.pop(index)  # type: ignore[return-value]  # just checked
                data = await self.reader.read(65536)
                if not data:
                    return None
                self.seen += self.conn.receive_data(data)
                self.flush()

    async def answer(self, stream_id: int) -> tuple[int, bytes]:
        """Read one stream's answer: its status and body."""
        status, body = 0, b""
        while True:
            event = await self.until(h2.events.Event)
            if event is None or getattr(event, "stream_id", None) != stream_id:
                if event is None:
                    return status, body
                continue
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers or [])[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                body += event.data or b""
                self.conn.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                return status, body
