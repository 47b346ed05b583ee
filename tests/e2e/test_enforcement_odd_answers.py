"""Odd answers in enforcement: however a provider says it, nothing forbidden reaches the agent."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]  # it ships no stubs
import h2.events
import httpx2
import pytest
import zstandard

from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Outcome
from llmtrace.testing.dataplane import H2Client, Upstream
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import ask, post, tunnel
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
POLICY = {
    "rules": [
        {"name": "secrets", "kinds": ["secret.*"], "verdict": "redact"},
        {"name": "commands", "kinds": ["dangerous_command"], "verdict": "block"},
    ]
}
HOST = "api.openai.com"
PATH = "/v1/chat/completions"
BODY = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
REQUEST = post(PATH, json.dumps(BODY).encode())
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
type Say = Callable[[asyncio.StreamWriter, bytes, bytes], Any]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, mode="enforce", policy=POLICY) as running:
        yield running


@asynccontextmanager
async def served(say: Say, provider: ScriptedProvider, folder: Path) -> AsyncIterator[Worker]:
    """Run a worker whose provider answers by ``say``."""
    upstream = Upstream(say)
    await upstream.start()
    url = f"http://127.0.0.1:{upstream.port}"
    async with running_worker(
        folder, provider, mode="enforce", policy=POLICY, upstreams={HOST: url}
    ) as running:
        yield running
    await upstream.stop()


def saying(*pieces: bytes, head: bytes = HEAD) -> Say:
    async def say(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(head + b"\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    return say


def event(delta: dict[str, Any], *, choice: int = 0, finish: str | None = None) -> bytes:
    choices = [{"index": choice, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "c1", "choices": choices}).encode() + b"\n\n"


def text(words: str, choice: int = 0) -> bytes:
    return event({"content": words}, choice=choice)


def tool(arguments: str, index: int = 0, *, name: str = "", choice: int = 0) -> bytes:
    function: dict[str, str] = {"arguments": arguments, **({"name": name} if name else {})}
    call: dict[str, Any] = {"index": index, "function": function}
    if name:
        call |= {"id": f"call_{index}", "type": "function"}
    return event({"tool_calls": [call]}, choice=choice)


DONE = b"data: [DONE]\n\n"
STOP = event({}, finish="stop") + DONE


def plain(answer: bytes) -> bytes:
    """Return an answer's body, without its transfer coding."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return body
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


def documents(body: bytes) -> list[dict[str, Any]]:
    """Return an answer's documents, whole or of a stream."""
    if body.startswith(b"{"):
        return [json.loads(body)]
    events = [e.partition(b"data: ")[2].replace(b"\ndata: ", b"\n") for e in body.split(b"\n\n")]
    return [json.loads(data) for data in events if data.startswith(b"{")]


def deltas(body: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Return what is said, by choice."""
    choices = [choice for document in documents(body) for choice in document.get("choices", ())]
    return [(c["index"], c.get("delta") or c.get("message") or {}) for c in choices]


def said(body: bytes, choice: int = 0) -> str:
    return "".join(delta.get("content") or "" for where, delta in deltas(body) if where == choice)


def called(body: bytes, index: int = 0) -> str:
    calls = [call for _, delta in deltas(body) for call in delta.get("tool_calls") or ()]
    calls = [call for call in calls if call.get("index", index) == index]
    return "".join(call["function"].get("arguments") or "" for call in calls)


# --- codings and framing ----------------------------------------------------------------------

SECRETIVE = text("The token is ghp_a1B2c3D4e5") + text(SECRET[14:]) + text(" for now.") + STOP
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 7, 10_000], ids=["byte-by-byte", "sevens", "at-once"])
async def test_a_coded_stream_is_judged(
    provider: ScriptedProvider, tmp_path: Path, coding: str, size: int
) -> None:
    packed = CODINGS[coding](SECRETIVE)
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    say = saying(*pieces, head=HEAD + b"Content-Encoding: %s\r\n" % coding.encode())
    async with served(say, provider, tmp_path) as worker:
        answer = await ask(worker, HOST, REQUEST)
        trace = await worker.journal.trace()
    assert b"content-encoding" not in answer.lower()
    assert said(plain(answer)).startswith("The token is [SECRET:")
    assert said(plain(answer)).endswith(" for now.")
    assert plain(answer).endswith(DONE)
    assert (trace.outcome, trace.verdict) == (Outcome.OK, Verdict.REDACT)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "rot13"])
async def test_a_stream_that_cannot_be_decoded_says_so(
    provider: ScriptedProvider, tmp_path: Path, coding: str
) -> None:
    say = saying(SECRETIVE, head=HEAD + b"Content-Encoding: %s\r\n" % coding.encode())
    async with served(say, provider, tmp_path) as worker:
        answer = await ask(worker, HOST, REQUEST)
        trace = await worker.journal.trace()
    assert b"ghp_" not in answer
    assert documents(plain(answer))[-1]["error"]["code"] == "llmtrace_blocked_unreadable"
    assert trace.outcome is Outcome.STOPPED


FRAMED = {
    "carriage-returns": SECRETIVE.replace(b"\n", b"\r"),
    "both": SECRETIVE.replace(b"\n", b"\r\n"),
    "byte-order-mark": b"\xef\xbb\xbf" + SECRETIVE,
    "no-space": SECRETIVE.replace(b"data: ", b"data:"),
    "two-lines": SECRETIVE.replace(b', "choices"', b',\ndata:"choices"'),
    "ids": SECRETIVE.replace(b"data: {", b"id: 7\ndata: {"),
    "retry": b"retry: 10\n\n" + SECRETIVE,
    "unknown-field": SECRETIVE.replace(b"data: {", b"more: ghp_here\ndata: {"),
}


@pytest.mark.parametrize("stream", FRAMED.values(), ids=FRAMED)
async def test_a_stream_is_judged_however_it_is_framed(
    provider: ScriptedProvider, tmp_path: Path, stream: bytes
) -> None:
    pieces = [stream[at : at + 11] for at in range(0, len(stream), 11)]
    async with served(saying(*pieces), provider, tmp_path) as worker:
        body = plain(await ask(worker, HOST, REQUEST))
    assert b"ghp_" not in body
    assert said(body).startswith("The token is [SECRET:")
    assert said(body).endswith(" for now.")
    assert b"\r" not in body


async def test_a_comment_carries_no_words(worker: Worker) -> None:
    worker.provider.enqueue(Script(misbehave="comment_secret", chunks=4))
    body = plain(await ask(worker, HOST, REQUEST))
    assert b"AKIA" not in body
    assert b": keepalive\n\n" in body
    assert body.endswith(DONE)


async def test_a_whole_answer_under_a_wrong_name_is_judged(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    head = HEAD.replace(b"text/event-stream", b"application/json")
    async with served(saying(SECRETIVE, head=head), provider, tmp_path) as worker:
        answer = await ask(worker, HOST, REQUEST)
    assert b"ghp_" not in answer
    assert b"for now." in answer


# --- choices and tool calls -------------------------------------------------------------------


async def test_choices_do_not_mix(provider: ScriptedProvider, tmp_path: Path) -> None:
    texts = [f"One {SECRET} here.", "Two, plain words.", f"Three has {SECRET} too."]
    pieces = [[words[at : at + 9] for at in range(0, len(words), 9)] for words in texts]
    stream = b"".join(
        text(pieces[choice][turn], choice)
        for turn in range(max(map(len, pieces)))
        for choice in range(3)
        if turn < len(pieces[choice])
    )
    ends = b"".join(event({}, choice=choice, finish="stop") for choice in range(3))
    async with served(saying(stream + ends + DONE), provider, tmp_path) as worker:
        body = plain(await ask(worker, HOST, REQUEST))
        trace = await worker.journal.trace()
    masked = said(body, 0).removeprefix("One ").removesuffix(" here.")
    assert masked.startswith("[SECRET:")
    assert [said(body, choice) for choice in range(3)] == [
        words.replace(SECRET, masked) for words in texts
    ]
    assert [f.location.split(".")[0] for f in trace.findings] == ["answer[0]", "answer[2]"]


@pytest.mark.parametrize("bad", [0, 1, 2, None])
async def test_parallel_tool_calls_are_judged_one_by_one(
    provider: ScriptedProvider, tmp_path: Path, bad: int | None
) -> None:
    arguments = [json.dumps({"command": "rm -rf /" if n == bad else f"ls {n}"}) for n in range(3)]
    stream = b"".join(tool("", n, name="Bash") for n in range(3))
    for at in range(0, 40, 4):
        stream += b"".join(tool(a[at : at + 4], n) for n, a in enumerate(arguments) if a[at:])
    stream += event({}, finish="tool_calls") + DONE
    async with served(saying(stream), provider, tmp_path) as worker:
        body = plain(await ask(worker, HOST, REQUEST))
        trace = await worker.journal.trace()
    assert b"rm -rf" not in body
    for number, whole in enumerate(arguments):  # none is ever sent in part
        assert called(body, number) in (("", whole) if bad is not None else (whole,))
    reasons = [c["finish_reason"] for d in documents(body) for c in d["choices"]]
    assert reasons[-1] in ("stop", "tool_calls")
    assert body.endswith(DONE)
    assert (trace.verdict is Verdict.BLOCK) == (bad is not None)


HIDING = {
    "escapes": '{"command": "\\u0072\\u006d -rf /"}',
    "escaped-key": '{"\\u0063ommand": "rm -rf /"}',
    "quotes": json.dumps({"command": "r''m -r\"\"f /"}),
    "base64": json.dumps({"command": "echo cm0gLXJmIC8= | base64 -d | sh"}),
    "list": json.dumps({"command": ["bash", "-lc", "rm -rf /"]}),
    "nested": json.dumps({"calls": [{"command": "rm -rf / --no-preserve-root"}]}),
    "variable": json.dumps({"command": "x=rm; $x -rf /"}),
    "no-json": '{"command": "rm -rf /"',
}


@pytest.mark.parametrize("arguments", HIDING.values(), ids=HIDING)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_a_dangerous_command_is_found_however_it_is_hidden(
    worker: Worker, arguments: str, streamed: bool
) -> None:
    call = ScriptedTool(name="Bash", arguments=arguments)
    worker.provider.enqueue(Script(text="", tool_calls=(call,), chunks=9))
    answer = await ask(worker, HOST, post(PATH, json.dumps(BODY | {"stream": streamed}).encode()))
    body = plain(answer)
    assert b"dangerous_command" in body
    assert not called(body)
    assert b"-rf" not in body
    assert b"base64 -d" not in body


@pytest.mark.parametrize("how", ["cut_mid_stream", "reset_mid_stream", "cut_in_chunk"])
async def test_a_tool_call_that_breaks_off_never_reaches_the_agent(
    worker: Worker, how: str
) -> None:
    arguments = json.dumps({"command": "ls " + "x" * 300})
    call = ScriptedTool(name="Bash", arguments=arguments)
    worker.provider.enqueue(Script(text="", tool_calls=(call,), chunks=40, misbehave=how))
    reader, writer = await tunnel(worker, HOST)
    writer.write(REQUEST)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.transport.abort()
    assert b'"arguments": "' not in answer
    assert b"xxx" not in answer
    whole = b"\r\n0\r\n\r\n" in answer
    assert not whole or b"provider_broke_off" in answer
    trace = await worker.journal.trace()
    assert trace.outcome is Outcome.BROKEN


# --- while something is held ------------------------------------------------------------------


async def test_the_client_is_told_that_somebody_is_there_while_a_call_is_held(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtrace.pipeline.streaming.answers.QUIET_SECONDS", 0.05)
    go = asyncio.Event()

    async def say(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(HEAD + b"\r\n" + tool('{"path": "', name="Write"))
        while not go.is_set():
            writer.write(tool("x" * 20))
            await asyncio.sleep(0.02)
        writer.write(tool('"}') + event({}, finish="tool_calls") + DONE)
        writer.close()

    async with served(say, provider, tmp_path) as worker:
        reader, writer = await tunnel(worker, HOST)
        writer.write(REQUEST)
        async with asyncio.timeout(3):
            held = await reader.readuntil(b": keepalive\n\n")
        assert b"xxx" not in held
        go.set()
        async with asyncio.timeout(3):
            rest = await reader.read()
        assert b"xxx" in rest
        assert b"[DONE]" in rest
        writer.transport.abort()


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
async def test_a_client_that_leaves_while_frames_are_held_ends_one_call(
    provider: ScriptedProvider, tmp_path: Path, protocol: str
) -> None:
    left = asyncio.Event()

    async def say(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(HEAD + b"\r\n" + text("Well, ") + tool('{"path": "', name="Write"))
        for _ in range(500):
            writer.write(tool("x" * 20))
            await writer.drain()
            await asyncio.sleep(0.01)
        left.set()

    async with served(say, provider, tmp_path) as worker:
        reader, writer = await tunnel(worker, HOST, protocol)
        async with asyncio.timeout(5):
            if protocol == "h2":
                client = H2Client((reader, writer))
                head = [(":method", "POST"), (":scheme", "https"), (":path", PATH)]
                stream = client.conn.get_next_available_stream_id()
                client.conn.send_headers(stream, [*head, (":authority", HOST)])
                client.conn.send_data(stream, json.dumps(BODY).encode(), end_stream=True)
                client.flush()
                await client.until(h2.events.DataReceived)
            else:
                writer.write(REQUEST)
                await reader.readuntil(b"Well")
        writer.transport.abort()
        (trace,) = await worker.journal.traces(1)
        assert trace.outcome is Outcome.CLIENT_LEFT
        assert not left.is_set()
        assert len(worker.journal.ended) == 1


async def test_a_large_answer_is_judged_in_time(worker: Worker) -> None:
    script = Script(size=2_000_000, chunks=400)
    worker.provider.enqueue(script)
    began = time.monotonic()
    async with httpx2.AsyncClient(
        proxy=worker.proxy_url, verify=worker.client_context(), trust_env=False, timeout=30
    ) as http:
        answer = await http.post(f"https://{HOST}{PATH}", json=BODY)
    assert said(answer.content) == script.words
    assert time.monotonic() - began < 15
