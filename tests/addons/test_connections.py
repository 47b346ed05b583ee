import asyncio
import logging
from typing import Any, ClassVar

import pytest
from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layer, server_hooks
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.test import tflow

from llmtrace.addons.connections import PROVIDER_IDLE, Streams
from llmtrace.addons.limits import Limits
from llmtrace.addons.pacing import Rounds
from llmtrace.testing.dataplane import PROVIDER, H2Client, answer_ok, read_all, read_answer

REVERSE = (f"reverse:http://{PROVIDER}:80",)
CALL = f"POST /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\nContent-Length: 3\r\n\r\nabc".encode()


async def test_provider_that_does_not_accept_in_time_is_502(gateway: Any) -> None:
    async def never(_host: str, _port: int) -> Streams:
        await asyncio.Event().wait()
        raise AssertionError

    gw = await gateway(modes=REVERSE, limits=Limits(connect_seconds=0.05), dial=never)
    answer = await gw.ask(CALL)
    assert b" 502 " in answer.split(b"\r\n")[0]
    assert b"within 0.05 s" in answer


async def test_provider_that_does_not_finish_tls_in_time_is_502(
    gateway: Any, upstream: Any
) -> None:
    silent = await upstream()  # what greets it in TLS waits for the end of a head
    gw = await gateway(limits=Limits(connect_seconds=0.1), to=silent)
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    assert b" 502 " in (await asyncio.wait_for(read_answer(reader), 5)).split(b"\r\n")[0]
    async with asyncio.timeout(5):
        await silent.closed.wait()


async def test_provider_that_has_finished_tls_may_take_its_time(
    gateway: Any, upstream: Any
) -> None:
    async def slow(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        await asyncio.sleep(0.7)
        await answer_ok(writer, head, body)

    gw = await gateway(limits=Limits(connect_seconds=0.5), to=await upstream(slow, tls=True))
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    assert (await asyncio.wait_for(read_answer(reader), 5)).startswith(b"HTTP/1.1 200")


async def test_server_connect_hook_may_refuse(gateway: Any) -> None:
    class Refuse:
        def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
            data.server.error = "not allowed"

    gw = await gateway(addons=[Refuse()], modes=REVERSE)
    assert b"not allowed" in await gw.ask(CALL)


async def test_provider_connections_of_one_client_are_bounded(gateway: Any, upstream: Any) -> None:
    open_now, most = 0, 0

    async def slow(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.05)
        open_now -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    gw = await gateway(limits=Limits(upstream_connections=3), to=await upstream(slow, tls=True))
    client = H2Client(await gw.tls("h2"))
    streams = [client.request(body=b"x") for _ in range(8)]
    for stream_id in streams:
        await client.answer(stream_id)
        break
    await asyncio.sleep(0.4)
    assert most == 3


async def test_connection_knows_whether_a_call_is_under_way(gateway: Any, upstream: Any) -> None:
    go_on = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    gw = await gateway(modes=REVERSE, to=await upstream(wait))
    reader, writer = await gw.connect()
    writer.write(CALL)
    await asyncio.sleep(0.1)
    (connection,) = gw.master.proxyserver.connections.values()
    assert connection.busy
    go_on.set()
    await read_answer(reader)
    assert not connection.busy
    assert connection.quiet_seconds < 5
    connection.hang_up()
    assert await read_all(reader) == b""


async def test_bytes_of_a_client_are_never_logged(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gw = await gateway(modes=REVERSE, to=await upstream())
    await gw.ask(b"POST /v1 HTTP/1.1\r\nAuthorization Bearer sk-canary\r\n\r\n")
    _, writer = await gw.connect()
    writer.write(b"POST /v1 HTTP/1.1\r\nAuthorization: Bearer sk-canary\r\n")
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.05)
    assert "sk-canary" not in caplog.text


async def test_connection_cut_while_its_body_comes_is_closed_and_its_call_told(
    gateway: Any,
) -> None:
    class Errors:
        seen = 0

        def error(self, flow: http.HTTPFlow) -> None:
            self.seen += 1

    errors = Errors()
    gw = await gateway(addons=[errors], modes=REVERSE)
    reader, writer = await gw.connect()
    writer.write(CALL[:-1])
    await asyncio.sleep(0.1)
    (connection,) = gw.master.proxyserver.connections.values()
    writer.write(b"c")
    connection.hang_up()
    assert await asyncio.wait_for(read_all(reader), 2) == b""
    assert errors.seen == 1


async def test_provider_that_falls_silent_is_cut_and_the_client_answered(
    gateway: Any, upstream: Any
) -> None:
    class Errors:
        seen: ClassVar[list[str | None]] = []

        def error(self, flow: http.HTTPFlow) -> None:
            self.seen.append(flow.server_conn.error)

    async def never(_writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        await asyncio.Event().wait()

    errors = Errors()
    limits = Limits(idle_seconds=1)
    gw = await gateway(addons=[errors], modes=REVERSE, limits=limits, to=await upstream(never))
    answer = await gw.ask(CALL)
    assert b" 502 " in answer.split(b"\r\n")[0]
    assert errors.seen == [PROVIDER_IDLE]


async def test_idle_client_is_hung_up_on(gateway: Any) -> None:
    gw = await gateway(modes=REVERSE, limits=Limits(idle_seconds=1))
    reader, _ = await gw.connect()
    assert await asyncio.wait_for(read_all(reader), 5) == b""


class Turns(layer.Layer):
    """Asks a hook for each event, and notes in which order it is told what."""

    def __init__(self, context: Context, told: list[str]) -> None:
        super().__init__(context)
        self.told = told

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        self.told.append(f"begin {event.data!r}")  # type: ignore[attr-defined]
        yield HttpRequestHook(tflow.tflow())
        self.told.append(f"end {event.data!r}")  # type: ignore[attr-defined]


@pytest.mark.parametrize("waits", [False, True], ids=["hook-ends-at-once", "hook-waits"])
async def test_events_are_handled_one_after_another_as_they_come(gateway: Any, waits: bool) -> None:
    class Hook:
        async def request(self, flow: http.HTTPFlow) -> None:
            if waits:
                await asyncio.sleep(0)

    gw = await gateway(addons=[Hook()], modes=REVERSE)
    await gw.connect()
    await asyncio.sleep(0.05)
    (connection,) = gw.master.proxyserver.connections.values()
    told: list[str] = []
    connection.serve_with(Turns(Context(connection.client, Options()), told))
    for data in (b"1", b"2", b"3"):
        await connection.server_event(events.DataReceived(connection.client, data))
    for _ in range(12):
        await asyncio.sleep(0)
    assert told == [f"{what} {data!r}" for data in (b"1", b"2", b"3") for what in ("begin", "end")]


async def test_first_words_of_a_stream_wait_for_no_other_connections_turn(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await asyncio.sleep(3)

    class Streaming:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            assert flow.response
            flow.response.stream = True
            monkeypatch.setattr(Rounds, "add", lambda *_: None)  # there is no next turn

    class Awaiting:
        async def responseheaders(self, _flow: http.HTTPFlow) -> None:
            """Has the hook run in a task of its own."""

    gw = await gateway(addons=[Streaming(), Awaiting()], modes=REVERSE, to=await upstream(slowly))
    reader, writer = await gw.connect()
    writer.write(CALL)
    async with asyncio.timeout(2):
        assert b"5\r\nfirst" in await reader.readuntil(b"first")
    monkeypatch.undo()


async def test_nothing_is_begun_for_a_client_that_is_gone(gateway: Any) -> None:
    gw = await gateway(modes=REVERSE)
    await gw.connect()
    await asyncio.sleep(0.05)
    (connection,) = gw.master.proxyserver.connections.values()
    connection._over = True
    server = Server(address=(PROVIDER, 80))
    connection._do(commands.OpenConnection(server))
    connection._do(commands.RequestWakeup(60))
    (told,) = connection._events
    connection._events.clear()  # no layer asked for it here
    assert isinstance(told, events.OpenConnectionCompleted)
    assert told.reply == "the client is gone"
    assert server not in connection.transports
    assert not connection.wakeup_timer
