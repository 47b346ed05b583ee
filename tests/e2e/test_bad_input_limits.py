"""Every bound, met through a whole worker: its answer, its counter, and nothing at the provider."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import brotli  # type: ignore[import-untyped]  # no stubs exist
import pytest
import zstandard

from llmtrace.domain.traces import Outcome
from llmtrace.testing.dataplane import Upstream, read_all
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket, ask, connect, post, tunnel
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

HOST = "api.openai.com"
PATH = "/v1/chat/completions"
KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(alpn=("http/1.1",)) as running:
        yield running


def chat(text: str = "hi", **more: object) -> bytes:
    message = {"role": "user", "content": text}
    return json.dumps({"model": "gpt-4o", "messages": [message], **more}).encode()


def coded(coding: str, body: bytes) -> bytes:
    return post(PATH, body, b"Content-Encoding: " + coding.encode())


BOMB = b" " * (65 * MIB)
DEEP = json.loads("[" * 130 + "]" * 130)

REQUESTS: dict[str, tuple[str, bytes, int]] = {
    "head": ("head_bytes", post(PATH, chat(), b"X-A: " + b"a" * 65 * KIB), 431),
    "headers": ("header_count", post(PATH, chat(), *[b"X-A: b"] * 200), 431),
    "half-a-head": ("head_seconds", post(PATH, chat())[:20], 408),
    "half-a-body": ("body_seconds", post(PATH, chat())[:-5], 408),
    "body": ("body_bytes", post(PATH, chat("x" * 21 * MIB)), 413),
    "gzip-bomb": ("decoded_bytes", coded("gzip", gzip.compress(BOMB, 9)), 413),
    "deflate-bomb": ("decoded_bytes", coded("deflate", zlib.compress(BOMB, 9)), 413),
    "brotli-bomb": ("decoded_bytes", coded("br", brotli.compress(BOMB, quality=1)), 413),
    "zstd-bomb": ("decoded_bytes", coded("zstd", zstandard.compress(BOMB)), 413),
    "ratio": ("decoded_bytes", coded("gzip", gzip.compress(BOMB[: 2 * MIB], 9)), 413),
    "depth": ("json_depth", post(PATH, chat(n=DEEP)), 400),
    "nodes": ("json_nodes", post(PATH, chat(n=[0] * 1_000_001)), 400),
    "string": ("json_string_length", post(PATH, chat("x" * (16 * MIB + 1))), 400),
    "number": (
        "json_number_length",
        post(PATH, chat(n="@").replace(b'"@"', b"1." + b"1" * 1000)),
        400,
    ),
}
BEFORE_A_CALL = frozenset({"head", "headers", "half-a-head"})
"""What is refused before anything is known that could be recorded."""


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_over_a_bound_is_refused_counted_and_traced(
    provider: ScriptedProvider, tmp_path: Path, name: str
) -> None:
    limit, data, status = REQUESTS[name]
    provider.clear()
    slow = {"limits__head_seconds": 0.3, "limits__body_seconds": 0.3} if "half" in name else {}
    async with running_worker(tmp_path, provider, **slow) as worker:
        answer = await ask(worker, HOST, data, seconds=30)
        assert answer.split(b" ")[1] == str(status).encode()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        assert b"x-should-retry: false" in answer
        assert worker.counters.get("limit_exceeded", limit) == 1
        assert provider.calls == []
        if name in BEFORE_A_CALL:
            assert worker.journal.ended == []
        else:
            trace = await worker.journal.trace()
            assert (trace.outcome, trace.status) == (Outcome.REFUSED, status)


async def test_bytes_sent_ahead_close_the_connection(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    provider.enqueue(Script(hold=True))
    async with running_worker(tmp_path, provider) as worker:
        reader, writer = await tunnel(worker, HOST)
        held = post(PATH, chat(stream=True)).replace(b"Connection: close\r\n", b"")
        writer.write(held)
        await asyncio.to_thread(provider.wait_for, lambda calls: len(calls) == 1)
        writer.write(post(PATH, b"x" * 300 * KIB))
        async with asyncio.timeout(5):
            await read_all(reader)
        provider.release()
        assert worker.counters.get("limit_exceeded", "pipelined_bytes") == 1
        assert len(worker.journal.ended) == len(provider.model_calls) == 1
        writer.transport.abort()


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({"limits__connections": 2}, "connections_total"),
        ({"limits__connections_per_client": 2}, "connections_per_ip"),
    ],
    ids=["in-all", "of-one-client"],
)
async def test_a_connection_too_many_is_closed_and_the_others_go_on(
    provider: ScriptedProvider, tmp_path: Path, settings: dict[str, int], limit: str
) -> None:
    provider.clear()
    async with running_worker(tmp_path, provider, **settings) as worker:
        open_ones = [await tunnel(worker, HOST) for _ in range(2)]
        _, (reader, writer) = await connect(worker.forward)
        async with asyncio.timeout(5):
            assert await read_all(reader) == b""
        assert worker.counters.get("limit_exceeded", limit) == 1
        for reader, one in open_ones:
            one.write(post(PATH, chat()))
            async with asyncio.timeout(5):
                assert (await read_all(reader)).startswith(b"HTTP/1.1 200")
        writer.transport.abort()


async def test_a_websocket_message_over_its_bound_is_1009(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    async with running_worker(
        tmp_path, provider, limits__websocket_message_bytes=64 * KIB
    ) as worker:
        socket = await (await Socket.open(worker)).accepted()
        socket.send(json.dumps({"type": "response.create", "input": "x" * 65 * KIB}))
        assert await socket.message() is None
        assert socket.code == 1009
        assert worker.counters.get("limit_exceeded", "websocket_message_bytes") == 1
        assert [call for call in provider.calls if call.method == "WS"] == []
        socket.abort()


# --- answers -------------------------------------------------------------------------------------


def event(text: str) -> bytes:
    return b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode()


def large_json(size: int) -> list[bytes]:
    head = b'{"choices":[{"message":{"role":"assistant","content":"'
    return [head, *[b"x" * KIB] * (size // KIB), b'"}}]}']


ANSWERS: dict[str, tuple[str, list[bytes], str]] = {
    "event": (
        "frame_bytes",
        [event("a"), event("y" * 100 * KIB), event("b")],
        "text/event-stream",
    ),
    "stream": ("answer_bytes", [event("z" * 10 * KIB)] * 40, "text/event-stream"),
    "document": ("answer_bytes", large_json(400 * KIB), "application/json"),
}


@asynccontextmanager
async def answering(
    provider: ScriptedProvider, folder: Path, chunks: list[bytes], kind: str, mode: str
) -> AsyncIterator[Worker]:
    async def say(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind.encode() + b"\r\n\r\n")
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        writer.close()

    upstream = Upstream(say)
    await upstream.start()
    mirror = {HOST: f"http://127.0.0.1:{upstream.port}"}
    bounds = {"limits__answer_bytes": 256 * KIB, "limits__frame_bytes": 64 * KIB}
    async with running_worker(folder, provider, mode=mode, upstreams=mirror, **bounds) as worker:
        yield worker
    await upstream.stop()


async def _asked(worker: Worker, kind: str) -> bytes:
    stream = kind == "text/event-stream"
    return await ask(worker, HOST, post(PATH, chat(stream=stream)), seconds=60)


@pytest.mark.parametrize(("limit", "chunks", "kind"), ANSWERS.values(), ids=ANSWERS)
async def test_with_observe_an_answer_over_a_bound_passes_and_is_told(
    provider: ScriptedProvider, tmp_path: Path, limit: str, chunks: list[bytes], kind: str
) -> None:
    async with answering(provider, tmp_path, chunks, kind, "observe") as worker:
        answer = await _asked(worker, kind)
        assert answer.endswith(b"".join(chunks))
        trace = await worker.journal.trace()
        assert trace.coverage.unread_bytes > 64 * KIB
        assert worker.counters.get("limit_exceeded", limit) == 1


STOPPED: dict[str, Callable[[bytes], bool]] = {
    "text/event-stream": lambda answer: b"llmtrace_blocked" in answer[-2000:],
    "application/json": lambda answer: answer.startswith(b"HTTP/1.1 400"),
}


@pytest.mark.parametrize(("limit", "chunks", "kind"), ANSWERS.values(), ids=ANSWERS)
async def test_with_enforce_an_answer_over_a_bound_is_stopped(
    provider: ScriptedProvider, tmp_path: Path, limit: str, chunks: list[bytes], kind: str
) -> None:
    async with answering(provider, tmp_path, chunks, kind, "enforce") as worker:
        answer = await _asked(worker, kind)
        assert STOPPED[kind](answer), answer[-300:]
        trace = await worker.journal.trace()
        assert trace.outcome is Outcome.STOPPED
        assert trace.error_code in ("llmtrace_blocked_too_long", "llmtrace_blocked_frame_too_large")
        assert worker.counters.get("limit_exceeded", limit) == 1


@asynccontextmanager
async def answering_sized(
    provider: ScriptedProvider, folder: Path, body: bytes, answer_bytes: int
) -> AsyncIterator[Worker]:
    async def say(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        fields = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields)
        for start in range(0, len(body), KIB):  # what is held is measured at each piece
            writer.write(body[start : start + KIB])
            await writer.drain()
            await asyncio.sleep(0.001)

    upstream = Upstream(say)
    await upstream.start()
    settings = {
        "upstreams": {HOST: f"http://127.0.0.1:{upstream.port}"},
        "limits__answer_bytes": answer_bytes,
    }
    async with running_worker(folder, provider, mode="observe", **settings) as worker:
        yield worker
    await upstream.stop()


async def test_with_observe_a_sized_answer_over_a_small_bound_passes_whole_and_is_told(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    body = b"".join(large_json(45 * KIB))
    async with answering_sized(provider, tmp_path, body, 16 * KIB) as worker:
        answer = await _asked(worker, "application/json")
        assert answer.partition(b"\r\n\r\n")[2] == body
        trace = await worker.journal.trace()
        gaps = {gap.reason for gap in trace.coverage.gaps}
        assert (trace.outcome, "answer_over_limit" in gaps) == (Outcome.OK, True)
        assert worker.counters.get("limit_exceeded", "answer_bytes") == 1


async def test_an_answer_that_was_not_held_is_never_passed_on_as_an_empty_one(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"".join(large_json(45 * KIB))
    async with answering_sized(provider, tmp_path, body, 16 * KIB) as worker:
        gateway = worker.master.addons.get("gateway")
        monkeypatch.setattr(gateway, "_answer_bytes", MIB)
        answer = await _asked(worker, "application/json")
        assert answer.startswith(b"HTTP/1.1 502")
        assert b"limits.answer_bytes" in answer
        trace = await worker.journal.trace()
        assert (trace.outcome, trace.status) == (Outcome.BROKEN, 502)
        assert trace.error_code == "answer_over_limit"
        assert {gap.reason for gap in trace.coverage.gaps} == {"answer_over_limit"}


async def test_a_provider_that_falls_silent_is_504(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    provider.enqueue(Script(misbehave="silent"))
    async with running_worker(tmp_path, provider, limits__upstream_idle_seconds=1) as worker:
        assert (await ask(worker, HOST, post(PATH, chat()))).startswith(b"HTTP/1.1 504")
        assert (await worker.journal.trace()).outcome is Outcome.TIMEOUT
