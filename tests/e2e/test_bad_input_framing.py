"""Requests that two servers could read in different ways, judged by what the provider received.

Whatever is let through must be one request for a strict and for a lenient parser alike, with the
method, the path and the body that the trace tells.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import h2.events
import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.testing.dataplane import H2Client, read_all
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import LenientOracle, StrictOracle, Understood, ask, post, tunnel
from llmtrace.testing.provider import ScriptedProvider

BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"
PATH = "/v1/chat/completions"
STRICT, LENIENT = "api.openai.com", "api.anthropic.com"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@dataclass
class Rig:
    worker: Worker
    strict: StrictOracle
    lenient: LenientOracle

    def seen(self) -> list[Understood]:
        return self.strict.seen + self.lenient.seen

    def assert_untouched(self) -> None:
        assert (self.seen(), self.strict.errors, self.lenient.errors) == ([], [], [])


@pytest.fixture
async def rig(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Rig]:
    async with StrictOracle().running() as strict:
        with LenientOracle().running() as lenient:
            upstreams = {STRICT: strict.url, LENIENT: lenient.url}
            async with running_worker(
                tmp_path, provider, upstreams=upstreams, limits__body_seconds=0.5
            ) as worker:
                yield Rig(worker, strict, lenient)


def raw(head: str, body: bytes = BODY, host: str = STRICT) -> bytes:
    return head.format(host=host, size=len(body)).replace("\n", "\r\n").encode("latin-1") + body


LENGTH = f"POST {PATH} HTTP/1.1\nHost: {{host}}\nConnection: close\n"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)

REFUSED = {
    "length-and-chunked": raw(
        LENGTH + "Content-Length: {size}\nTransfer-Encoding: chunked\n\n", b"0\r\n\r\n" + HIDDEN
    ),
    "two-lengths": raw(LENGTH + "Content-Length: 5\nContent-Length: {size}\n\n"),
    "two-equal-lengths": raw(LENGTH + "Content-Length: {size}\nContent-Length: {size}\n\n"),
    "xchunked": raw(LENGTH + "Transfer-Encoding: xchunked\n\n", CHUNKED),
    "chunked-then-identity": raw(LENGTH + "Transfer-Encoding: chunked, identity\n\n", CHUNKED),
    "chunked-twice": raw(
        LENGTH + "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n", CHUNKED
    ),
    "vertical-tab-chunked": raw(LENGTH + "Transfer-Encoding: \x0bchunked\n\n", CHUNKED),
    "folded-header": raw(LENGTH + "X-A: b\n Content-Length: 1\nContent-Length: {size}\n\n"),
    "bare-lf": raw(LENGTH + "Content-Length: {size}\n\n").replace(b"\r\n", b"\n"),
    "space-before-colon": raw(LENGTH + "Content-Length : {size}\n\n"),
    "nul-in-header": raw(LENGTH + "X-A: b\0c\nContent-Length: {size}\n\n"),
    "bare-cr": raw(LENGTH + "X-A: b\rTransfer-Encoding: chunked\nContent-Length: {size}\n\n"),
    "two-hosts": raw(LENGTH + "Host: evil.test\nContent-Length: {size}\n\n"),
    "no-host": raw(f"POST {PATH} HTTP/1.1\nContent-Length: {{size}}\n\n"),
    "plus-length": raw(LENGTH + "Content-Length: +{size}\n\n"),
    "hex-length": raw(LENGTH + "Content-Length: 0x10\n\n"),
    "length-with-comma": raw(LENGTH + "Content-Length: {size}, {size}\n\n"),
    "underscore-length": raw(LENGTH + "Content_Length: 1\nContent-Length: {size}\n\n"),
    "chunked-in-1.0": raw(
        f"POST {PATH} HTTP/1.0\nHost: {{host}}\nTransfer-Encoding: chunked\n\n", CHUNKED
    ),
    "userinfo-host": raw(f"POST {PATH} HTTP/1.1\nHost: x@{{host}}\nContent-Length: {{size}}\n\n"),
    "other-host": raw(LENGTH.replace("{host}", "api.anthropic.com") + "Content-Length: {size}\n\n"),
    "bad-chunk-size": raw(LENGTH + "Transfer-Encoding: chunked\n\n", b"zz\r\n" + BODY),
    "negative-chunk": raw(LENGTH + "Transfer-Encoding: chunked\n\n", b"-1\r\n" + BODY),
    "bad-chunk-footer": raw(
        LENGTH + "Transfer-Encoding: chunked\n\n", b"%x\r\n%sXX0\r\n\r\n" % (len(BODY), BODY)
    ),
    "chunk-lf": raw(
        LENGTH + "Transfer-Encoding: chunked\n\n", b"%x\n%s\n0\n\n" % (len(BODY), BODY)
    ),
    "trailers": raw(
        LENGTH + "Transfer-Encoding: chunked\n\n", CHUNKED[:-2] + b"X-LLMTrace-Token: t\r\n\r\n"
    ),
    "two-spaces-in-line": raw(LENGTH.replace(" /", "  /", 1) + "Content-Length: {size}\n\n"),
    "tab-in-line": raw(LENGTH.replace(" /", "\t/", 1) + "Content-Length: {size}\n\n"),
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-0.9": b"GET /v1/models\r\n",
    "version-1.2": raw(LENGTH.replace("1.1", "1.2", 1) + "Content-Length: {size}\n\n"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
async def test_what_can_be_read_in_two_ways_reaches_nobody(rig: Rig, data: bytes) -> None:
    answer = await ask(rig.worker, STRICT, data)
    assert answer.split(b" ")[1] in (b"400", b"403", b"408"), answer[:200]
    rig.assert_untouched()


OFFER = LENGTH.replace("Connection: close", "Connection: Upgrade, close") + (
    "Upgrade: WebSocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n"
)
ACCEPTED = {
    "length": LENGTH + "Content-Length: {size}\n\n",
    "chunked": LENGTH + "Transfer-Encoding: chunked\n\n",
    "chunked-in-capitals": LENGTH + "Transfer-Encoding: CHUNKED\n\n",
    "odd-header-values": LENGTH + "X-A: \t b \xe9\x80 \t\nX-B:\nContent-Length: {size}\n\n",
    "h2c-offer": LENGTH.replace("Connection: close", "Connection: Upgrade, HTTP2-Settings, close")
    + "Upgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\nContent-Length: {size}\n\n",
    "websocket-offer": OFFER + "Content-Length: {size}\n\n",
    "websocket-offer-chunked": OFFER + "Transfer-Encoding: chunked\n\n",
    "websocket-offer-by-get": OFFER.replace("POST", "GET", 1) + "Content-Length: {size}\n\n",
    "host-with-port": LENGTH.replace("{host}", "{host}:443") + "Content-Length: {size}\n\n",
    "length-named-as-hop": LENGTH.replace("close", "close, content-length")
    + "Content-Length: {size}\n\n",
    "te-trailers": LENGTH + "TE: trailers\nContent-Length: {size}\n\n",
    "absolute-form": LENGTH.replace(" /", " https://{host}/", 1) + "Content-Length: {size}\n\n",
    "http-1.0": LENGTH.replace("1.1", "1.0", 1) + "Content-Length: {size}\n\n",
    "blank-lines-before": "\n\n" + LENGTH + "Content-Length: {size}\n\n",
    "expect-continue": LENGTH + "Expect: 100-continue\nContent-Length: {size}\n\n",
}


@pytest.mark.parametrize("host", [STRICT, LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize("head", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_is_let_through_is_the_one_request_of_its_trace(
    rig: Rig, head: str, host: str
) -> None:
    chunks = b"20;ext=1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:32], len(BODY) - 32, BODY[32:])
    data = raw(head, BODY, host)
    if "chunked" in head.lower():
        data = data.removesuffix(BODY) + chunks
    answer = await ask(rig.worker, host, data)
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200", b"HTTP/1.1 100")), answer[:200]
    await _assert_one(rig, host)


async def _assert_one(rig: Rig, host: str) -> None:
    await rig.worker.journal.trace()
    (record,), ((begun, body),) = rig.worker.journal.ended, rig.worker.journal.begun
    assert (record.trace.outcome, begun.host) == (Outcome.OK, host)
    oracle = rig.strict if host == STRICT else rig.lenient
    (seen,) = rig.seen()
    assert (seen.method, seen.target) == (record.trace.method, record.trace.path)
    assert body is not None
    assert seen.body == body.content == BODY
    assert oracle.errors == []
    assert not [name for name, _ in seen.headers if "llmtrace" in name.lower()]


async def test_two_requests_in_one_breath_are_two_calls(rig: Rig) -> None:
    first = post(PATH, BODY).replace(b"Connection: close\r\n", b"")
    answer = await ask(rig.worker, STRICT, first + post(PATH, BODY))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert len(rig.strict.seen) == len(await rig.worker.journal.traces(2)) == 2


# --- HTTP/2, which the provider may be sent as HTTP/1.1 ----------------------------------------


async def over_http2(rig: Rig, host: str, body: bytes, *changes: tuple[str, str]) -> int:
    """Send one request, its headers replaced or added to; return its status, 0 for none."""
    streams = await tunnel(rig.worker, host, "h2")
    client = H2Client(streams)
    client.conn.config.normalize_outbound_headers = False
    stream_id = client.conn.get_next_available_stream_id()
    fields = {":method": "POST", ":scheme": "https", ":path": PATH, ":authority": host}
    more = [field for field in changes if field[0] not in fields]
    fields |= {name: value for name, value in changes if name in fields}
    client.conn.send_headers(stream_id, [*fields.items(), *more], end_stream=not body)
    if body:
        client.conn.send_data(stream_id, body, end_stream=True)
    client.flush()
    try:
        response = await client.until(h2.events.ResponseReceived)
        if response is None:
            return 0
        assert await client.until(h2.events.StreamEnded) is not None
        return int(dict(response.headers or [])[b":status"])
    finally:
        streams[1].transport.abort()


@pytest.mark.parametrize("host", [STRICT, LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize("sized", [True, False], ids=["with-length", "without-length"])
async def test_http2_becomes_one_request_of_http1(rig: Rig, host: str, sized: bool) -> None:
    length = [("content-length", str(len(BODY)))] if sized else []
    assert await over_http2(rig, host, BODY, *length) == 200
    await _assert_one(rig, host)


async def test_a_request_hidden_in_a_body_of_http2_stays_a_body(rig: Rig) -> None:
    changes = ((":path", "/v1/files"), ("content-type", "text/plain"))
    assert await over_http2(rig, STRICT, HIDDEN, *changes) == 200
    (seen,) = rig.seen()
    assert (seen.target, seen.body) == ("/v1/files", HIDDEN)


BAD_HTTP2 = {
    "space-in-path": (":path", PATH + " HTTP/1.1"),
    "tab-in-path": (":path", PATH + "\tx"),
    "path-without-slash": (":path", "v1/models"),
    "absolute-path": (":path", f"https://evil.test{PATH}"),
    "letters-beyond-ascii-in-path": (":path", "/v1/é"),
    "request-in-method": (":method", "GET /hidden HTTP/1.1"),
    "tab-in-method": (":method", "P\tOST"),
    "empty-method": (":method", ""),
    "ftp": (":scheme", "ftp"),
    "authority-with-userinfo": (":authority", "x@api.openai.com"),
    "other-authority": (":authority", "evil.test"),
    "other-host": ("host", "evil.test"),
    "underscore-length": ("content_length", "3"),
    "transfer-encoding": ("transfer-encoding", "chunked"),
    "wrong-length": ("content-length", "3"),
    "odd-length": ("content-length", "+3"),
    "line-in-value": ("x-a", "b\r\nx-b: c"),
    "colon-in-name": ("x:a", "b"),
    "space-in-name": ("x a", "b"),
    "capitals-in-name": ("X-A", "b"),
}


@pytest.mark.parametrize("change", BAD_HTTP2.values(), ids=BAD_HTTP2)
async def test_http2_that_http1_cannot_say_reaches_nobody(
    rig: Rig, change: tuple[str, str]
) -> None:
    assert await over_http2(rig, STRICT, BODY, change) in (0, 400, 403)
    await asyncio.sleep(0.02)
    rig.assert_untouched()


async def test_http2_with_two_lengths_reaches_nobody(rig: Rig) -> None:
    length = ("content-length", str(len(BODY)))
    assert await over_http2(rig, STRICT, BODY, length, length) in (0, 400)
    rig.assert_untouched()


async def test_trailers_of_http2_reach_nobody(rig: Rig) -> None:
    client = H2Client(await tunnel(rig.worker, STRICT, "h2"))
    stream_id = client.conn.get_next_available_stream_id()
    head = [(":method", "POST"), (":scheme", "https"), (":path", PATH), (":authority", STRICT)]
    client.conn.send_headers(stream_id, head)
    client.conn.send_data(stream_id, BODY)
    client.conn.send_headers(stream_id, [("x-llmtrace-tenant-id", "b")], end_stream=True)
    client.flush()
    assert (await client.answer(stream_id))[0] == 400
    rig.assert_untouched()
    client.writer.transport.abort()


async def test_cookies_that_http2_splits_are_one_header_for_http1(rig: Rig) -> None:
    await over_http2(rig, STRICT, BODY, ("cookie", "a=1"), ("cookie", "b=2"))
    (seen,) = rig.seen()
    assert seen.values("cookie") == ["a=1; b=2"]


# --- plain HTTP and what is no HTTP at all -----------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x05\x01\x00", id="socks5"),
        pytest.param(b"\x04\x01\x01\xbb\x7f\x00\x00\x01\x00", id="socks4"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http2-preface"),
        pytest.param(b"GET /\r\n", id="http-0.9"),
        pytest.param(b"\x00\x01\x02\x03" * 64, id="binary"),
        pytest.param(b"SSH-2.0-x\r\n", id="ssh"),
        pytest.param(b"GET " + b"a" * 70_000, id="endless-line"),
    ],
)
async def test_what_is_no_http_is_closed(
    rig: Rig, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.worker.forward)
    writer.write(data)
    async with asyncio.timeout(5):
        await read_all(reader)
    writer.close()
    rig.assert_untouched()
    assert "crashed" not in caplog.text
