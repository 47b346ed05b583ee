"""Clients that leave, and slow ones: at every stage each call ends once, and as what it was."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import h2.events
import h2.exceptions
import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.pipeline.pipeline import Pipeline
from llmtrace.testing.dataplane import H2Client, read_all
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import post, tunnel
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

HOST = "api.openai.com"
PATH = "/v1/chat/completions"
BODY = json.dumps(
    {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
).encode()


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider) as running:
        yield running


class Client:
    """One call over HTTP/1.1 or HTTP/2, step by step."""

    def __init__(self, worker: Worker, protocol: str) -> None:
        self.worker, self.protocol = worker, protocol

    async def start(self, body: bytes, *, whole: bool = True) -> None:
        """Send the head and this much of the body."""
        reader, self.writer = await tunnel(self.worker, HOST, self.protocol)
        self.reader = reader
        if self.protocol == "h2":
            self.h2 = H2Client((reader, self.writer))
            head = [(":method", "POST"), (":scheme", "https"), (":path", PATH)]
            stream_id = self.h2.conn.get_next_available_stream_id()
            self.h2.conn.send_headers(stream_id, [*head, (":authority", HOST)])
            self.h2.conn.send_data(stream_id, body, end_stream=whole)
            self.h2.flush()
            self.stream_id = stream_id
        else:
            data = post(PATH, BODY)
            self.writer.write(data if whole else data[: len(body) - len(BODY)])
        await self.writer.drain()

    async def until_data(self) -> None:
        """Read until some of the answer's body is here."""
        async with asyncio.timeout(5):
            if self.protocol == "h2":
                await self.h2.until(h2.events.DataReceived)
            else:
                await self.reader.readuntil(b"data:")

    async def until_end(self) -> None:
        """Read the answer to its terminal event, and not to its end."""
        async with asyncio.timeout(5):
            if self.protocol == "h2":
                while (event := await self.h2.until(h2.events.DataReceived)) is not None:
                    if b"[DONE]" in (event.data or b""):
                        return
            else:
                await self.reader.readuntil(b"[DONE]")

    def leave(self, how: str) -> None:
        if how == "reset" and self.protocol == "h2":
            with contextlib.suppress(h2.exceptions.StreamClosedError):  # the end came meanwhile
                self.h2.conn.reset_stream(self.stream_id)
            self.h2.flush()
        elif how == "reset":
            self.writer.transport.abort()
        else:
            self.writer.close()


@pytest.fixture(params=["http/1.1", "h2"])
def client(request: pytest.FixtureRequest, worker: Worker) -> Client:
    return Client(worker, request.param)


async def ended(worker: Worker, outcome: Outcome) -> None:
    """Assert that one call ended, as this, and that nothing more comes."""
    (trace,) = await worker.journal.traces(1)
    worker.provider.release()
    assert trace.outcome is outcome, trace.error_code
    await asyncio.sleep(0.05)  # for a second end to come, which would be wrong
    assert worker.journal.outcomes() == [outcome]
    assert len(worker.journal.begun) <= 1


HOWS = pytest.mark.parametrize("how", ["close", "reset"])


@HOWS
async def test_leaving_in_the_request(worker: Worker, client: Client, how: str) -> None:
    await client.start(BODY[:20], whole=False)
    await asyncio.sleep(0.05)
    client.leave(how)
    await ended(worker, Outcome.CLIENT_LEFT)
    assert worker.provider.calls == []


@HOWS
async def test_leaving_while_the_request_is_read(
    worker: Worker, client: Client, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, inspect = asyncio.Event(), Pipeline.inspect

    async def slow(self: Pipeline, *args: object) -> object:
        reading.set()
        await asyncio.sleep(0.2)
        return await inspect(self, *args)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(Pipeline, "inspect", slow)
    await client.start(BODY)
    await asyncio.wait_for(reading.wait(), 5)
    client.leave(how)
    await ended(worker, Outcome.CLIENT_LEFT)
    assert worker.provider.calls == []


@HOWS
async def test_leaving_before_the_answer(worker: Worker, client: Client, how: str) -> None:
    worker.provider.enqueue(Script(first_delay_ms=400))
    await client.start(BODY)
    await asyncio.to_thread(worker.provider.wait_for, lambda calls: len(calls) == 1)
    client.leave(how)
    await ended(worker, Outcome.CLIENT_LEFT)


@HOWS
async def test_leaving_in_the_answer(worker: Worker, client: Client, how: str) -> None:
    worker.provider.enqueue(Script(hold=True))
    await client.start(BODY)
    await client.until_data()
    client.leave(how)
    await ended(worker, Outcome.CLIENT_LEFT)


@HOWS
async def test_leaving_after_the_terminal_event(worker: Worker, client: Client, how: str) -> None:
    await client.start(BODY)
    await client.until_end()
    client.leave(how)
    await ended(worker, Outcome.OK)


async def test_leaving_while_the_end_is_recorded(
    worker: Worker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, end = asyncio.Event(), worker.journal.end

    async def slow(record: object) -> None:
        recording.set()
        await asyncio.sleep(0.2)
        await end(record)  # type: ignore[arg-type]  # passed on as it comes

    monkeypatch.setattr(worker.journal, "end", slow)
    await client.start(BODY)
    await asyncio.wait_for(recording.wait(), 5)
    client.leave("reset")
    await ended(worker, Outcome.OK)


async def test_a_slow_body_is_a_refusal(provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.clear()
    async with running_worker(tmp_path, provider, limits__body_seconds=0.3) as worker:
        client = Client(worker, "http/1.1")
        await client.start(BODY[:20], whole=False)
        async with asyncio.timeout(5):
            answer = await read_all(client.reader)
        assert answer.startswith(b"HTTP/1.1 408")
        await ended(worker, Outcome.REFUSED)
        client.leave("close")


async def test_a_client_that_reads_nothing_costs_little(worker: Worker) -> None:
    worker.provider.enqueue(Script(size=8 << 20, chunks=2000))
    client = Client(worker, "http/1.1")
    await client.start(BODY)
    await asyncio.sleep(0.5)
    assert worker.journal.ended == []
    client.leave("reset")
    await ended(worker, Outcome.CLIENT_LEFT)
