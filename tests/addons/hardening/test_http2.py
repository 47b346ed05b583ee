import asyncio
import json
from typing import Any

import h2.events
import pytest
from h2.errors import ErrorCodes
from mitmproxy import http

from llmtrace.addons.hardening import http2
from llmtrace.addons.hardening.http2 import Rate
from llmtrace.addons.limits import Limits
from llmtrace.testing.dataplane import Gateway, H2Client, Upstream


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


async def h2_client(gw: Gateway) -> H2Client:
    return H2Client(await gw.tls("h2"))


async def test_many_streams_run_side_by_side(gateway: Any, upstream: Any) -> None:
    everyone = asyncio.Barrier(30)

    async def together(writer: asyncio.StreamWriter, _head: bytes, body: bytes) -> None:
        await everyone.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    gw = await gateway(to=await upstream(together, tls=True))
    client = await h2_client(gw)
    streams = [client.request(body=b"%d" % n) for n in range(30)]
    async with asyncio.timeout(10):
        ended = [await client.until(h2.events.StreamEnded) for _ in streams]
    assert {e.stream_id for e in ended if e} == set(streams)


async def test_rapid_reset_ends_with_goaway_before_it_costs_anything(
    gateway: Any, upstream: Any
) -> None:
    provider: Upstream = await upstream(tls=True)
    seen = Seen()
    gw = await gateway(addons=[seen], to=provider)
    client = await h2_client(gw)
    for _ in range(1500):
        stream_id = client.conn.get_next_available_stream_id()
        client.conn.send_headers(
            stream_id,
            [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "x")],
            end_stream=True,
        )
        client.conn.reset_stream(stream_id, ErrorCodes.CANCEL)
    client.flush()
    goaway = await client.until(h2.events.ConnectionTerminated)
    assert goaway
    assert goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert gw.counts["h2_resets_per_minute"] == 1
    assert seen.headers <= 100
    assert provider.requests == []


async def test_streams_cancelled_at_once_cost_no_request(gateway: Any, upstream: Any) -> None:
    provider, seen = await upstream(tls=True), Seen()
    gw = await gateway(addons=[seen], to=provider)
    client = await h2_client(gw)
    for _ in range(50):
        stream_id = client.conn.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "x")]
        client.conn.send_headers(stream_id, head)
        client.conn.send_data(stream_id, b"abc")
        client.conn.reset_stream(stream_id, ErrorCodes.CANCEL)
    client.flush()
    kept = client.request(body=b"kept")
    assert await client.answer(kept) == (200, b"ok")
    assert seen.headers == 1
    assert len(provider.requests) == 1


async def test_ping_flood_ends_with_goaway(gateway: Any) -> None:
    gw = await gateway(limits=Limits(h2_control_frames_per_minute=50))
    client = await h2_client(gw)
    for _ in range(60):
        client.conn.ping(b"12345678")
    client.flush()
    goaway = await client.until(h2.events.ConnectionTerminated)
    assert goaway
    assert goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert gw.counts == {"h2_control_frames_per_minute": 1}


async def test_concurrent_streams_are_bounded(gateway: Any) -> None:
    class Hold:
        async def request(self, flow: http.HTTPFlow) -> None:
            await asyncio.Event().wait()

    gw = await gateway(addons=[Hold()], limits=Limits(h2_streams=5))
    client = await h2_client(gw)
    assert await client.until(h2.events.RemoteSettingsChanged)
    assert client.conn.remote_settings.max_concurrent_streams == 5
    client.conn.remote_settings.max_concurrent_streams = 100
    client.conn.remote_settings.acknowledge()
    for _ in range(6):
        client.request()
    assert await client.until(h2.events.ConnectionTerminated)


@pytest.mark.parametrize("extra", [(), (("content-length", "400000"),)], ids=["sent", "declared"])
async def test_body_over_the_limit_is_413_for_its_stream_alone(
    gateway: Any, upstream: Any, extra: tuple[tuple[str, str], ...]
) -> None:
    provider, seen = await upstream(tls=True), Seen()
    gw = await gateway(addons=[seen], limits=Limits(body_bytes=30_000), to=provider)
    client = await h2_client(gw)
    head = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "x"), *extra]
    stream_id = client.conn.get_next_available_stream_id()
    client.conn.send_headers(stream_id, head)
    if not extra:
        for _ in range(4):
            client.conn.send_data(stream_id, b"a" * 10_000)
    client.flush()
    status, body = await client.answer(stream_id)
    assert status == 413
    assert json.loads(body)["error"]["code"] == "llmtrace_body_bytes"
    assert (provider.requests, seen.requests, len(seen.errors)) == ([], [], 1)
    assert await client.answer(client.request(body=b"abc")) == (200, b"ok")
    assert gw.counts == {"body_bytes": 1}


async def test_who_still_sends_what_is_refused_is_reset_after_the_answer(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "LINGER_SECONDS", 60.0)
    limits = Limits(body_bytes=30_000, body_seconds=0.05)  # the second: how soon it is looked at
    gw = await gateway(limits=limits)
    client = await h2_client(gw)
    head = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "x")]
    client.conn.send_headers(1, [*head, ("content-length", "400000")])
    client.flush()
    assert (await client.answer(1))[0] == 413
    client.conn.send_data(1, b"a" * 10_000)  # is dropped
    client.flush()
    await asyncio.sleep(0.15)
    client.conn.ping(b"all read")
    client.flush()
    assert await client.until(h2.events.PingAckReceived)
    assert not any(isinstance(event, h2.events.StreamReset) for event in client.seen)
    monkeypatch.setattr(http2, "LINGER_SECONDS", 0.0)
    reset = await client.until(h2.events.StreamReset)
    assert reset
    assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.NO_ERROR)
    assert gw.counts == {"body_bytes": 1}


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_ends_what_is_refused_is_not_reset(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    monkeypatch.setattr(http2, "LINGER_SECONDS", 60.0)
    limits = Limits(body_bytes=30_000, body_seconds=0.05)  # the second: how soon it is looked at
    gw = await gateway(limits=limits, to=await upstream(tls=True))
    client = await h2_client(gw)
    head = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "x")]
    client.conn.send_headers(1, head)
    for _ in range(4):
        client.conn.send_data(1, b"a" * 10_000)
    client.flush()
    assert (await client.answer(1))[0] == 413
    if leaves:
        client.conn.reset_stream(1, ErrorCodes.CANCEL)
    else:
        client.conn.end_stream(1)
    assert await client.answer(client.request(body=b"abc")) == (200, b"ok")
    monkeypatch.setattr(http2, "LINGER_SECONDS", 0.0)
    await asyncio.sleep(0.1)
    assert await client.answer(client.request(body=b"abc")) == (200, b"ok")
    assert not any(isinstance(event, h2.events.StreamReset) for event in client.seen)


async def test_slow_body_is_408(gateway: Any) -> None:
    gw = await gateway(limits=Limits(body_seconds=0.05))
    client = await h2_client(gw)
    head = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "x")]
    client.conn.send_headers(1, head)
    client.conn.send_data(1, b"a")
    client.flush()
    assert (await client.answer(1))[0] == 408
    assert gw.counts == {"body_seconds": 1}


async def test_too_many_headers_are_431(gateway: Any, upstream: Any) -> None:
    gw = await gateway(limits=Limits(header_count=10), to=await upstream(tls=True))
    client = await h2_client(gw)
    status, _ = await client.answer(client.request(*[(f"x-{n}", "1") for n in range(10)]))
    assert status == 431
    assert await client.answer(client.request()) == (200, b"ok")


async def test_header_list_over_64_kib_ends_the_connection(gateway: Any) -> None:
    gw = await gateway()
    client = await h2_client(gw)
    client.request(*[(f"x-{n}", "a" * 8000) for n in range(12)])
    assert await client.until(h2.events.ConnectionTerminated)


async def test_websocket_over_http2_is_sent_back_to_http1_at_once(
    gateway: Any, upstream: Any
) -> None:
    seen = Seen()
    gw = await gateway(addons=[seen], to=await upstream(tls=True))
    client = await h2_client(gw)
    head = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/v1/responses"),
        (":authority", "x"),
    ]
    stream_id = client.conn.get_next_available_stream_id()
    client.conn.send_headers(stream_id, head)
    client.flush()
    reset = await client.until(h2.events.StreamReset)
    assert reset
    assert reset.error_code == ErrorCodes.HTTP_1_1_REQUIRED
    assert seen.headers == 0
    assert await client.answer(client.request()) == (200, b"ok")


async def test_client_that_does_not_read_is_cut_off(gateway: Any, upstream: Any) -> None:
    async def endless(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            writer.write(b"2710\r\n" + b"a" * 10_000 + b"\r\n")
            await writer.drain()

    class Stream:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            if flow.response:
                flow.response.stream = True

    seen = Seen()
    gw = await gateway(
        addons=[Stream(), seen],
        limits=Limits(h2_unsent_bytes=200_000),
        to=await upstream(endless, tls=True),
    )
    client = await h2_client(gw)
    client.request()
    reset = await client.until(h2.events.StreamReset)
    assert reset
    assert gw.counts == {"h2_unsent_bytes": 1}
    assert len(seen.errors) == 1


def test_rate_forgets_what_is_over_a_minute_old() -> None:
    rate = Rate(2)
    assert [rate.exceeded(t) for t in (0.0, 1.0, 61.0, 62.0, 63.0)] == [
        False,
        False,
        False,
        False,
        True,
    ]
