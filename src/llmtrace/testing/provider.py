"""The scripted provider: every model provider at once, on loopback, by its public documentation.

``with ScriptedProvider() as provider:`` serves TLS (HTTP/1.1, HTTP/2, WebSocket) and plain HTTP on
free ports from a thread of its own. Whom a request meant is told by its path alone, so any host
name and any path prefix will do. What it answers is, in this order: the next script that was
queued with ``enqueue``; the directive in the prompt (see ``script``); one fixed short answer.
"""

import argparse
import asyncio
import contextlib
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llmtrace.testing import routes
from llmtrace.testing.background import LOOPBACK, Background, port_of
from llmtrace.testing.http1 import Http1Connection, Stream, close
from llmtrace.testing.http2 import Http2Connection
from llmtrace.testing.script import Script
from llmtrace.testing.serving import Call, Gate, Plan, request_of, spoiled
from llmtrace.testing.tls import SNI_ATTRIBUTE, ThrowawayCa
from llmtrace.testing.wire import Dialect, Reply, Request, compact

_MAX_CALLS: Final = 20_000
_HANDSHAKE_SECONDS: Final = 10


class _Desk:
    """Records calls and plans their answers, in the provider's own thread."""

    def __init__(self, prefix: str) -> None:
        self.gate = Gate()
        self.calls: deque[Call] = deque(maxlen=_MAX_CALLS)
        self.queue: deque[Script] = deque()
        self.changed = threading.Condition()
        self._prefix = prefix
        self._count = 0

    def plan(self, call: Call) -> Plan:
        with self.changed:
            self._count += 1
            call.number = self._count
            self.calls.append(call)
            request = request_of(call, f"{self._prefix}{call.number:06d}")
            plan = self._planned(call, request)
            self.changed.notify_all()
        return plan

    def _planned(self, call: Call, request: Request) -> Plan:
        if call.protocol == "websocket":
            return self._socket(call, request)
        endpoint = routes.find(call.method, request.path)
        if endpoint is None:
            return Plan(call, routes.not_found(request), Script())
        call.dialect, call.scripted = endpoint.dialect.name, endpoint.scripted
        if not endpoint.scripted:
            return Plan(call, endpoint.answer(request, Script()), Script())
        script = self._chosen(endpoint.dialect, request, waiting=True)
        if script.status >= 400:
            reply = routes.failure(endpoint.dialect, script)
        else:
            reply = endpoint.answer(request, script)
        return Plan(call, spoiled(reply, script), script)

    def _socket(self, call: Call, request: Request) -> Plan:
        socket = routes.find_socket(request.path)
        if socket is None:
            return Plan(call, routes.not_found(request), Script())
        call.dialect = socket.dialect.name
        if call.method != "WS":
            return Plan(call, Reply(chunks=tuple(socket.opened(request))), Script())
        body = request.json
        call.scripted = body.get("type") in socket.calls and body.get("generate") is not False
        script = self._chosen(socket.dialect, request, waiting=call.scripted)
        return Plan(call, Reply(chunks=tuple(socket.turn(request, script))), script)

    def _chosen(self, dialect: Dialect, request: Request, *, waiting: bool) -> Script:
        """Return the script of a request. ``waiting``: those in the queue are for such requests."""
        body = request.json
        queued = self._next(dialect.tools(body)) if waiting else Script()
        script = routes.choose(dialect, body, queued)
        return script.quoting(compact(body).decode()) if script.quote else script

    def _next(self, tools: set[str]) -> Script | None:
        """Return the next script that was queued, unless it waits for other tools than these."""
        if not self.queue:
            return None
        script = self.queue[0]
        if script.offered and not tools.issuperset(call.name for call in script.tool_calls):
            return None
        return self.queue.popleft()


class ScriptedProvider(Background):
    """A handle on a provider that runs in its own thread, for synchronous and async code alike.

    ``url`` is its TLS address, ``plain_url`` the one without TLS; ``ca`` vouches for any name.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        plain_port: int = 0,
        ca: ThrowawayCa | None = None,
        alpn: tuple[str, ...] = ("h2", "http/1.1"),
        id_prefix: str = "scripted",
    ) -> None:
        super().__init__()
        self.ca = ca or ThrowawayCa()
        self._ports = [port, plain_port]
        self._alpn = alpn
        self._desk = _Desk(id_prefix)
        self._connections = 0

    # ---- what a test asks and says -------------------------------------------------------

    @property
    def port(self) -> int:
        """The TLS port."""
        return self._ports[0]

    @property
    def plain_port(self) -> int:
        """The port without TLS."""
        return self._ports[1]

    @property
    def url(self) -> str:
        """Where it serves TLS; its certificate is good for this address and any SNI."""
        return f"https://{LOOPBACK}:{self.port}"

    @property
    def plain_url(self) -> str:
        """Where it serves plain HTTP/1.1."""
        return f"http://{LOOPBACK}:{self.plain_port}"

    @property
    def ca_pem(self) -> bytes:
        """The PEM that clients, or a gateway's ``upstream_ca``, are to trust."""
        return self.ca.pem

    def write_ca(self, folder: Path) -> Path:
        """Write the CA's certificate to ``folder`` and return its path."""
        path = folder / "provider-ca.pem"
        path.write_bytes(self.ca_pem)
        return path

    @property
    def calls(self) -> list[Call]:
        """Everything received so far, in order; the oldest go after 20,000."""
        with self._desk.changed:
            return list(self._desk.calls)

    @property
    def model_calls(self) -> list[Call]:
        """The calls that asked a model for something."""
        return [call for call in self.calls if call.scripted]

    def clear(self) -> None:
        """Forget all calls and queued scripts."""
        with self._desk.changed:
            self._desk.calls.clear()
            self._desk.queue.clear()

    def enqueue(self, *scripts: Script) -> None:
        """Answer the next model calls with ``scripts``, one each, whatever their prompts say."""
        with self._desk.changed:
            self._desk.queue.extend(scripts)

    def release(self) -> None:
        """Let every stream that is held go on."""
        self._in_loop(self._desk.gate.open)

    def wait_for(
        self, reached: Callable[[list[Call]], bool], *, seconds: float = 10.0
    ) -> list[Call]:
        """Wait until ``reached`` holds of the calls, and return them.

        Raises:
            TimeoutError: It did not hold in time.
        """
        ends = time.monotonic() + seconds
        while not reached(found := self.calls):
            if time.monotonic() > ends:
                raise TimeoutError(f"the provider waited {seconds} s in vain; {len(found)} calls")
            time.sleep(0.005)
        return found

    # ---- running ------------------------------------------------------------------------

    async def _open(self) -> list[asyncio.Server]:
        context = self.ca.server_context(alpn=self._alpn)
        secure = await self._listen(self._ports[0], context)
        plain = await self._listen(self._ports[1], None)
        self._ports = [port_of(secure), port_of(plain)]
        return [secure, plain]

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> asyncio.Server:
        return await asyncio.start_server(
            self._accept,
            LOOPBACK,
            port,
            ssl=context,
            backlog=1024,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if context else None,
        )

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        self._spawn(self._serve(Stream(reader, writer), self._connections))

    async def _serve(self, stream: Stream, number: int) -> None:
        tls: ssl.SSLObject | None = stream.writer.get_extra_info("ssl_object")
        protocol = tls.selected_alpn_protocol() if tls else None
        sni = str(getattr(tls, SNI_ATTRIBUTE, ""))
        connection = Http2Connection if protocol == "h2" else Http1Connection
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await connection(stream, self._desk, number, sni).run()
        finally:
            await close(stream)


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted: ``python -m llmtrace.testing.provider --port 8443 --ca ca.pem``."""
    parser = argparse.ArgumentParser(prog="scripted-provider", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="TLS port; 0 takes a free one")
    parser.add_argument("--plain-port", type=int, default=0, help="port without TLS")
    parser.add_argument("--ca", type=Path, default=Path("provider-ca.pem"), help="written here")
    options = parser.parse_args(arguments)
    with ScriptedProvider(port=options.port, plain_port=options.plain_port) as provider:
        options.ca.write_bytes(provider.ca_pem)
        sys.stdout.write(f"{provider.url} {provider.plain_url} {options.ca}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
