import asyncio
import json
from typing import Any

import pytest
from mitmproxy import http

from llmtrace.addons.limits import Limits
from llmtrace.testing.dataplane import PROVIDER, answer_ok, read_all, read_answer

REVERSE = (f"reverse:http://{PROVIDER}:80",)
HEAD = f"POST /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\n".encode()


def call(*headers: bytes, body: bytes = b"", close: bool = True) -> bytes:
    lines = [*headers, b"Connection: close"] if close else headers
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


class Seen:
    def __init__(self) -> None:
        self.headers = 0
        self.requests: list[bytes] = []
        self.errors: list[str] = []

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.headers += 1

    def request(self, flow: http.HTTPFlow) -> None:
        self.requests.append(flow.request.raw_content or b"")

    def error(self, flow: http.HTTPFlow) -> None:
        self.errors.append(flow.error.msg if flow.error else "")


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            call(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), id="cl+te"
        ),
        pytest.param(call(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"), id="two-cl"),
        pytest.param(call(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), id="te-xchunked"),
        pytest.param(call(b"X: a", b" folded"), id="obs-fold"),
        pytest.param(call().replace(b"\r\n", b"\n"), id="bare-lf"),
        pytest.param(call(b"Content-Length : 5", body=b"hello"), id="space-before-colon"),
        pytest.param(call(b"X: a\x00b"), id="nul"),
        pytest.param(call(b"X: a\rb"), id="bare-cr"),
        pytest.param(call(b"Host: evil.test"), id="two-hosts"),
        pytest.param(call(b"Content-Length: +5", body=b"hello"), id="cl-plus"),
        pytest.param(
            call(b"Transfer-Encoding: chunked", body=b"3\r\nabcXX0\r\n\r\n"), id="chunk-footer"
        ),
        pytest.param(
            call(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"),
            id="trailers",
        ),
        pytest.param(
            call(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n").replace(b"1.1", b"1.0"),
            id="http-1.0-te",
        ),
        pytest.param(
            call().replace(b"POST /v1", b"POST http://u@api.openai.com/v1"), id="userinfo"
        ),
        pytest.param(call().replace(b"POST /v1", b"POST http://evil.test/v1"), id="host-mismatch"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="h2-preface"),
        pytest.param(b"GET /\r\n", id="http-0.9"),
        pytest.param(b"\x05\x01\x00", id="socks5"),
    ],
)
async def test_ambiguous_request_is_400_and_never_forwarded(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    provider, seen = await upstream(), Seen()
    gw = await gateway(addons=[seen], modes=REVERSE, to=provider)
    assert status_of(await gw.ask(data)) == 400
    assert provider.requests == []
    assert seen.requests == []
    assert gw.counts == {"malformed_request": 1}
    assert not caplog.records


@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(
            call(b"Transfer-Encoding: chunked", body=b"3;ext=1\r\nabc\r\n0\r\n\r\n"),
            b"abc",
            id="chunk-extension",
        ),
        pytest.param(
            call(
                b"Upgrade: h2c",
                b"HTTP2-Settings: AAMAAABkAAQAAP__",
                b"Content-Length: 3",
                body=b"abc",
            ),
            b"abc",
            id="h2c-offer",
        ),
        pytest.param(
            b"\r\n\r\n" + call(b"Content-Length: 3", body=b"abc"), b"abc", id="blank-lines"
        ),
    ],
)
async def test_unambiguous_request_is_forwarded(
    gateway: Any, upstream: Any, data: bytes, body: bytes
) -> None:
    provider, seen = await upstream(), Seen()
    gw = await gateway(addons=[seen], modes=REVERSE, to=provider)
    reader, writer = await gw.connect()
    writer.write(data)
    assert status_of(await read_answer(reader)) == 200
    assert seen.requests == [body]
    assert b"h2c" not in provider.requests[0][0]
    writer.close()


async def test_long_head_is_431(gateway: Any) -> None:
    gw = await gateway(modes=REVERSE, limits=Limits(head_bytes=1000))
    answer = await gw.ask(call(b"X: " + b"a" * 2000))
    assert status_of(answer) == 431
    assert gw.counts == {"head_bytes": 1}


async def test_declared_body_over_the_limit_is_413_before_it_is_read(
    gateway: Any, upstream: Any
) -> None:
    provider, seen = await upstream(), Seen()
    gw = await gateway(addons=[seen], modes=REVERSE, limits=Limits(body_bytes=10), to=provider)
    reader, writer = await gw.connect()
    writer.write(call(b"Content-Length: 11"))
    answer = await read_answer(reader)
    assert status_of(answer) == 413
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "llmtrace_body_bytes"
    assert (provider.requests, seen.headers, len(seen.errors)) == ([], 1, 1)
    assert gw.counts == {"body_bytes": 1}
    writer.close()


async def test_chunked_body_over_the_limit_is_413_while_the_client_still_sends(
    gateway: Any, upstream: Any
) -> None:
    provider, seen = await upstream(), Seen()
    gw = await gateway(addons=[seen], modes=REVERSE, limits=Limits(body_bytes=100_000), to=provider)
    reader, writer = await gw.connect()
    writer.write(call(b"Transfer-Encoding: chunked"))
    for _ in range(40):
        writer.write(b"2710\r\n" + b"a" * 10_000 + b"\r\n")
    assert status_of(await read_answer(reader)) == 413
    assert (provider.requests, seen.requests, len(seen.errors)) == ([], [], 1)
    writer.write(b"2710\r\n" + b"a" * 10_000 + b"\r\n")
    await asyncio.sleep(0.1)
    closed = reader.at_eof() or writer.transport.is_closing()
    assert not closed, "closed while the client still sends: a reset may eat the answer"
    assert await asyncio.wait_for(read_all(reader), 5) == b""
    writer.close()


async def test_body_limit_may_depend_on_the_request(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gw = await gateway(modes=REVERSE, limits=Limits(body_bytes=1), to=await upstream())
    gw.master._guards.body_limit = lambda request: 100 if request.path == "/v1/x" else 1
    reader, writer = await gw.connect()
    writer.write(call(b"Content-Length: 3", body=b"abc"))
    assert status_of(await read_answer(reader)) == 200
    writer.close()


@pytest.mark.parametrize(
    ("data", "met"),
    [
        pytest.param(HEAD, "head_seconds", id="head"),
        pytest.param(b"P", "head_seconds", id="first-byte"),
        pytest.param(call(b"Content-Length: 9", body=b"abc"), "body_seconds", id="body"),
        pytest.param(
            call(b"Transfer-Encoding: chunked", body=b"3\r\nab"), "body_seconds", id="chunk"
        ),
    ],
)
async def test_slow_request_is_408(gateway: Any, data: bytes, met: str) -> None:
    limits = Limits(head_seconds=0.05, body_seconds=0.05)
    gw = await gateway(modes=REVERSE, limits=limits)
    assert status_of(await gw.ask(data)) == 408
    assert gw.counts == {met: 1}


async def test_body_that_keeps_the_rate_is_not_cut(gateway: Any, upstream: Any) -> None:
    limits = Limits(head_seconds=0.02, body_seconds=0.02, body_bytes_per_second=1)
    gw = await gateway(modes=REVERSE, limits=limits, to=await upstream())
    reader, writer = await gw.connect()
    writer.write(call(b"Content-Length: 9", body=b"abc"))
    await asyncio.sleep(0.1)
    writer.write(b"defghi")
    assert status_of(await read_answer(reader)) == 200
    writer.close()


async def test_idle_connection_is_not_a_slow_one(gateway: Any, upstream: Any) -> None:
    gw = await gateway(modes=REVERSE, limits=Limits(head_seconds=0.02), to=await upstream())
    reader, writer = await gw.connect()
    for _ in range(2):
        await asyncio.sleep(0.06)
        writer.write(call(b"Content-Length: 0", close=False))
        assert status_of(await read_answer(reader)) == 200
    writer.close()


async def test_bytes_sent_ahead_are_bounded(gateway: Any, upstream: Any) -> None:
    async def never(_writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        await asyncio.Event().wait()

    gw = await gateway(
        modes=REVERSE, limits=Limits(pipelined_bytes=50_000), to=await upstream(never)
    )
    reader, writer = await gw.connect()
    writer.write(call(b"Content-Length: 0", close=False) + b"G" * 200_000)
    assert await asyncio.wait_for(read_all(reader), 5) == b""
    assert gw.counts == {"pipelined_bytes": 1}
    writer.close()


async def test_pipelined_requests_are_answered_in_order(gateway: Any, upstream: Any) -> None:
    provider = await upstream()
    gw = await gateway(modes=REVERSE, to=provider)
    reader, writer = await gw.connect()
    writer.write(call(b"Content-Length: 1", body=b"1", close=False) * 3)
    for _ in range(3):
        assert status_of(await read_answer(reader)) == 200
    writer.close()


@pytest.mark.parametrize(
    ("answer", "met"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 400_000, "response_head_bytes", id="head"),
        pytest.param(b"HTTP/1.1 103 Early\r\n\r\n" * 40, "interim_responses", id="interim"),
    ],
)
async def test_endless_answer_head_is_502(
    gateway: Any, upstream: Any, answer: bytes, met: str
) -> None:
    async def flood(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(answer)

    gw = await gateway(modes=REVERSE, to=await upstream(flood))
    assert status_of(await gw.ask(call(b"Content-Length: 0"))) == 502
    assert gw.counts == {met: 1}


async def test_interim_answers_are_skipped(gateway: Any, upstream: Any) -> None:
    async def hint(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await answer_ok(writer, head, body)

    gw = await gateway(modes=REVERSE, to=await upstream(hint))
    reader, writer = await gw.connect()
    for _ in range(2):
        writer.write(call(b"Content-Length: 0", close=False))
        assert (await read_answer(reader)).endswith(b"\r\n\r\nok")
    writer.close()


async def test_trailers_of_an_answer_are_left_out(gateway: Any, upstream: Any) -> None:
    async def trail(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")

    gw = await gateway(modes=REVERSE, to=await upstream(trail))
    reader, writer = await gw.connect()
    for _ in range(2):
        writer.write(call(b"Content-Length: 0", close=False))
        assert (await read_answer(reader)).endswith(b"ok\r\n0\r\n\r\n")
    writer.close()


async def test_client_that_leaves_in_mid_body_is_an_error_not_a_crash(
    gateway: Any, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    gw = await gateway(addons=[seen], modes=REVERSE, to=await upstream())
    _, writer = await gw.connect()
    writer.write(call(b"Content-Length: 9", body=b"abc"))
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(0.1)
    assert len(seen.errors) == 1
    assert not caplog.records
