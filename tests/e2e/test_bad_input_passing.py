"""What passes unread while it comes: nothing of it is held, and a trace tells of what is a call."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import h2.events
import pytest
import wsproto.events as ws

from llmtrace.addons.connections import Streams
from llmtrace.domain.traces import Outcome
from llmtrace.testing.dataplane import H2Client, Upstream, answer_ok, read_all, read_answer
from llmtrace.testing.dataplane import Script as UpstreamScript
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket, ask, post, tunnel
from llmtrace.testing.provider import ScriptedProvider

HOST = "api.openai.com"
OTHER = "downloads.example.org"
MIB = 1 << 20
HELD_AT_MOST = 16 * MIB


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider) as running:
        yield running


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@asynccontextmanager
async def everybody(worker: Worker, script: UpstreamScript) -> AsyncIterator[Upstream]:
    """Lead every connection to one upstream, as a resolver would."""
    upstream = Upstream(script)
    await upstream.start()

    async def dial(_host: str, _port: int) -> Streams:
        return await asyncio.open_connection("127.0.0.1", upstream.port)

    worker.master._dial = dial
    yield upstream
    await upstream.stop()


def plain(method: str, size: int = 0) -> bytes:
    lines = [f"{method} http://{OTHER}/x HTTP/1.1", f"Host: {OTHER}", f"Content-Length: {size}"]
    return "\r\n".join([*lines, "X-LLMTrace-Agent-ID: a", "Connection: close", "", ""]).encode()


async def test_a_download_from_somebody_else_is_neither_held_nor_recorded(worker: Worker) -> None:
    async def large(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * MIB))
        for _ in range(200):
            writer.write(bytes(MIB))
            await writer.drain()

    async with everybody(worker, large) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.forward)
        writer.write(plain("GET"))
        size, before, most = 0, resident(), 0
        async with asyncio.timeout(60):
            while data := await reader.read(65536):
                size += len(data)
                most = max(most, resident() - before)
        writer.close()
        assert size > 200 * MIB
        assert most < HELD_AT_MOST, f"{most / MIB:.0f} MiB more"
        assert b"llmtrace" not in upstream.requests[0][0].lower()
    assert (worker.journal.begun, worker.journal.ended) == ([], [])
    assert worker.counters.get("unread_requests") == 1


async def test_an_upload_to_somebody_else_may_be_of_any_size(worker: Worker) -> None:
    async with everybody(worker, answer_ok) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.forward)
        writer.write(plain("PUT", 30 * MIB) + bytes(30 * MIB))
        async with asyncio.timeout(30):
            assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
        ((_, body),) = upstream.requests
        assert len(body) == 30 * MIB
        writer.close()


async def test_somebody_who_never_reads_costs_no_memory(worker: Worker) -> None:
    sent = 0

    async def large(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _ in range(200):
            writer.write(b": %s\n\n" % (b"x" * MIB))
            await writer.drain()
            sent += MIB

    async with everybody(worker, large):
        reader, writer = await tunnel(worker, HOST)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a read transport
        before = resident()
        writer.write(post("/v1/responses", b'{"model":"gpt-4o","input":"hi","stream":true}'))
        for _ in range(100):
            await asyncio.sleep(0.01)
            assert resident() - before < 2 * HELD_AT_MOST
        assert sent < 2 * HELD_AT_MOST
        writer.transport.abort()
        assert (await worker.journal.trace()).outcome is Outcome.CLIENT_LEFT
        assert reader is not None


# --- files of models -----------------------------------------------------------------------------

FILE = b"GGUF" + bytes(range(256)) * (84 * 1024)
DIGEST = hashlib.sha256(FILE).hexdigest()
BLOB = f"/api/blobs/sha256:{DIGEST}"


def chunked(path: str, body: bytes, host: str) -> bytes:
    """Write a request as Ollama's own clients do."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    head += "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunks = [body[start : start + MIB] for start in range(0, len(body), MIB)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head.encode() + coded + b"0\r\n\r\n"


def sized(path: str, body: bytes, host: str) -> bytes:
    return post(path, body, b"Content-Type: application/json", host=host)


WRITERS: dict[str, Callable[[str, bytes, str], bytes]] = {"chunked": chunked, "sized": sized}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
async def test_a_file_of_a_model_passes_and_its_trace_says_that_nobody_read_it(
    worker: Worker, write: Callable[[str, bytes, str], bytes]
) -> None:
    answer = await ask(worker, "ollama.com", write(BLOB, FILE, "ollama.com"), seconds=30)
    assert answer.startswith(b"HTTP/1.1 ")
    assert b" 413 " not in answer.split(b"\r\n")[0]
    (call,) = worker.provider.calls
    assert hashlib.sha256(call.body).hexdigest() == DIGEST
    trace = await worker.journal.trace()
    assert trace.operation == "models"
    assert trace.coverage.unread_bytes >= len(FILE)
    assert worker.journal.ended[0].request is None


@pytest.mark.parametrize(
    ("host", "path"),
    [
        pytest.param("ollama.com", "/api/chat", id="chat"),
        pytest.param("ollama.com", "/api/chat?" + BLOB, id="query"),
        pytest.param("ollama.com", BLOB.removesuffix(DIGEST) + "x", id="no-digest"),
        pytest.param("api.openai.com", BLOB, id="no-ollama"),
    ],
)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
async def test_nothing_else_passes_as_a_file_of_a_model(
    worker: Worker, host: str, path: str, write: Callable[[str, bytes, str], bytes]
) -> None:
    prompt = json.dumps({"model": "m", "prompt": "x" * (21 * MIB)}).encode()
    answer = await ask(worker, host, write(path, prompt, host), seconds=30)
    assert answer.startswith(b"HTTP/1.1 413")
    assert worker.provider.calls == []


async def test_a_file_that_the_journal_cannot_take_reaches_nobody(worker: Worker) -> None:
    worker.journal.broken = True
    answer = await ask(worker, "ollama.com", chunked(BLOB, FILE, "ollama.com"), seconds=30)
    assert answer.split(b" ")[1] in (b"413", b"503")
    assert worker.provider.calls == []


# --- answers without a body ----------------------------------------------------------------------


async def head_over_http2(worker: Worker, path: str) -> int:
    """Ask for a head as curl does, which leaves as soon as it is there; return its status."""
    client = H2Client(await tunnel(worker, HOST, "h2"))
    stream_id = client.conn.get_next_available_stream_id()
    fields = {":method": "HEAD", ":scheme": "https", ":path": path, ":authority": HOST}
    client.conn.send_headers(stream_id, [*fields.items()], end_stream=True)
    client.flush()
    response = await client.until(h2.events.ResponseReceived)
    assert response is not None
    client.writer.transport.abort()
    return int(dict(response.headers or [])[b":status"])


@pytest.mark.parametrize("mode", ["observe", "enforce"])
@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 140\r\nContent-Type: application/json\r\n",
        b"Content-Type: text/event-stream\r\n",
        b"Content-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: 9\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n",
    ],
    ids=["sized", "stream", "coded", "chunked"],
)
async def test_a_head_over_http2_ends_as_it_should(
    provider: ScriptedProvider, tmp_path: Path, mode: str, fields: bytes
) -> None:
    async def only_head(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")

    upstream = Upstream(only_head)
    await upstream.start()
    mirror = {HOST: f"http://127.0.0.1:{upstream.port}"}
    async with running_worker(tmp_path, provider, mode=mode, upstreams=mirror) as worker:
        assert await head_over_http2(worker, "/v1/models") == 200
        trace = await worker.journal.trace()
        assert (trace.outcome, trace.coverage.unread_bytes) == (Outcome.OK, 0)
    await upstream.stop()


async def test_a_head_that_comes_over_http2_is_passed_on_with_its_end(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a provider ends it in a second frame, a client has left by then."""
    monkeypatch.setattr("llmtrace.addons.gateway.HOLD_SIZED_UP_TO", 0)
    assert await head_over_http2(worker, "/v1/models") == 404  # nobody serves it
    trace = await worker.journal.trace()
    assert (trace.outcome, trace.status) == (Outcome.PROVIDER_ERROR, 404)


@pytest.mark.parametrize("mode", ["observe", "enforce"])
@pytest.mark.parametrize(
    ("method", "status", "body"),
    [
        pytest.param("HEAD", b"200 OK", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", id="head"),
        pytest.param("GET", b"204 No Content", b"HTTP/1.1 200 OK\r\n\r\n", id="no-content"),
        pytest.param("GET", b"304 Not Modified", b'{"x":1}', id="not-modified"),
    ],
)
async def test_what_a_provider_adds_to_an_answer_without_a_body_is_in_no_other_answer(
    provider: ScriptedProvider, tmp_path: Path, mode: str, method: str, status: bytes, body: bytes
) -> None:
    async def lie(writer: asyncio.StreamWriter, head: bytes, _body: bytes) -> None:
        said = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        if b"/second" in head:
            writer.write(b"HTTP/1.1 200 OK\r\n" + said % 4 + b'"ok"')
        else:
            writer.write(b"HTTP/1.1 %s\r\n" % status + said % len(body) + body)

    upstream = Upstream(lie)
    await upstream.start()
    mirror = {HOST: f"http://127.0.0.1:{upstream.port}"}
    async with running_worker(tmp_path, provider, mode=mode, upstreams=mirror) as worker:
        reader, writer = await tunnel(worker, HOST)
        writer.write(f"{method} /v1/models HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        async with asyncio.timeout(5):
            first = await reader.readuntil(b"\r\n\r\n")
        writer.write(f"GET /second HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        async with asyncio.timeout(5):
            second = await read_answer(reader)
        assert first.startswith(b"HTTP/1.1 " + status)
        assert second.startswith(b"HTTP/1.1 ")
        assert second.endswith((b'"ok"', b"}"))  # its own answer, or that there is none
        assert len(await worker.journal.traces(2)) == 2
        writer.transport.abort()
    await upstream.stop()


async def test_a_refusal_of_a_head_has_no_body(worker: Worker) -> None:
    worker.journal.broken = True
    data = f"HEAD /v1/models HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    answer = await ask(worker, HOST, data.encode())
    assert answer.startswith(b"HTTP/1.1 503")
    assert answer.endswith(b"\r\n\r\n")


# --- other protocols -----------------------------------------------------------------------------


@pytest.mark.parametrize("offer", ["h2c", "tcp", "websocket, tcp", "TLS/1.3"])
async def test_an_offer_of_another_protocol_is_not_passed_on(worker: Worker, offer: str) -> None:
    body = b'{"model":"gpt-4o","messages":[]}'
    fields = (b"Upgrade: " + offer.encode(), b"X-A: b")
    request = post("/v1/chat/completions", body, *fields)
    request = request.replace(b"Connection: close", b"Connection: Upgrade, close")
    assert (await ask(worker, HOST, request)).startswith(b"HTTP/1.1 200")
    (call,) = worker.provider.calls
    assert "upgrade" not in {name.lower() for name, _ in call.headers}


@pytest.mark.parametrize("asked", [False, True], ids=["unasked", "asked-for-websocket"])
async def test_a_provider_that_speaks_another_protocol_is_cut_off(
    provider: ScriptedProvider, tmp_path: Path, asked: bool
) -> None:
    async def switch(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
        writer.write(b"Upgrade: other\r\n\r\nanything at all")

    upstream = Upstream(switch)
    await upstream.start()
    mirror = {HOST: f"http://127.0.0.1:{upstream.port}"}
    async with running_worker(tmp_path, provider, upstreams=mirror) as worker:
        reader, writer = await tunnel(worker, HOST)
        fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" if asked else b""
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n" + fields + b"\r\n")
        async with asyncio.timeout(5):
            answer = await (read_all(reader) if asked else read_answer(reader))
        assert b"anything" not in answer
        assert asked or answer.startswith(b"HTTP/1.1 502")
        assert (await worker.journal.trace()).outcome is Outcome.BROKEN
        writer.transport.abort()
    await upstream.stop()


LIVE = "generativelanguage.googleapis.com"
LIVE_PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What is hashed with a key (RFC 6455 §1.3)."""


async def greet(writer: asyncio.StreamWriter, head: bytes, _body: bytes) -> None:
    """Accept a WebSocket and say two letters."""
    key = head.lower().partition(b"sec-websocket-key: ")[2].partition(b"\r\n")[0]
    key = head[head.lower().index(key) :][: len(key)]
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET, usedforsecurity=False).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
    writer.write(b"Upgrade: websocket\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    writer.write(b"\x81\x02hi")


@pytest.mark.parametrize("broken", [False, True], ids=["recorded", "journal-broken"])
async def test_a_websocket_of_a_dialect_without_calls_is_told_as_unread(
    provider: ScriptedProvider, tmp_path: Path, broken: bool
) -> None:
    upstream = Upstream(greet)
    await upstream.start()
    mirror = {LIVE: f"http://127.0.0.1:{upstream.port}"}
    async with running_worker(tmp_path, provider, upstreams=mirror) as worker:
        worker.journal.broken = broken
        socket = await Socket.open(worker, LIVE_PATH, host=LIVE)
        event = await socket.event()
        if broken:
            assert isinstance(event, ws.RejectConnection)
            assert (event.status_code, upstream.requests) == (503, [])
        else:
            assert isinstance(event, ws.AcceptConnection)
            socket.send("x" * 1000)
            assert isinstance(await socket.event(), ws.TextMessage)
            socket.abort()
            trace = await worker.journal.trace()
            assert (trace.outcome, trace.status) == (Outcome.OK, 101)
            assert trace.coverage.unread_bytes == 1002
        socket.abort()
    await upstream.stop()
