"""WebSockets of odd clients and providers: nothing passes unread, and every call ends."""

import asyncio
import gc
import json
import secrets
import struct
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import wsproto.events as ws

from llmtrace.domain.traces import Outcome
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

CANARY = "the-canary-078-05-1120"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, limits__websocket_message_bytes=65536) as run:
        yield run


def create(text: str = "hi", **more: object) -> str:
    return json.dumps({"type": "response.create", "model": "gpt-4o", "input": text, **more})


HIDDEN = create(CANARY)[1:]
BAD = {
    "duplicate-type": '{"type":"ping",' + HIDDEN,
    "duplicate-type-last": "{" + HIDDEN[:-1] + ',"type":"ping"}',
    "case-variant-of-type": '{"Type":"ping",' + HIDDEN,
    "duplicate-input": '{"input":"x",' + HIDDEN,
    "not-a-number": '{"n":NaN,' + HIDDEN,
    "cut": "{" + HIDDEN[:-1],
    "two-documents": '{"type":"ping"} {' + HIDDEN,
    "no-json": CANARY,
    "byte-order-mark": "\ufeff{" + HIDDEN,
    "deep": '{"n":' + "[" * 300 + "]" * 300 + "," + HIDDEN,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
async def test_a_message_that_parsers_read_differently_reaches_nobody(
    worker: Worker, text: str
) -> None:
    socket = await (await Socket.open(worker)).accepted()
    socket.send(text)
    assert await socket.message() is None
    assert socket.code == 1008
    assert [call for call in worker.provider.calls if call.method == "WS"] == []
    trace = await worker.journal.trace()
    expected = "json_limits" if text == BAD["deep"] else "bad_json"
    assert (trace.outcome, trace.error_code) == (Outcome.REFUSED, expected)
    socket.abort()


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
async def test_a_message_in_fragments_is_one_call(worker: Worker, deflate: bool) -> None:
    socket = await (await Socket.open(worker, deflate=deflate)).accepted()
    text = create("x" * 3000)
    for start in range(0, len(text), 100):
        socket.send(text[start : start + 100], message_finished=start + 100 >= len(text))
    assert await socket.until("response.completed")
    ((trace),) = await worker.journal.traces(1)
    assert trace.outcome is Outcome.OK
    socket.abort()


async def test_a_call_in_a_binary_message_is_read_too(worker: Worker) -> None:
    socket = await (await Socket.open(worker)).accepted()
    socket.writer.write(socket.conn.send(ws.BytesMessage(data=create(CANARY).encode())))
    assert await socket.until("response.completed")
    (record,) = worker.journal.ended
    assert CANARY in record.texts.prompt
    socket.abort()


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """Write a frame by hand (RFC 6455 §5.2); its mask is zero."""
    size = struct.pack("!BH", 126 | masked << 7, len(payload))
    return bytes([fin << 7 | opcode]) + size + bytes(4 * masked) + payload


BROKEN_FRAMES = {
    "invalid-utf-8": frame(1, b'{"type":"ping","x":"\xff\xfe"}'),
    "unmasked": frame(1, create().encode(), masked=False),
    "reserved-opcode": frame(3, create().encode()),
    "continuation-of-nothing": frame(0, create().encode()),
    "reserved-bit": bytes([0xF1]) + frame(1, create().encode())[1:],
    "long-ping": frame(9, b"x" * 200),
    "ping-in-pieces": frame(9, b"x", fin=False),
    "huge-length": b"\x81\xff" + b"\x7f" + b"\xff" * 7 + bytes(4) + b"x" * 100_000,
    "deflated-without-agreement": bytes([0xC1]) + frame(1, b"\x00\xff")[1:],
}


@pytest.mark.parametrize("data", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES)
async def test_a_broken_frame_ends_the_connection_and_reaches_nobody(
    worker: Worker, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    socket = await (await Socket.open(worker)).accepted()
    socket.writer.write(data)
    async with asyncio.timeout(5):
        while await socket.reader.read(65536):
            pass
    assert [call for call in worker.provider.calls if call.method == "WS"] == []
    assert "crashed" not in caplog.text
    socket.abort()


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
async def test_a_message_without_end_is_cut_at_the_limit(worker: Worker, deflate: bool) -> None:
    socket = await (await Socket.open(worker, deflate=deflate)).accepted()
    socket.send(create()[:-1], message_finished=False)
    for _ in range(20):
        socket.send(secrets.token_hex(8192), message_finished=False)
    assert await socket.message() is None
    assert socket.code == 1009
    assert [call for call in worker.provider.calls if call.method == "WS"] == []
    socket.abort()


async def test_an_upgrade_that_the_provider_refuses_is_one_failed_call(worker: Worker) -> None:
    worker.provider.enqueue(Script(status=401))
    socket = await Socket.open(worker, "/v1/nothing")
    assert isinstance(await socket.event(), ws.RejectConnection)
    trace = await worker.journal.trace()
    assert (trace.outcome, trace.status) == (Outcome.PROVIDER_ERROR, 404)
    socket.abort()


async def test_a_provider_that_breaks_off_ends_the_call(worker: Worker) -> None:
    worker.provider.enqueue(Script(misbehave="reset_mid_stream", chunks=6))
    socket = await (await Socket.open(worker)).accepted()
    socket.send(create())
    assert await socket.until("response.completed") is None
    (trace,) = await worker.journal.traces(1)
    assert trace.outcome is Outcome.BROKEN
    socket.abort()


async def test_an_error_in_mid_call_is_the_providers(worker: Worker) -> None:
    worker.provider.enqueue(Script(error_after=2, chunks=6))
    socket = await (await Socket.open(worker)).accepted()
    socket.send(create())
    (trace,) = await worker.journal.traces(1)
    assert trace.outcome is Outcome.PROVIDER_ERROR
    socket.send(create())
    assert await socket.until("response.completed")
    socket.abort()


@pytest.mark.parametrize("stage", ["upgrading", "open", "in-a-message", "in-an-answer", "after"])
async def test_a_client_that_leaves_ends_what_it_began_once(worker: Worker, stage: str) -> None:
    socket = await Socket.open(worker)
    expected: list[Outcome] = []
    if stage != "upgrading":
        await socket.accepted()
    if stage == "in-a-message":
        socket.send(create()[:20], message_finished=False)
    if stage == "in-an-answer":
        worker.provider.enqueue(Script(hold=True))
        socket.send(create())
        await socket.until("response.output_text.delta")
        expected = [Outcome.CLIENT_LEFT]
    if stage == "after":
        socket.send(create())
        await socket.until("response.completed")
        expected = [Outcome.OK]
    await socket.writer.drain()
    socket.abort()
    await worker.master.drain(5)
    worker.provider.release()
    model_calls = [r.trace for r in worker.journal.ended if r.trace.mode == "websocket"]
    assert [trace.outcome for trace in model_calls] == expected
    assert len(worker.journal.ended) - len(model_calls) <= (stage == "upgrading")


@pytest.mark.parametrize(
    "text",
    [create(CANARY, generate=False), json.dumps({"type": "new.thing", "text": CANARY})],
    ids=["warm-up", "unknown-type"],
)
@pytest.mark.parametrize("call_follows", [True, False], ids=["before-a-call", "alone"])
async def test_what_is_said_in_no_call_is_read_with_the_next(
    worker: Worker, text: str, call_follows: bool
) -> None:
    socket = await (await Socket.open(worker)).accepted()
    socket.send(text)
    if call_follows:
        socket.send(create("hi"))
        assert await socket.until("response.completed")
    await asyncio.sleep(0.05)
    socket.abort()
    await worker.journal.traces(1)
    assert CANARY in worker.journal.ended[0].texts.prompt


async def test_a_list_is_told_as_unread(worker: Worker) -> None:
    socket = await (await Socket.open(worker)).accepted()
    socket.send("[{" + HIDDEN + "]")
    await socket.writer.drain()
    await asyncio.sleep(0.05)
    socket.abort()
    (trace,) = await worker.journal.traces(1)
    assert CANARY in worker.journal.ended[0].texts.prompt or trace.coverage.unread_bytes


@pytest.mark.slow
async def test_hundreds_of_calls_on_one_connection_keep_nothing(worker: Worker) -> None:
    socket = await (await Socket.open(worker, deflate=True)).accepted()

    async def calls(count: int) -> None:
        for _ in range(count):
            socket.send(create("x" * 2000))
            assert await socket.until("response.completed")
            worker.journal.ended.clear()
            worker.journal.begun.clear()
            worker.provider.clear()

    await calls(50)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await calls(150)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 300_000, f"{grown} bytes more after 150 calls"
    socket.abort()


async def test_warm_ups_and_pings_without_end_keep_nothing(worker: Worker) -> None:
    socket = await (await Socket.open(worker)).accepted()
    for _ in range(200):
        socket.send(json.dumps({"type": "response.create", "generate": False, "input": "x" * 500}))
    socket.send(create())
    (trace,) = await worker.journal.traces(1)
    assert trace.outcome is Outcome.OK
    socket.abort()
