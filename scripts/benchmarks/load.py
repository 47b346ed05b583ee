"""A closed-loop load client: raw HTTP/1.1 over asyncio protocols, exact latencies.

Run in a process of its own; takes one JSON object on standard input, prints one.
"""

import asyncio
import json
import ssl
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Plan:
    """What to send, where, and for how long. Times in seconds."""

    host: str
    port: int
    path: str
    body: int
    connections: int
    seconds: float
    warmup: float = 0.3
    authority: str = "api.openai.com"
    connect: str = ""
    """``host:port`` to CONNECT to, empty for none."""
    ca: str = ""
    """PEM that the server must verify with; empty for plain HTTP."""
    fresh: bool = False
    """Whether each call makes its own connection."""
    stream: bool = False
    calls: int = 0
    """Stop after this many calls; 0 counts time alone."""


@dataclass
class Result:
    """What was measured. Latencies in milliseconds."""

    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0


def payload(size: int, stream: bool) -> bytes:
    """Return a chat request whose prompt has about ``size`` bytes."""
    words = "The quick brown fox reads the log and reports what it found there. "
    text = (words * (size // len(words) + 1))[:size]
    return json.dumps(
        {
            "model": "gpt-4o-mini",
            "stream": stream,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": text},
            ],
        }
    ).encode()


class Client(asyncio.Protocol):
    """One connection: sends, waits for the end of the answer, sends again."""

    def __init__(self, plan: Plan, request: bytes, result: Result) -> None:
        self.plan, self.request, self.result = plan, request, result
        self.closed = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] | None = None
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done and not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed"))
        if not self.closed.done():
            self.closed.set_result(None)

    async def call(self) -> None:
        """Make one call and note how long it took."""
        self.done = asyncio.get_running_loop().create_future()
        self.buffer.clear()
        self.began = time.perf_counter()
        self.first = 0.0
        self.seen = 0
        self.transport.write(self.request)  # type: ignore[union-attr]
        await self.done
        end = time.perf_counter()
        self.result.latencies.append((end - self.began) * 1000)
        if self.plan.stream:
            self.result.first_bytes.append((self.first - self.began) * 1000)
            self.result.chunks.append(self.seen)

    def data_received(self, data: bytes) -> None:
        if self.plan.stream:
            self.streamed(data)
            return
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        if b" 200 " not in self.buffer[:20]:
            self.fail()
            return
        at = self.buffer.lower().find(b"content-length:", 0, head)
        length = int(self.buffer[at + 15 : self.buffer.find(b"\r", at)])
        if len(self.buffer) >= head + 4 + length:
            self.finish()

    def streamed(self, data: bytes) -> None:
        now, wall = time.perf_counter(), time.time_ns()
        at = data.find(b'"sent":')
        if at >= 0 and not self.first:
            self.first = now
        while at >= 0:
            self.seen += 1
            sent = int(data[at + 7 : at + 26])
            self.result.delays.append((wall - sent) / 1e6)
            at = data.find(b'"sent":', at + 7)
        self.buffer += data[-8:]
        if self.buffer.endswith(b"0\r\n\r\n"):
            self.finish()
        del self.buffer[:-8]

    def finish(self) -> None:
        if self.done and not self.done.done():
            self.done.set_result(None)

    def fail(self) -> None:
        if self.done and not self.done.done():
            self.done.set_exception(ConnectionError("not 200"))


async def connect(plan: Plan, request: bytes, result: Result) -> Client:
    """Open a connection, through CONNECT and TLS where the plan says so."""
    loop = asyncio.get_running_loop()
    context = None
    if plan.ca:
        context = CONTEXTS.setdefault(plan.ca, ssl.create_default_context(cafile=plan.ca))
    if not plan.connect:
        name = plan.authority if context else None
        _, client = await loop.create_connection(
            lambda: Client(plan, request, result),
            plan.host,
            plan.port,
            ssl=context,
            server_hostname=name,
        )
        return client
    reader, writer = await asyncio.open_connection(plan.host, plan.port)
    writer.write(f"CONNECT {plan.connect} HTTP/1.1\r\nHost: {plan.connect}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head:
        raise ConnectionError("CONNECT was refused")
    client = Client(plan, request, result)
    transport = await loop.start_tls(
        writer.transport, client, context, server_hostname=plan.connect.partition(":")[0]
    )
    client.connection_made(transport)
    return client


CONTEXTS: dict[str, ssl.SSLContext] = {}


async def user(plan: Plan, request: bytes, result: Result, until: float, left: list[int]) -> None:
    """Make calls one after another until time or calls run out."""
    client: Client | None = None
    while time.perf_counter() < until and (not plan.calls or left[0] > 0):
        left[0] -= 1
        began = time.perf_counter()
        try:
            if client is None or plan.fresh:
                client = await connect(plan, request, result)
            await asyncio.wait_for(client.call(), 60)
            if plan.fresh:
                result.latencies[-1] = (time.perf_counter() - began) * 1000
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            result.errors += 1
            client = None
            await asyncio.sleep(0.01)
        if plan.fresh and client and client.transport:
            client.transport.abort()


async def run(plan: Plan) -> Result:
    """Warm up, measure, and return what was measured."""
    body = payload(plan.body, plan.stream)
    request = (
        f"POST {plan.path} HTTP/1.1\r\nHost: {plan.authority}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer sk-benchmark-000000\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    if plan.warmup:
        warm, left = Result(), [10**9]
        end = time.perf_counter() + plan.warmup
        await asyncio.gather(
            *(user(plan, request, warm, end, left) for _ in range(plan.connections))
        )
    result, left = Result(), [plan.calls or 10**9]
    began = time.perf_counter()
    until = began + plan.seconds
    await asyncio.gather(
        *(user(plan, request, result, until, left) for _ in range(plan.connections))
    )
    result.seconds = time.perf_counter() - began
    return result


def main() -> None:
    """Run the plan of standard input."""
    print(json.dumps(vars(asyncio.run(run(Plan(**json.load(sys.stdin)))))))


if __name__ == "__main__":
    main()
