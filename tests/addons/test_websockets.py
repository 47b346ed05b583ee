"""Calls over WebSocket, in a whole worker against the scripted provider."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from llmtrace.addons.websockets import WebSockets
from llmtrace.domain.traces import Outcome
from llmtrace.pipeline.pipeline import Pipeline
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

KEY = "sk-test-planted-credential-0002"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(
        tmp_path, provider, limits__websocket_message_bytes=100_000
    ) as running:
        yield running


class Connect(Protocol):
    async def __call__(self, path: str = ...) -> WebSocketClientConnection: ...


@pytest.fixture
async def connect(worker: Worker) -> AsyncIterator[Connect]:
    opened: list[WebSocketClientConnection] = []

    async def begin(path: str = "/v1/responses") -> WebSocketClientConnection:
        url = f"ws://127.0.0.1:{worker.reverse}/openai{path}"
        request = HTTPRequest(url, headers={"authorization": f"Bearer {KEY}"})
        opened.append(await websocket_connect(request, compression_options={}))
        return opened[-1]

    yield begin
    for socket in opened:
        over = socket.close_code is not None
        socket.close()
        if over:
            continue  # it has told of its end already, and would not tell again
        async with asyncio.timeout(5):
            while await socket.read_message() is not None:
                pass


def create(text: str, **more: object) -> str:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return json.dumps({"type": "response.create", "model": "gpt-5", "input": [item], **more})


async def answer(socket: WebSocketClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(5):
        while True:
            message = await socket.read_message()
            assert message is not None, "the connection closed"
            events.append(json.loads(message))
            if events[-1]["type"] in ("response.completed", "response.failed", "error"):
                return events


async def test_many_calls_on_one_connection_are_many_traces(
    worker: Worker, connect: Connect
) -> None:
    socket = await connect()
    await socket.write_message(create("One"))
    first = (await answer(socket))[-1]["response"]["id"]
    assert len(worker.journal.ended) == 1  # before its last message was seen
    await socket.write_message(create("Two", previous_response_id=first))
    await answer(socket)
    one, two = await worker.journal.traces(2)
    assert (one.dialect, one.mode, one.model, one.outcome) == (
        *("openai.responses", "websocket", "gpt-5"),
        Outcome.OK,
    )
    assert one.conversation
    assert one.conversation == two.conversation
    assert one.usage.input_tokens == 12
    assert one.cost_nano_usd
    assert worker.journal.ended[1].texts.prompt == "Two"


async def test_a_prewarm_is_no_call(worker: Worker, connect: Connect) -> None:
    socket = await connect()
    await socket.write_message(create("", generate=False, input=[]))
    await answer(socket)
    assert worker.journal.ended == []
    await socket.write_message(create("One"))
    await answer(socket)
    assert len(worker.journal.ended) == 1


async def test_a_tool_call_is_an_action(worker: Worker, connect: Connect) -> None:
    worker.provider.enqueue(
        Script(tool_calls=(ScriptedTool(name="shell", arguments='{"command":"ls"}'),))
    )
    socket = await connect()
    await socket.write_message(create("List"))
    await answer(socket)
    trace = await worker.journal.trace()
    assert [(a.name, a.arguments) for a in trace.actions] == [
        ("shell", '{"command":"ls"}'),
        ("shell", "ls"),
    ]


async def test_a_connection_that_closes_in_a_call_is_recorded(
    worker: Worker, connect: Connect
) -> None:
    worker.provider.enqueue(Script(hold=True))
    socket = await connect()
    await socket.write_message(create("One"))
    await socket.read_message()
    socket.close()
    trace = await worker.journal.trace()
    assert trace.outcome is Outcome.CLIENT_LEFT
    worker.provider.release()


async def test_messages_are_not_kept(
    worker: Worker, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    read = WebSockets._read

    async def counted(self: WebSockets, flow: Any, *rest: Any) -> None:
        lengths.append(len(flow.websocket.messages))
        await read(self, flow, *rest)

    monkeypatch.setattr(WebSockets, "_read", counted)
    socket = await connect()
    for number in range(5):
        await socket.write_message(create(str(number)))
        await answer(socket)
    assert max(lengths) <= 1


async def test_a_message_over_the_limit_closes_with_1009(worker: Worker, connect: Connect) -> None:
    socket = await connect()
    await socket.write_message(create("x" * 200_000))
    assert await asyncio.wait_for(socket.read_message(), 5) is None
    assert socket.close_code == 1009
    assert worker.journal.ended == []


async def test_what_cannot_be_judged_closes_with_1008(worker: Worker, connect: Connect) -> None:
    socket = await connect()
    await socket.write_message('{"type":"response.create","model":"gpt-5","input":[],"input":[]}')
    assert await asyncio.wait_for(socket.read_message(), 5) is None
    assert socket.close_code == 1008
    trace = await worker.journal.trace()
    assert (trace.outcome, trace.error_code) == (Outcome.REFUSED, "bad_json")


async def test_a_fault_of_our_own_closes_the_connection(
    worker: Worker, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("a prompt")

    monkeypatch.setattr(Pipeline, "inspect_message", broken)
    socket = await connect()
    await socket.write_message(create("One"))
    assert await asyncio.wait_for(socket.read_message(), 5) is None
    assert socket.close_code == 1008
    assert worker.counters.get("fail_closed", "websocket") == 1


async def test_realtime_calls_are_read(worker: Worker, connect: Connect) -> None:
    socket = await connect("/v1/realtime?model=gpt-realtime")
    await socket.write_message(json.dumps({"type": "response.create", "response": {}}))
    async with asyncio.timeout(5):
        while json.loads(await socket.read_message() or "{}").get("type") != "response.done":
            pass
    trace = await worker.journal.trace()
    assert (trace.dialect, trace.model) == ("openai.realtime", "gpt-realtime")
