"""A closed-loop load client: raw HTTP/1.1 over asyncio protocols, exact latencies.

Run in a process of its own; takes one JSON object on standard input, prints one.
"""

import asyncio
import json
import ssl
import sys
import time
from dataclasses import dataclass, field

SENT = b'"sent":'
EVENT = len(SENT) + 19
"""How far an event must be read for the time it was sent to be known."""


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
    stagger: float = 0.0
    """Seconds over which the connections begin, so that they do not call in step."""
    calls: int = 0
    """Stop after this many calls; 0 counts time alone."""


@dataclass
class Result:
    """What was measured. Latencies in milliseconds."""

    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    """Events of each stream."""
    reads: list[int] = field(default_factory=list)
    """Reads of each stream that brought at least one event; fewer than events: some were merged."""
    errors: int = 0
    warm: int = 0
    """Calls made before measuring began."""
    seconds: float = 0.0


def payload(size: int, stream: bool) -> bytes:
    """Return a chat request: one prompt of ``size`` bytes, or an agent's history if it is long."""
    messages = history(size) if size > AGENT_BYTES else [{"role": "user", "content": words(size)}]
    body: dict[str, object] = {
        "model": "gpt-4o-mini",
        "stream": stream,
        "messages": [{"role": "system", "content": "You are a helpful assistant."}, *messages],
    }
    if size > AGENT_BYTES:
        body["tools"] = [tool(number) for number in range(20)]
    return json.dumps(body).encode()


AGENT_BYTES = 50_000
SENTENCE = "The quick brown fox reads the log and reports what it found there. "


def words(size: int) -> str:
    """Return a text of that many characters."""
    return (SENTENCE * (size // len(SENTENCE) + 1))[:size]


def history(size: int) -> list[dict[str, object]]:
    """Return turns of an agent that calls tools and reads files, about ``size`` bytes of them."""
    turn = 1_500
    messages: list[dict[str, object]] = [{"role": "user", "content": words(400)}]
    for number in range(size // (turn + 500)):
        call = {"name": "read_file", "arguments": json.dumps({"path": f"src/file_{number}.py"})}
        identity = f"call_{number:06}"
        messages += [
            {
                "role": "assistant",
                "content": f"I look at file {number}.",
                "tool_calls": [{"id": identity, "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": identity, "content": f"{number}\n{words(turn)}"},
        ]
    return messages


def tool(number: int) -> dict[str, object]:
    """Return the description of a tool as agents send it."""
    text = {"type": "string", "description": words(200)}
    parameters = {"type": "object", "properties": {"path": text, "text": text}}
    about = {"name": f"tool_{number}", "description": words(600), "parameters": parameters}
    return {"type": "function", "function": about}


class Client(asyncio.Protocol):
    """One connection: sends, waits for the end of the answer, sends again."""

    def __init__(self, plan: Plan, request: bytes, result: Result) -> None:
        self.plan, self.request, self.result = plan, request, result
        self.closed = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] | None = None
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.below: asyncio.StreamWriter | None = None
        """What the tunnel was opened with; let go, it would close the tunnel."""

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
        self.seen = self.reads = 0
        self.transport.write(self.request)  # type: ignore[union-attr]
        await self.done
        end = time.perf_counter()
        self.result.latencies.append((end - self.began) * 1000)
        if self.plan.stream:
            self.result.first_bytes.append((self.first - self.began) * 1000)
            self.result.chunks.append(self.seen)
            self.result.reads.append(self.reads)

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
        """Note each event of a stream: when it came, and after how long on its way."""
        now, wall = time.perf_counter(), time.time_ns()
        self.buffer += data
        before, at = self.seen, self.buffer.find(SENT)
        while 0 <= at <= len(self.buffer) - EVENT:
            self.seen += 1
            sent = int(self.buffer[at + len(SENT) : at + EVENT])
            self.result.delays.append((wall - sent) / 1e6)
            del self.buffer[: at + EVENT]
            at = self.buffer.find(SENT)
        if self.seen > before:
            self.first = self.first or now
            self.reads += 1
        if self.seen and self.buffer.endswith(b"\r\n0\r\n\r\n"):
            self.finish()

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
    client.below = writer
    return client


CONTEXTS: dict[str, ssl.SSLContext] = {}


async def user(
    plan: Plan, request: bytes, result: Result, until: float, left: list[int], number: int
) -> None:
    """Make calls one after another until time or calls run out."""
    await asyncio.sleep(plan.stagger * number / plan.connections)
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
    if client and client.transport:
        client.transport.abort()


async def run(plan: Plan) -> Result:
    """Warm up, measure, and return what was measured."""
    body = payload(plan.body, plan.stream)
    request = (
        f"POST {plan.path} HTTP/1.1\r\nHost: {plan.authority}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer sk-benchmark-000000\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    warm, left = Result(), [10**9]
    if plan.warmup:
        end = time.perf_counter() + plan.warmup
        await asyncio.gather(
            *(user(plan, request, warm, end, left, number) for number in range(plan.connections))
        )
    result, left = Result(warm=len(warm.latencies)), [plan.calls or 10**9]
    began = time.perf_counter()
    until = began + plan.seconds
    await asyncio.gather(
        *(user(plan, request, result, until, left, number) for number in range(plan.connections))
    )
    result.seconds = time.perf_counter() - began
    return result


def main() -> None:
    """Run the plan of standard input."""
    print(json.dumps(vars(asyncio.run(run(Plan(**json.load(sys.stdin)))))))


if __name__ == "__main__":
    main()
