"""HTTP/2 as RFC 9113 forbids it, frame by frame: a clean end, and no harm to anybody else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from h2.errors import ErrorCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from llmtrace.addons.connections import Streams
from llmtrace.testing.dataplane import H2Client
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import tunnel
from llmtrace.testing.provider import ScriptedProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "api.openai.com"
PATH = "/v1/chat/completions"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
REQUEST = (
    (":method", "POST"),
    (":scheme", "https"),
    (":path", PATH),
    (":authority", HOST),
    ("content-type", "application/json"),
)
MIB = 1 << 20

type Fields = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Worker]:
    folder = tmp_path_factory.mktemp("http2")
    async with running_worker(folder, provider) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def worker(shared: Worker, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Worker]:
    """A worker that serves one well-behaved connection before, and the same one afterwards."""
    shared.provider.clear()
    shared.journal.begun.clear()
    shared.journal.ended.clear()
    neighbour = H2Client(await tunnel(shared, HOST, "h2"))
    assert (await neighbour.answer(neighbour.request(body=BODY, path=PATH)))[0] == 200
    shared.provider.clear()
    yield shared
    assert (await neighbour.answer(neighbour.request(body=BODY, path=PATH)))[0] == 200
    neighbour.writer.transport.abort()
    await shared.journal.traces(len(shared.journal.begun))
    assert "crashed" not in caplog.text
    assert "Traceback" not in caplog.text


class Raw:
    """An HTTP/2 client that sends the frames it is told to, and notes those that come."""

    def __init__(self, streams: Streams) -> None:
        self.reader, self.writer = streams
        self.frames: list[Frame] = []
        self.closed = False
        self._buffer = b""

    @classmethod
    async def open(cls, worker: Worker, settings: dict[int, int] | None = None) -> "Raw":
        raw = cls(await tunnel(worker, HOST, "h2"))
        raw.writer.write(PREFACE)
        raw.send(SettingsFrame(0, settings=settings or {}))
        return raw

    def send(self, *frames: Frame | bytes) -> None:
        data = b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames)
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)

    async def read(
        self, seconds: float = 5.0, *, until: Callable[[], object] | None = None
    ) -> None:
        """Read until the connection ends, or until something ends a stream."""
        done = until or self.over
        async with asyncio.timeout(seconds):
            while not self.closed and not done():
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = await self.reader.read(65536)
                self._buffer += data
                self.closed = not data
                self._parse()

    def _parse(self) -> None:
        while len(self._buffer) >= 9:
            frame, size = Frame.parse_frame_header(memoryview(self._buffer[:9]))
            if len(self._buffer) < 9 + size:
                return
            frame.parse_body(memoryview(self._buffer[9 : 9 + size]))
            self.frames.append(frame)
            self._buffer = self._buffer[9 + size :]

    def over(self) -> bool:
        ends = (GoAwayFrame, RstStreamFrame)
        return any(isinstance(f, ends) or "END_STREAM" in f.flags for f in self.frames)

    def codes(self) -> set[int]:
        """The error codes that streams or the connection were ended with."""
        ends = [f for f in self.frames if isinstance(f, GoAwayFrame | RstStreamFrame)]
        return {frame.error_code for frame in ends}

    def statuses(self) -> int:
        """How many answers began."""
        return sum(isinstance(frame, HeadersFrame) for frame in self.frames)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def data(stream: int, content: bytes = BODY, *flags: str) -> DataFrame:
    return DataFrame(stream, data=content, flags=flags)


def broken(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """Write a frame that no library would."""
    return (
        len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content
    )


def block(fields: Fields = REQUEST) -> bytes:
    """Compress a head, as the first or as a later one of its connection."""
    return bytes(Encoder().encode(fields))


def head(stream: int, fields: Fields = REQUEST, *flags: str) -> HeadersFrame:
    return HeadersFrame(stream, data=block(fields), flags=("END_HEADERS", *flags))


HEAD = block()
HALF = HeadersFrame(1, data=HEAD[: len(HEAD) // 2])
REST = ContinuationFrame(1, data=HEAD[len(HEAD) // 2 :], flags=("END_HEADERS",))
PING = PingFrame(0, opaque_data=b"12345678")

FRAMES: dict[str, list[Frame | bytes]] = {
    "data-on-an-idle-stream": [data(1)],
    "reset-of-an-idle-stream": [RstStreamFrame(1, error_code=8)],
    "window-of-an-idle-stream": [WindowUpdateFrame(1, window_increment=1)],
    "even-stream": [head(2)],
    "stream-0": [broken(1, 4, 0, HEAD)],
    "data-on-stream-0": [broken(0, 1, 0, BODY)],
    "push-from-a-client": [
        PushPromiseFrame(1, promised_stream_id=2, data=HEAD, flags=("END_HEADERS",))
    ],
    "continuation-of-nothing": [ContinuationFrame(1, data=HEAD, flags=("END_HEADERS",))],
    "data-between-pieces-of-a-head": [HALF, data(1), REST],
    "ping-between-pieces-of-a-head": [HALF, PING, REST],
    "other-head-between-pieces": [HALF, head(3, REQUEST, "END_STREAM"), REST],
    "continuation-of-another-stream": [HALF, ContinuationFrame(3, data=HEAD), REST],
    "frame-over-its-size": [head(1), broken(0, 1, 1, bytes(200_000))],
    "padding-over-the-frame": [head(1), broken(0, 9, 1, b"\xff" + b"x" * 10)],
    "window-of-0": [head(1), broken(8, 0, 1, bytes(4))],
    "window-over-2-31": [head(1), broken(8, 0, 1, b"\x7f\xff\xff\xff")],
    "window-of-the-connection-over-2-31": [broken(8, 0, 0, b"\x7f\xff\xff\xff")],
    "initial-window-over-2-31": [broken(4, 0, 0, b"\x00\x04\xff\xff\xff\xff")],
    "frame-size-under-16384": [broken(4, 0, 0, b"\x00\x05\x00\x00\x00\x01")],
    "settings-of-7-bytes": [broken(4, 0, 0, b"1234567")],
    "settings-on-a-stream": [broken(4, 0, 1, b"")],
    "settings-acknowledged-with-content": [broken(4, 1, 0, b"123456")],
    "ping-of-7-bytes": [broken(6, 0, 0, b"1234567")],
    "ping-on-a-stream": [broken(6, 0, 1, b"12345678")],
    "no-header-table-index": [broken(1, 5, 1, b"\xff\xff\xff\xff\x0f")],
    "head-cut": [broken(1, 5, 1, HEAD[:-3])],
    "table-size-over-what-is-allowed": [broken(1, 5, 1, b"\x3f\xe1\xff\x03" + HEAD)],
    "endless-head": [HeadersFrame(1, data=HEAD), *[ContinuationFrame(1, data=b"")] * 5_000],
    "long-head-in-pieces": [HeadersFrame(1, data=HEAD), *[ContinuationFrame(1, data=HEAD)] * 500],
    "header-list-over-64-kib": [head(1, [*REQUEST, *[("x-a", "b" * 4_000)] * 20])],
    "header-bomb": [head(1, [*REQUEST, *[("x-a", "b" * 3_900)] * 4_000])],
    "second-head-without-end": [head(1), data(1, b"x"), head(1, [("x-a", "b")])],
    "data-behind-the-end": [head(1, [*REQUEST, ("content-length", "3")]), data(1, b"abcd")],
    "preface-of-http1": [b"GET / HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"],
    "garbage": [b"\xff" * 500],
}


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
async def test_frames_that_must_not_be_are_answered_with_an_error(
    worker: Worker, frames: list[Frame | bytes]
) -> None:
    raw, before = await Raw.open(worker), resident()
    raw.send(*frames)
    await raw.read()
    assert raw.closed or (raw.codes() and ErrorCodes.NO_ERROR not in raw.codes())
    assert worker.provider.calls == []
    assert resident() - before < 50 * MIB
    raw.writer.transport.abort()


def changed(**fields: str | None) -> list[tuple[str, str]]:
    """Return the request's fields with some of the pseudo-headers changed, or left out."""
    said = {f":{name}": value for name, value in fields.items()}
    return [(n, v) for n, old in REQUEST if (v := said.get(n, old)) is not None]


HEADS: dict[str, Fields] = {
    "pseudo-header-behind-others": [*REQUEST[:2], ("x-a", "b"), *REQUEST[2:]],
    "two-paths": [(":path", "/v1/models"), *REQUEST],
    "two-methods": [(":method", "GET"), *REQUEST],
    "two-schemes": [(":scheme", "http"), *REQUEST],
    "two-authorities": [(":authority", "evil.test"), *REQUEST],
    "no-path": changed(path=None),
    "no-method": changed(method=None),
    "no-scheme": changed(scheme=None),
    "empty-path": changed(path=""),
    "empty-method": changed(method=""),
    "empty-authority": changed(authority=""),
    "unknown-pseudo-header": [(":foo", "bar"), *REQUEST],
    "status-in-a-request": [(":status", "200"), *REQUEST],
    "capitals": [*REQUEST, ("X-A", "b")],
    "empty-name": [*REQUEST, ("", "b")],
    "connection": [*REQUEST, ("connection", "x-a")],
    "keep-alive": [*REQUEST, ("keep-alive", "1")],
    "proxy-connection": [*REQUEST, ("proxy-connection", "keep-alive")],
    "upgrade": [*REQUEST, ("upgrade", "websocket")],
    "te-other-than-trailers": [*REQUEST, ("te", "gzip")],
    "transfer-encoding": [*REQUEST, ("transfer-encoding", "chunked")],
    "nul-in-a-value": [*REQUEST, ("x-a", "b\0c")],
    "blank-around-a-value": [*REQUEST, ("x-a", " b ")],
    "two-lengths": [*REQUEST, ("content-length", "62"), ("content-length", "63")],
    "length-too-short": [*REQUEST, ("content-length", "3")],
    "length-too-long": [*REQUEST, ("content-length", "500")],
    "200-headers-too-many": [*REQUEST, *[("x-a", "b")] * 200],
}


@pytest.mark.parametrize("fields", HEADS.values(), ids=HEADS)
async def test_heads_that_must_not_be_reach_nobody(worker: Worker, fields: Fields) -> None:
    raw = await Raw.open(worker)
    raw.send(head(1, fields), data(1, BODY, "END_STREAM"))
    await raw.read()
    assert raw.closed or raw.over()
    assert worker.provider.calls == []
    raw.writer.transport.abort()


@pytest.mark.parametrize(
    "trailers",
    [[(":path", "/v1/models")], [("x-a", "b")], [("X-A", "b")], [("content-length", "3")]],
    ids=["pseudo-header", "plain", "capitals", "length"],
)
async def test_trailers_reach_nobody(worker: Worker, trailers: Fields) -> None:
    raw = await Raw.open(worker)
    raw.send(head(1), data(1), head(1, trailers, "END_STREAM"))
    await raw.read()
    assert worker.provider.calls == []
    raw.writer.transport.abort()


CLOSED: dict[str, list[Frame]] = {
    "data": [data(1, b"x")],
    "head": [head(1, REQUEST, "END_STREAM")],
    "older-stream": [head(3, REQUEST, "END_STREAM"), head(1, REQUEST, "END_STREAM")],
}


@pytest.mark.parametrize("frames", CLOSED.values(), ids=CLOSED)
async def test_a_stream_that_has_ended_is_not_begun_again(
    worker: Worker, frames: list[Frame]
) -> None:
    raw = await Raw.open(worker)
    raw.send(head(1), data(1, BODY, "END_STREAM"))
    await raw.read()
    raw.frames.clear()
    raw.send(*frames)
    with contextlib.suppress(TimeoutError):
        await raw.read(1.0)
    assert len([c for c in worker.provider.calls if c.body == BODY]) == 1
    raw.writer.transport.abort()


FLOODS: dict[str, tuple[list[Frame | bytes], int]] = {
    "settings": ([SettingsFrame(0, settings={4: 70_000})], 7_000),
    "settings-acknowledged": ([SettingsFrame(0, flags=("ACK",))], 7_000),
    "pings": ([PING], 7_000),
    "unknown-frames": ([broken(0xBB, 0, 0, b"")], 7_000),
    "priorities": ([broken(2, 0, 1, bytes(4) + b"\x10")], 7_000),
    "empty-data": ([data(1, b"")], 20_000),
}


@pytest.mark.parametrize(("frames", "count"), FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_frames_that_say_nothing_ends_the_connection(
    worker: Worker, frames: list[Frame | bytes], count: int
) -> None:
    raw, before = await Raw.open(worker), resident()
    if isinstance(frames[0], DataFrame):
        raw.send(head(1))
    for _ in range(10):
        raw.send(
            b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames) * (count // 10)
        )
        await asyncio.sleep(0)
    await raw.read(10.0)
    assert raw.closed or ErrorCodes.ENHANCE_YOUR_CALM in raw.codes()
    assert resident() - before < 50 * MIB
    assert worker.provider.calls == []
    raw.writer.transport.abort()


async def test_rapid_reset_costs_no_call_that_does_not_end(worker: Worker) -> None:
    raw = await Raw.open(worker)
    for number in range(500):
        stream = 2 * number + 1
        raw.send(
            head(stream), data(stream, BODY, "END_STREAM"), RstStreamFrame(stream, error_code=8)
        )
    async with asyncio.timeout(10):
        while not raw.closed:
            raw.frames.clear()
            await raw.read()
            if ErrorCodes.ENHANCE_YOUR_CALM in raw.codes():
                break
    assert ErrorCodes.ENHANCE_YOUR_CALM in raw.codes()
    assert len(worker.provider.calls) <= 100
    raw.writer.transport.abort()


async def test_a_body_of_single_bytes_is_one_body(worker: Worker) -> None:
    raw = await Raw.open(worker)
    raw.send(head(1), *[data(1, BODY[n : n + 1]) for n in range(len(BODY))])
    raw.send(data(1, b"", "END_STREAM"))
    await raw.read()
    assert raw.statuses() == 1
    assert [call.body for call in worker.provider.calls] == [BODY]
    raw.writer.transport.abort()


async def test_a_window_of_nothing_holds_an_answer_and_nothing_else(worker: Worker) -> None:
    raw = await Raw.open(worker, {SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    raw.send(head(1), data(1, BODY, "END_STREAM"))
    await raw.read(until=raw.statuses)
    with contextlib.suppress(TimeoutError):
        await raw.read(0.1)
    assert not any(isinstance(f, DataFrame) and f.data for f in raw.frames)
    raw.send(WindowUpdateFrame(1, window_increment=1 << 20))
    await raw.read()
    assert b"choices" in b"".join(f.data for f in raw.frames if isinstance(f, DataFrame))
    raw.writer.transport.abort()
