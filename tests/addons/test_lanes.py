import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.test import tflow

from llmtrace.addons.connections import GatewayConnection
from llmtrace.addons.lanes import Lane
from llmtrace.addons.limits import Limits
from llmtrace.testing.dataplane import PROVIDER, read_answer

REVERSE = (f"reverse:http://{PROVIDER}:80",)
CALL = f"POST /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\nContent-Length: 3\r\n\r\nabc".encode()


def a_client() -> Client:
    return Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2))


class Asking(layer.Layer):
    """Asks two hooks in a row, and notes what it is told."""

    def __init__(self) -> None:
        super().__init__(Context(a_client(), Options()))
        self.told: list[str] = []

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        self.told.append(f"begin {type(event).__name__}")
        yield HttpRequestHook(tflow.tflow())
        self.told.append("asked once")
        yield HttpRequestHook(tflow.tflow())
        self.told.append(f"end {type(event).__name__}")


@pytest.mark.parametrize("plain", [True, False], ids=["run-here", "left-to-a-task"])
def test_layers_see_the_same_whether_hooks_run_here_or_in_a_task(plain: bool) -> None:
    top = Asking()
    front = Lane(top, lambda _hook: plain)
    left = list(front.handle_event(events.Start()))
    while left:
        hook = left.pop()
        assert isinstance(hook, commands.StartHook)
        left = list(front.handle_event(events.HookCompleted(hook)))
    assert top.told == ["begin Start", "asked once", "end Start"]


def lane_of(gateway: Any) -> Lane:
    (handler,) = gateway.master.proxyserver.connections.values()
    assert isinstance(handler, GatewayConnection)
    assert isinstance(handler.layer, Lane)
    return handler.layer


async def test_layers_that_only_pass_on_are_left_out(gateway: Any, upstream: Any) -> None:
    gw = await gateway(modes=REVERSE, to=await upstream())
    reader, writer = await gw.connect()
    for _ in range(2):
        writer.write(CALL)
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
    assert isinstance(lane_of(gw)._top, HttpLayer)


async def test_a_tunnel_goes_past_the_layer_that_read_its_connect(
    gateway: Any, upstream: Any
) -> None:
    gw = await gateway(to=await upstream(tls=True))
    reader, writer = await gw.tls("http/1.1")
    for _ in range(2):
        writer.write(CALL)
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
    assert isinstance(lane_of(gw)._top, ClientTLSLayer)


async def test_timer_of_a_layer_that_was_left_out_comes_back_to_it(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gw = await gateway(limits=Limits(head_seconds=0.1), to=await upstream(tls=True))
    reader, writer = await gw.connect()
    for piece in (f"CONNECT {PROVIDER}:443 HTTP/1.1\r\n", f"Host: {PROVIDER}\r\n\r\n"):
        writer.write(piece.encode())
        await asyncio.sleep(0.02)  # a head that is not whole has a timer
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(gw.client_context("http/1.1"), server_hostname=PROVIDER)
        await asyncio.sleep(0.2)
        writer.write(CALL)
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_tunnel_behind_a_call_leaves_its_provider_to_the_layer_above(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    provider = await upstream()
    gw = await gateway(to=provider)
    reader, writer = await gw.connect()
    writer.write(CALL.replace(b"/v1/x", f"http://{PROVIDER}/v1/x".encode(), 1))
    async with asyncio.timeout(5):
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
        writer.write(f"CONNECT {PROVIDER}:80 HTTP/1.1\r\nHost: {PROVIDER}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        assert isinstance(lane_of(gw)._top, HttpLayer)
        await provider.stop()
        await asyncio.sleep(0.1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class Closing(layer.Layer):
    """Closes one side of two connections."""

    def __init__(self, client: Client, server: Server) -> None:
        super().__init__(Context(client, Options()))
        self.server = server

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        for connection in (self.context.client, self.server):
            yield commands.CloseTcpConnection(connection, half_close=True)


@pytest.mark.parametrize("tunnel", [True, False])
def test_what_is_in_a_tunnel_is_closed_on_both_sides_and_once(tunnel: bool) -> None:
    client, server = a_client(), Server(address=("192.0.2.3", 443))
    client.state = ConnectionState.OPEN
    lane = Lane(Closing(client, server), lambda _hook: False)
    if tunnel:
        lane._client = client
    half = [
        isinstance(said, commands.CloseTcpConnection) for said in lane.handle_event(events.Start())
    ]
    assert half == [not tunnel, not tunnel]
    client.state = ConnectionState.CAN_READ
    closed = [said.connection for said in lane.handle_event(events.Start())]  # type: ignore[attr-defined]
    assert closed == ([server] if tunnel else [client, server])


async def test_layers_of_a_connection_that_is_over_are_taken_apart(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gw = await gateway(to=await upstream(tls=True))
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    await read_answer(reader)
    (handler,) = gw.master.proxyserver.connections.values()
    layers = [lane_of(gw)._top, *lane_of(gw)._left, *handler.layer._top.context.layers]
    gone = [weakref.ref(layer.tls) for layer in layers if isinstance(layer, ClientTLSLayer)]
    assert gone
    del layers
    gc.collect()
    gc.disable()
    try:
        writer.transport.abort()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not gw.master.proxyserver.connections:
                break
        assert [ref() for ref in gone] == [None] * len(gone)
    finally:
        gc.enable()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_layers_stay_until_the_last_hook_has_told_them_of_its_end(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow:
        def __init__(self) -> None:
            self.entered, self.may_end, self.errors = asyncio.Event(), asyncio.Event(), 0

        async def request(self, _flow: object) -> None:
            self.entered.set()
            await self.may_end.wait()

        def error(self, _flow: object) -> None:
            self.errors += 1

    slow = Slow()
    gw = await gateway(addons=[slow], modes=REVERSE, to=await upstream())
    _, writer = await gw.connect()
    writer.write(CALL)
    await asyncio.wait_for(slow.entered.wait(), 5)
    lane = lane_of(gw)
    writer.transport.abort()
    for _ in range(100):
        await asyncio.sleep(0.01)
        if not gw.master.proxyserver.connections:
            break
    assert vars(lane._top)
    slow.may_end.set()
    await asyncio.sleep(0.05)
    assert slow.errors == 1
    assert not vars(lane._top)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
