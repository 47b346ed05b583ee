import asyncio
from typing import Any

import pytest
from mitmproxy import http

from llmtrace.addons.abort import is_cut
from llmtrace.addons.limits import Limits
from llmtrace.testing.dataplane import PROVIDER, H2Client, answer_ok, read_answer

CALL = f"GET /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\n\r\n".encode()
PIECE = b"a" * 10_000


class Refuse:
    """Puts an answer of its own in the place of one that was too long."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def response(self, flow: http.HTTPFlow) -> None:
        if is_cut(flow) and flow.response:
            self.held.append(len(flow.response.raw_content or b""))
            flow.response = http.Response.make(400, b"too long")


async def endless(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
    if b"/short" in head:
        await answer_ok(writer, head, body)
        return
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(10_000):
        writer.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
        await writer.drain()


async def test_an_answer_that_is_held_is_dropped_once_it_is_too_long(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    addon, provider = Refuse(), await upstream(endless, tls=True)
    gw = await gateway(addons=[addon], limits=Limits(answer_bytes=100_000), to=provider)
    reader, writer = await gw.tls("http/1.1")
    for call, status, end in (
        (CALL, b"400", b"too long"),
        (CALL.replace(b"/v1/x", b"/short"), b"200", b"ok"),
    ):
        writer.write(call)
        answer = await asyncio.wait_for(read_answer(reader), 5)
        assert answer.split(b" ")[1] == status
        assert answer.endswith(end)
    assert addon.held == [0]
    async with asyncio.timeout(5):
        await provider.closed.wait()
    assert not caplog.records


async def test_over_http2_it_is_dropped_for_its_stream_alone(gateway: Any, upstream: Any) -> None:
    addon = Refuse()
    gw = await gateway(
        addons=[addon], limits=Limits(answer_bytes=100_000), to=await upstream(endless, tls=True)
    )
    client = H2Client(await gw.tls("h2"))
    assert await client.answer(client.request()) == (400, b"too long")
    assert await client.answer(client.request(path="/short")) == (200, b"ok")


async def test_an_answer_that_passes_while_it_comes_may_be_of_any_length(
    gateway: Any, upstream: Any
) -> None:
    class Pass:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            assert flow.response
            flow.response.stream = True

    async def long(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"a" * 300_000)

    gw = await gateway(
        addons=[Pass()], limits=Limits(answer_bytes=100_000), to=await upstream(long, tls=True)
    )
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    assert len(await asyncio.wait_for(read_answer(reader), 5)) > 300_000
