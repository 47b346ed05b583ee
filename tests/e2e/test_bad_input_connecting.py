"""What a client sends while its destination is being connected: held up, and lost in no part."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from llmtrace.addons.connections import Streams
from llmtrace.testing.dataplane import Upstream, answer_ok, read_answer
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import connect, tunnel
from llmtrace.testing.provider import ScriptedProvider

OTHER, MODELS = "downloads.example.org", "ollama.com"
MIB = 1 << 20
HELD_AT_MOST = 16 * MIB
PIECE, PIECES = bytes(MIB), 24
BLOB = f"/api/blobs/sha256:{hashlib.sha256(PIECE * PIECES).hexdigest()}"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider) as running:
        yield running


def head(method: str, target: str, host: str) -> bytes:
    size = f"Content-Length: {len(PIECE) * PIECES}"
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{size}\r\n\r\n".encode()


async def plain(worker: Worker) -> Streams:
    """Begin an upload to somebody else."""
    streams = await asyncio.open_connection("127.0.0.1", worker.forward)
    streams[1].write(head("PUT", f"http://{OTHER}/x", OTHER))
    return streams


async def blob(worker: Worker) -> Streams:
    """Begin to send the file of a model."""
    streams = await tunnel(worker, MODELS)
    streams[1].write(head("POST", BLOB, MODELS))
    return streams


async def raw(worker: Worker) -> Streams:
    """Begin a tunnel that nobody reads."""
    _, streams = await connect(worker.forward, f"{OTHER}:443")
    return streams


type Begin = Callable[[Worker], Awaitable[Streams]]
BEGIN: dict[str, Begin] = {"plain": plain, "blob": blob, "raw": raw}


async def send_until_held(writer: asyncio.StreamWriter) -> int:
    """Send pieces until no more are taken, and return how many were."""
    for sent in range(PIECES):
        writer.write(PIECE)
        try:
            async with asyncio.timeout(0.5):
                await writer.drain()
        except TimeoutError:
            return sent + 1
    return PIECES


@pytest.mark.parametrize("begin", BEGIN.values(), ids=BEGIN)
async def test_who_sends_waits_until_its_destination_is_connected_and_all_of_it_arrives(
    worker: Worker, begin: Begin
) -> None:
    upstream, may_connect, dial = Upstream(answer_ok), asyncio.Event(), worker.master._dial
    await upstream.start()

    async def late(host: str, port: int) -> Streams:
        await may_connect.wait()
        if host == OTHER:
            return await asyncio.open_connection("127.0.0.1", upstream.port)
        return await dial(host, port)

    worker.master._dial = late
    reader, writer = await begin(worker)
    if begin is raw:
        writer.write(head("PUT", "/x", OTHER))
    sent = await send_until_held(writer)
    assert sent * MIB < HELD_AT_MOST
    may_connect.set()
    async with asyncio.timeout(20):
        for _ in range(PIECES - sent):
            writer.write(PIECE)
            await writer.drain()
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 ")
    arrived = [body for _, body in upstream.requests] + [c.body for c in worker.provider.calls]
    assert [len(body) for body in arrived] == [PIECES * MIB]
    writer.transport.abort()
    await upstream.stop()


async def test_who_sends_waits_while_the_destination_does_not_finish_tls(worker: Worker) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    worker.master._dial = lambda _host, _port: asyncio.open_connection("127.0.0.1", port)
    _, writer = await blob(worker)
    assert await send_until_held(writer) * MIB < HELD_AT_MOST
    writer.transport.abort()
    server.close()


async def test_over_http2_an_upload_waits_and_goes_on(worker: Worker) -> None:
    dial, may_connect, sent = worker.master._dial, asyncio.Event(), itertools.count()

    async def late(host: str, port: int) -> Streams:
        await may_connect.wait()
        return await dial(host, port)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            next(sent)
            yield PIECE

    worker.master._dial = late
    context = worker.client_context()
    proxy = f"http://127.0.0.1:{worker.forward}"
    async with httpx2.AsyncClient(
        http2=True, proxy=proxy, verify=context, trust_env=False, timeout=20
    ) as http:
        asked = asyncio.create_task(http.post(f"https://{MODELS}{BLOB}", content=body()))
        await asyncio.sleep(1)
        assert next(sent) * MIB < HELD_AT_MOST
        may_connect.set()
        assert (await asked).http_version == "HTTP/2"
    (call,) = worker.provider.calls
    assert len(call.body) == PIECES * MIB
