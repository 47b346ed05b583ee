import asyncio
from typing import Any

import h2.events
import pytest
from mitmproxy import http

from llmtrace.addons.abort import abort_stream, is_aborted
from llmtrace.testing.dataplane import PROVIDER, H2Client, answer_ok, read_answer

CALL = f"POST /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\nContent-Length: 3\r\n\r\nabc".encode()
LAST = b"event: error\ndata: blocked\n\ndata: [DONE]\n\n"


async def stream_events(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for n in range(200):
        writer.write(b"c\r\ndata: %4d\n\n\r\n" % n)
        await writer.drain()
        await asyncio.sleep(0.01)
    writer.write(b"0\r\n\r\n")


class AbortThird:
    """Ends each streamed answer at its third chunk."""

    def __init__(self) -> None:
        self.hooks: list[str] = []
        self.late = 0

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        assert flow.response
        chunks = 0

        def pass_on(data: bytes) -> bytes:
            nonlocal chunks
            chunks += 1
            self.late += is_aborted(flow)
            if chunks < 3:
                return data
            abort_stream(flow)
            return LAST

        flow.response.stream = pass_on

    async def response(self, flow: http.HTTPFlow) -> None:
        self.hooks.append("response")
        await asyncio.sleep(0.02)

    def error(self, flow: http.HTTPFlow) -> None:
        self.hooks.append("error")


async def test_http1_client_sees_a_whole_answer_and_goes_on(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    addon, provider = AbortThird(), await upstream(stream_events, tls=True)
    gw = await gateway(addons=[addon], to=provider)
    reader, writer = await gw.tls("http/1.1")
    for _ in range(2):
        provider.closed.clear()
        writer.write(CALL)
        answer = await read_answer(reader)
        assert answer.endswith(b"[DONE]\n\n\r\n0\r\n\r\n")
        assert answer.count(b"data: ") == 4
        await asyncio.wait_for(provider.closed.wait(), 2)
    assert addon.hooks == ["response", "response"]
    assert addon.late == 0
    assert not caplog.records


async def test_http2_client_sees_a_whole_answer_and_goes_on(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    addon, provider = AbortThird(), await upstream(stream_events, tls=True)
    gw = await gateway(addons=[addon], to=provider)
    client = H2Client(await gw.tls("h2"))
    for _ in range(2):
        provider.closed.clear()
        status, body = await client.answer(client.request(body=b"abc"))
        assert (status, body.endswith(LAST)) == (200, True)
        await asyncio.wait_for(provider.closed.wait(), 2)
    assert addon.hooks == ["response", "response"]
    assert not any(isinstance(e, h2.events.StreamReset) for e in client.seen)
    assert not caplog.records


async def test_answer_that_is_not_aborted_is_whole(gateway: Any, upstream: Any) -> None:
    class PassOn:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            if flow.response:
                flow.response.stream = True

    gw = await gateway(addons=[PassOn()], to=await upstream(answer_ok, tls=True))
    reader, writer = await gw.tls("http/1.1")
    for _ in range(2):
        writer.write(CALL)
        assert (await read_answer(reader)).endswith(b"ok")
