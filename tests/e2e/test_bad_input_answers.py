"""Answers of broken and hostile providers, and answers that are fine: what comes out at the client.

An answer that can be carried is carried byte for byte; what was not read of it, the trace tells.
"""

import asyncio
import gzip
import json
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.traces import Outcome, Record
from llmtrace.domain.usage import UsageSource
from llmtrace.testing.dataplane import Script as UpstreamScript
from llmtrace.testing.dataplane import Upstream, read_all
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.misbehaving import BOMB_SIZE, MODES, bomb
from llmtrace.testing.oracles import ask, post, tunnel
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import USAGE_LIES, Script

HOST = "api.openai.com"
PATH = "/v1/chat/completions"
OURS = b"x-llmtrace-trace-id"
HANGING = frozenset({"no_end", "silent", "silent_after_headers"})


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(alpn=("http/1.1",)) as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, limits__upstream_idle_seconds=1) as running:
        yield running


def chat(text: str = "hi", **more: object) -> bytes:
    message = {"role": "user", "content": text}
    return json.dumps({"model": "gpt-4o", "messages": [message], **more}).encode()


def split(answer: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, the headers and what follows them."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    headers = [(k, v.strip()) for k, _, v in (field.partition(b":") for field in fields)]
    return int(line.split(b" ")[1]), headers, body


def accounted(record: Record, delivered: int) -> bool:
    """Whether what was delivered is what was read, or gaps tell of the rest."""
    coverage = record.trace.coverage
    return coverage.answer_bytes >= delivered or coverage.unread_bytes > 0


@pytest.mark.parametrize(
    ("mode", "stream"),
    [
        (mode, stream)
        for mode in sorted(MODES - {"gzip_bomb", "huge_line"})
        for stream in ([True] if mode in HANGING else [False, True])
    ],
)
async def test_every_misbehaviour_leaves_one_trace_and_a_gateway_that_works(
    worker: Worker, mode: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    worker.provider.enqueue(Script(misbehave=mode, chunks=6))
    answer = await ask(worker, HOST, post(PATH, chat(stream=stream)))
    (trace,) = await worker.journal.traces(1)
    assert trace.outcome is not Outcome.PENDING
    if mode in HANGING:
        assert trace.outcome is Outcome.TIMEOUT
    if answer:
        status, headers, body = split(answer)
        names = [name.lower() for name, _ in headers]
        assert names.count(OURS) == 1, answer[:300]
        assert b"alt-svc" not in names
        assert dict(headers).get(b"X-LLMTrace-Trace-ID", b"").decode() in ("", trace.trace_id)
        assert status != 200 or accounted(worker.journal.ended[0], len(body) > 5)
    assert (await ask(worker, HOST, post(PATH, chat()))).startswith(b"HTTP/1.1 200")
    assert len(await worker.journal.traces(2)) == 2
    assert "crashed" not in caplog.text


@pytest.mark.parametrize("lie", sorted(USAGE_LIES))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_lie_about_usage_costs_nothing_absurd(
    worker: Worker, lie: str, stream: bool
) -> None:
    worker.provider.enqueue(Script(usage=lie))
    await ask(
        worker, HOST, post(PATH, chat(stream=stream, stream_options={"include_usage": stream}))
    )
    (trace,) = await worker.journal.traces(1)
    counts = (trace.usage.input_tokens, trace.usage.output_tokens)
    assert all(0 <= count < 10_000_000 for count in counts), counts
    assert trace.usage_source in (UsageSource.PROVIDER, UsageSource.ESTIMATED)
    assert 0 <= (trace.cost_nano_usd or 0) < 10**12


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_stream_says_what_the_whole_answer_says(worker: Worker, stream: bool) -> None:
    worker.provider.enqueue(Script(text="one two three", reasoning="because", chunks=7))
    await ask(
        worker, HOST, post(PATH, chat(stream=stream, stream_options={"include_usage": stream}))
    )
    (record,) = worker.journal.ended
    assert record.texts.answer == "one two three"
    assert (record.trace.usage.input_tokens, record.trace.usage.output_tokens) == (12, 9)
    assert record.trace.stop_reason == "stop"


async def test_a_line_without_end_passes_in_bounded_memory(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    block = b"x" * (1 << 18)

    async def endless(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ")
        for _ in range(400):
            writer.write(block)
            await writer.drain()
        writer.close()

    async with _serving(endless, provider, tmp_path) as (worker, _):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = await _sink(worker, post(PATH, chat(stream=True)))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert size > 100 << 20
    (record,) = worker.journal.ended
    assert record.trace.coverage.unread_bytes > 90 << 20
    assert grown < 120, f"{grown:.0f} MiB more"


async def _sink(worker: Worker, request: bytes) -> int:
    """Send a request and count the bytes of its answer, keeping none."""
    reader, writer = await tunnel(worker, HOST)
    writer.write(request)
    size = 0
    async with asyncio.timeout(30):
        while data := await reader.read(1 << 20):
            size += len(data)
    writer.transport.abort()
    return size


async def test_a_bomb_passes_packed_and_is_not_unpacked(worker: Worker) -> None:
    bomb(BOMB_SIZE)  # so that the provider does not fall silent over it
    worker.provider.enqueue(Script(misbehave="gzip_bomb"))
    _, _, body = split(await ask(worker, HOST, post(PATH, chat())))
    assert len(gzip.decompress(body)) == 200 << 20
    (record,) = worker.journal.ended
    assert record.trace.coverage.unread_bytes
    assert record.answer is None or len(record.answer.content) <= 32 << 20


# --- byte for byte -------------------------------------------------------------------------------

BODY = (
    b'{"usage":{"completion_tokens":1,"prompt_tokens":2},  "zeta":1.0e-7,\n"choices":'
    b'[{"finish_reason":"stop","message":{"content":"\\u00e9 caf\xc3\xa9","role":"assistant"}}]}'
)
ODD = b"HTTP/1.1 200 Fine Indeed\r\nX-Odd-CASE: a\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"
CHUNKED = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
ANSWERS = {
    "odd-json": ODD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "chunked": ODD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "gzip": ODD
    + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(BODY, mtime=0))
    + gzip.compress(BODY, mtime=0),
    "no-content": b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    "not-modified": b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: https://evil.test/\r\nContent-Length: 0\r\n\r\n",
    "until-closed": ODD + b"Connection: close\r\n\r\n" + BODY,
    "empty": ODD + b"Content-Length: 0\r\n\r\n",
    "no-reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}",
    "latin-1-header": b"HTTP/1.1 200 OK\r\nX-A: caf\xe9\r\nContent-Length: 2\r\n\r\n{}",
}


@asynccontextmanager
async def _serving(
    script: UpstreamScript, provider: ScriptedProvider, folder: Path
) -> AsyncIterator[tuple[Worker, Upstream]]:
    upstream = Upstream(script)
    await upstream.start()
    url = f"http://127.0.0.1:{upstream.port}"
    async with running_worker(folder, provider, upstreams={HOST: url}) as worker:
        yield worker, upstream
    await upstream.stop()


def saying(answer: bytes) -> UpstreamScript:
    """Return what gives this answer, and closes where nothing else says that it ends."""

    async def script(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(answer)
        if b"Content-Length" not in answer and b"chunked" not in answer:
            await writer.drain()
            writer.close()

    return script


async def _direct(upstream: Upstream, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(request)
    writer.write_eof()
    try:
        async with asyncio.timeout(5):
            return await read_all(reader)
    finally:
        writer.close()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_comes_out_as_it_went_in(
    provider: ScriptedProvider, tmp_path: Path, answer: bytes
) -> None:
    async with _serving(saying(answer), provider, tmp_path) as (worker, upstream):
        request = post(PATH, chat())
        direct, through = await _direct(upstream, request), await ask(worker, HOST, request)
    d_status, d_headers, d_body = split(direct)
    t_status, t_headers, t_body = split(through)
    assert direct.split(b"\r\n")[0] == through.split(b"\r\n")[0]
    assert d_status == t_status
    assert d_headers == [field for field in t_headers if field[0].lower() != OURS]
    if b"chunked" in answer:
        d_body, t_body = _unchunked(d_body), _unchunked(t_body)
    assert d_body == t_body
    assert len(worker.journal.ended) == 1


def _unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


METHODS = {
    "head": b"HEAD /v1/models HTTP/1.1\r\nHost: %s\r\n",
    "get": b"GET /v1/models?limit=2&after=a%%20b HTTP/1.1\r\nhOST: %s\r\naccept: */*\r\n",
    "options": b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nOrigin: null\r\n",
    "delete": b"DELETE /v1/files/file-1 HTTP/1.1\r\nHost: %s\r\n",
    "post": b"POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nX-A: 1\r\nx-a:   2\r\n"
    b"User-Agent: Odd/1 (x; y)\r\nContent-Length: 43\r\nACCEPT-encoding: br;q=0.5, zstd\r\n",
}


@pytest.mark.parametrize("head", METHODS.values(), ids=METHODS)
async def test_a_request_arrives_as_it_was_sent(
    provider: ScriptedProvider, tmp_path: Path, head: bytes
) -> None:
    length = b"2" if b"HEAD" in head else b"2\r\n\r\n{}"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length
    answer += b"\r\n\r\n" if b"HEAD" in head else b""
    body = b'{"messages": [{"role":"user"}], "a" : 1  }\n' if b"POST" in head else b""
    async with _serving(saying(answer), provider, tmp_path) as (worker, upstream):
        sent = head % HOST.encode() + b"Connection: close\r\n\r\n" + body
        through = await ask(worker, HOST, sent)
        ((got_head, got_body),) = upstream.requests
    assert through.startswith(b"HTTP/1.1 200 OK")
    expected = sent.removesuffix(body).replace(HOST.encode(), f"127.0.0.1:{upstream.port}".encode())
    assert _fields(got_head) == _fields(expected)
    assert got_body == body
    assert len(worker.journal.ended) == 1


def _fields(head: bytes) -> list[bytes | tuple[bytes, bytes]]:
    line, *fields = head.rstrip().split(b"\r\n")
    return [line, *((k, v.strip()) for k, _, v in (field.partition(b":") for field in fields))]


async def test_a_comment_with_text_in_a_stream_passes(worker: Worker) -> None:
    worker.provider.enqueue(Script(misbehave="comment_secret", chunks=4))
    answer = await ask(worker, HOST, post(PATH, chat(stream=True)))
    (record,) = worker.journal.ended
    kept: Any = record.answer
    assert b": AKIA" in answer
    assert b": AKIA" in kept.content  # it is on record, and told as unread
    assert record.trace.coverage.unread_bytes > 0
