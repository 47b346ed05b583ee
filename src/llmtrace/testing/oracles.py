"""Upstreams that judge what reaches them, by two HTTP/1.1 parsers; and raw clients.

A request that a gateway lets through must mean the same to both, and the same as its trace says.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

import h11
import wsproto.events as ws
from wsproto import ConnectionType, WSConnection
from wsproto.extensions import PerMessageDeflate

from llmtrace.addons.connections import Streams
from llmtrace.testing.dataplane import read_all
from llmtrace.testing.inprocess import Worker

ANSWER: Final = b"{}"
_SECONDS: Final = 10


class Understood(NamedTuple):
    """One request as a server understood it; ``body`` is without its transfer coding."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Return all values of a header, by lower-case name."""
        return [value for key, value in self.headers if key.lower() == name]


class StrictOracle:
    """Reads by h11. What it cannot read, or what is left over, is among ``errors``."""

    def __init__(self) -> None:
        self.seen: list[Understood] = []
        self.errors: list[str] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1] if self._server else 0}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["StrictOracle"]:
        """Serve on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conn = h11.Connection(h11.SERVER)
        try:
            while await self._one(conn, reader, writer):
                conn.start_next_cycle()
        except (h11.RemoteProtocolError, ConnectionError) as error:
            self.errors.append(type(error).__name__)
        finally:
            writer.close()

    async def _one(
        self, conn: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request, body = None, b""
        while not isinstance(event := conn.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                conn.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:  # the connection ended, or waits for an upgrade
                return False
        assert request is not None  # noqa: S101  # h11 gives no end before its request
        fields = request.headers.raw_items()
        self.seen.append(
            Understood(
                request.method.decode(),
                request.target.decode("latin-1"),
                tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in fields),
                body,
            )
        )
        head = h11.Response(status_code=200, headers=[("content-length", str(len(ANSWER)))])
        for piece in (head, h11.Data(data=ANSWER), h11.EndOfMessage()):
            writer.write(conn.send(piece) or b"")
        await writer.drain()
        return conn.our_state is h11.DONE and conn.their_state is h11.DONE


class LenientOracle:
    """Reads by Python's ``http.server``, in threads."""

    def __init__(self) -> None:
        self.seen: list[Understood] = []
        self.errors: list[str] = []
        oracle = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _SECONDS

            def _any(self) -> None:
                oracle.seen.append(
                    Understood(self.command, self.path, tuple(self.headers.items()), self._body())
                )
                self.send_response(200)
                self.send_header("Content-Length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline().partition(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, format: str, *args: object) -> None:
                pass

            def send_error(self, code: int, *args: object, **kwargs: object) -> None:
                oracle.errors.append(str(code))
                self.close_connection = True

        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            setattr(Handler, f"do_{method}", Handler._any)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator["LenientOracle"]:
        """Serve in the background."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


async def connect(port: int, target: str = "") -> tuple[bytes, Streams]:
    """Connect to a gateway, and CONNECT to ``target`` if there is one; return the answer's head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b""
    if target:
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        async with asyncio.timeout(_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    return head, (reader, writer)


async def tunnel(worker: Worker, host: str, *alpn: str, sni: str = "", port: int = 443) -> Streams:
    """CONNECT through a worker and finish TLS inside, whatever name the certificate is for."""
    _, (reader, writer) = await connect(worker.forward, f"{host}:{port}")
    context = worker.client_context()
    context.check_hostname = False
    context.set_alpn_protocols(alpn or ("http/1.1",))
    await writer.start_tls(context, server_hostname=sni or host)
    return reader, writer


async def ask(worker: Worker, host: str, data: bytes, *, seconds: float = 5.0) -> bytes:
    """Send bytes in a new tunnel, and return all that comes back until it ends."""
    reader, writer = await tunnel(worker, host)
    writer.write(data)
    try:
        async with asyncio.timeout(seconds):
            return await read_all(reader)
    finally:
        writer.transport.abort()


def post(path: str, body: bytes, *headers: bytes, host: str = "api.openai.com") -> bytes:
    """Write a request that ends its connection."""
    lines = [b"POST %s HTTP/1.1" % path.encode(), b"Host: %s" % host.encode(), *headers]
    lines += [b"Content-Length: %d" % len(body), b"Connection: close", b"", body]
    return b"\r\n".join(lines)


class Socket:
    """A WebSocket client over the gateway that can be told to break the rules."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.conn = WSConnection(ConnectionType.CLIENT)
        self.code = 0
        """With what the connection was closed."""

    @classmethod
    async def open(
        cls,
        worker: Worker,
        path: str = "/v1/responses",
        *,
        deflate: bool = False,
        host: str = "api.openai.com",
    ) -> "Socket":
        """Ask for the upgrade."""
        socket = cls(*await tunnel(worker, host))
        extensions = [PerMessageDeflate()] if deflate else []
        request = ws.Request(host=host, target=path, extensions=extensions)
        socket.writer.write(socket.conn.send(request))
        return socket

    def send(self, text: str, **options: Any) -> None:
        """Send a text message, or with ``message_finished=False`` a piece of one."""
        self.writer.write(self.conn.send(ws.TextMessage(data=text, **options)))

    async def event(self) -> ws.Event | None:
        """Return the next event, None at the connection's end."""
        async with asyncio.timeout(5):
            while True:
                for event in self.conn.events():
                    return event
                data = await self.reader.read(65536)
                self.conn.receive_data(data or None)
                if not data:
                    return next(iter(self.conn.events()), None)

    async def accepted(self) -> "Socket":
        """Wait for the upgrade."""
        event = await self.event()
        if not isinstance(event, ws.AcceptConnection):
            raise ConnectionError(f"no upgrade but {type(event).__name__}")
        return self

    async def message(self) -> dict[str, Any] | None:
        """Return the next JSON message, None where the connection closes instead."""
        text = ""
        while not isinstance(event := await self.event(), ws.CloseConnection):
            if event is None:
                return None
            if isinstance(event, ws.TextMessage):
                text += event.data
                if event.message_finished:
                    return dict(json.loads(text))
        self.code = event.code
        return None

    async def until(self, kind: str) -> dict[str, Any] | None:
        """Return the next message of this type, None where the connection closes instead."""
        while (message := await self.message()) is not None:
            if message.get("type") == kind:
                return message
        return None

    def abort(self) -> None:
        """Leave without a word."""
        self.writer.transport.abort()
