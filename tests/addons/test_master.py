import asyncio
from typing import Any

import pytest
from mitmproxy import http

from llmtrace.addons.listening import Listen
from llmtrace.addons.master import MasterOptions, build_master
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.testing.dataplane import PROVIDER, answer_ok, read_all, read_answer

CALL = f"POST /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\nContent-Length: 3\r\n\r\nabc".encode()
REVERSE = f"reverse:http://{PROVIDER}:80"


class Seen:
    """Notes the hooks of flows in their order."""

    def __init__(self) -> None:
        self.hooks: list[str] = []

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.hooks.append("requestheaders")

    def request(self, flow: http.HTTPFlow) -> None:
        self.hooks.append("request")

    async def response(self, flow: http.HTTPFlow) -> None:
        self.hooks.append("response")

    def error(self, flow: http.HTTPFlow) -> None:
        self.hooks.append("error")


async def test_intercepted_call_reaches_the_provider_and_runs_the_hooks(
    gateway: Any, upstream: Any
) -> None:
    seen = Seen()
    provider = await upstream(tls=True)
    gw = await gateway(addons=[seen], to=provider)
    reader, writer = await gw.tls()
    writer.write(CALL)
    assert (await read_answer(reader)).endswith(b"ok")
    assert provider.requests[0][1] == b"abc"
    assert seen.hooks == ["requestheaders", "request", "response"]
    writer.close()


async def test_forward_and_reverse_mode_side_by_side(gateway: Any, upstream: Any) -> None:
    gw = await gateway(modes=("regular", REVERSE), to=await upstream())
    forward, reverse = gw.ports
    absolute = CALL.replace(b"POST /v1", f"POST http://{PROVIDER}/v1".encode())
    for port, data in ((forward, absolute), (reverse, CALL)):
        reader, writer = await gw.connect(port)
        writer.write(data)
        assert (await read_answer(reader)).endswith(b"ok")
        writer.close()


async def test_one_client_connection_serves_many_calls_over_one_provider_connection(
    gateway: Any, upstream: Any
) -> None:
    provider = await upstream()
    gw = await gateway(modes=(REVERSE,), to=provider)
    reader, writer = await gw.connect()
    for _ in range(8):
        writer.write(CALL)
        assert (await read_answer(reader)).endswith(b"ok")
    assert provider.connections == 1
    writer.close()


async def test_addon_that_raises_closes_its_flow_instead_of_forwarding_it(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def request(self, flow: http.HTTPFlow) -> None:
            raise ValueError("broken")

    provider = await upstream()
    gw = await gateway(addons=[Broken()], modes=(REVERSE,), to=provider)
    assert b"200" not in await gw.ask(CALL)
    assert provider.requests == []
    assert "an addon failed in request" in caplog.text


async def test_unreachable_provider_is_a_502(gateway: Any) -> None:
    gw = await gateway(modes=(REVERSE,))
    assert b" 502 " in (await gw.ask(CALL)).split(b"\r\n")[0]


async def test_address_in_use_is_told_with_what_to_do(
    gateway: Any, ca: CertificateAuthority
) -> None:
    gw = await gateway()
    listens = [Listen(mode="regular", port=gw.port)]
    second = build_master(options=MasterOptions(listens=listens, ca_dir=ca.directory), addons=[])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{gw.port}"):
        await second.run()


async def test_drain_lets_a_call_end_and_hangs_up_on_idle_connections(
    gateway: Any, upstream: Any
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        asked.set()
        await go_on.wait()
        await answer_ok(writer, head, body)

    gw = await gateway(modes=(REVERSE,), to=await upstream(slow))
    idle_reader, idle = await gw.connect()
    reader, writer = await gw.connect()
    writer.write(CALL)
    await asked.wait()
    drained = asyncio.create_task(gw.master.drain(5))
    assert await read_all(idle_reader) == b""
    with pytest.raises(ConnectionRefusedError):
        await gw.connect()
    go_on.set()
    answer = await read_all(reader)
    assert answer.endswith(b"ok")
    assert b"connection: close" in answer.lower()
    assert await drained
    await gw.task
    idle.close()
    writer.close()


async def test_drain_cuts_what_is_left_and_its_error_hook_runs(gateway: Any, upstream: Any) -> None:
    asked = asyncio.Event()

    async def never(_writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        asked.set()
        await asyncio.Event().wait()

    seen = Seen()
    gw = await gateway(addons=[seen], modes=(REVERSE,), to=await upstream(never))
    reader, writer = await gw.connect()
    writer.write(CALL)
    await asked.wait()
    assert not await gw.master.drain(0.1)
    await gw.task
    assert await read_all(reader) == b""
    assert seen.hooks[-1] == "error"
    writer.close()
