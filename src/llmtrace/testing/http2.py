"""HTTP/2 of the scripted provider, by h2: each stream is answered by a task of its own."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from llmtrace.testing.http1 import Stream
from llmtrace.testing.misbehaving import WIRE_MODES
from llmtrace.testing.serving import MAX_BODY, Call, Desk, Left, play

_WINDOW_TICK: Final = 0.05


@dataclass(slots=True)
class _Incoming:
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)


class Http2Connection:
    """Serves one connection's streams side by side."""

    def __init__(self, stream: Stream, desk: Desk, connection: int, sni: str) -> None:
        self._stream = stream
        self._desk = desk
        self._connection = connection
        self._sni = sni
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._incoming: dict[int, _Incoming] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._reset: set[int] = set()
        self._window = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client leaves."""
        self._h2.initiate_connection()
        try:
            await self._flush()
            while data := await self._stream.read():
                for event in self._h2.receive_data(data):
                    self._handle(event)
                await self._flush()
        except (ProtocolError, ConnectionError):
            await self._flush()
        finally:
            for task in list(self._tasks.values()):
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _flush(self) -> None:
        if not self._stream.writer.transport.is_closing():
            await self._stream.write(self._h2.data_to_send())

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            headers = [(_text(name), _text(value)) for name, value in event.headers]
            self._incoming[event.stream_id] = _Incoming(headers)
        elif isinstance(event, DataReceived):
            self._receive(event)
        elif isinstance(event, StreamEnded):
            incoming = self._incoming.pop(event.stream_id, None)
            if incoming is not None:
                self._start(event.stream_id, incoming)
        elif isinstance(event, StreamReset):
            self._incoming.pop(event.stream_id, None)
            self._reset.add(event.stream_id)
        elif isinstance(event, WindowUpdated):
            self._window.set()

    def _receive(self, event: DataReceived) -> None:
        incoming = self._incoming.get(event.stream_id)
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if incoming is None:
            return
        incoming.body += event.data
        if len(incoming.body) > MAX_BODY:
            del self._incoming[event.stream_id]
            self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)

    def _start(self, stream_id: int, incoming: _Incoming) -> None:
        pseudo = {name: value for name, value in incoming.headers if name.startswith(":")}
        call = Call(
            number=0,
            connection=self._connection,
            protocol="h2",
            method=pseudo.get(":method", ""),
            target=pseudo.get(":path", ""),
            headers=(
                ("host", pseudo.get(":authority", "")),
                *(field for field in incoming.headers if not field[0].startswith(":")),
            ),
            body=bytes(incoming.body),
            sni=self._sni,
        )
        task = asyncio.create_task(self._answer(stream_id, call))
        self._tasks[stream_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream_id, None))

    async def _answer(self, stream_id: int, call: Call) -> None:
        plan = self._desk.plan(call)

        def gone() -> bool:
            return stream_id in self._reset or self._stream.gone()

        try:
            headers = [(":status", str(plan.reply.status)), *plan.reply.headers]
            self._h2.send_headers(stream_id, headers)
            await self._flush()
            if call.method == "HEAD":
                await asyncio.sleep(_WINDOW_TICK)  # some say only later that it was all
                self._h2.end_stream(stream_id)
                await self._flush()
                call.outcome = "done"
                return
            if plan.script.misbehave in WIRE_MODES:
                call.outcome = "misbehaved"
                half = plan.reply.body[: len(plan.reply.body) // 2]
                await self._data(stream_id, half)
                self._h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
                await self._flush()
                return
            await play(plan, self._desk.gate, lambda data: self._data(stream_id, data), gone)
            self._h2.end_stream(stream_id)
            await self._flush()
        except (Left, ConnectionError, ProtocolError, asyncio.CancelledError):
            call.outcome = "client_left"
            return
        call.outcome = "done"

    async def _data(self, stream_id: int, data: bytes) -> None:
        while data:
            if stream_id in self._reset or self._stream.gone():
                raise Left
            window = self._h2.local_flow_control_window(stream_id)
            size = min(window, self._h2.max_outbound_frame_size, len(data))
            if size <= 0:
                await self._wait_for_window()
                continue
            self._h2.send_data(stream_id, data[:size])
            data = data[size:]
            await self._flush()

    async def _wait_for_window(self) -> None:
        self._window.clear()
        try:
            await asyncio.wait_for(self._window.wait(), _WINDOW_TICK)
        except TimeoutError:
            return


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
