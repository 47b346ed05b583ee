"""HTTP/1.1 of the scripted provider, by h11; a WebSocket upgrade is handed on."""

import asyncio
import contextlib
import socket
import struct
from http import HTTPStatus
from typing import Final

import h11

from llmtrace.testing.misbehaving import WIRE_MODES, Act, WireMode
from llmtrace.testing.serving import MAX_BODY, MAX_HEAD, Call, Desk, Left, play
from llmtrace.testing.websocket import WebSocketSession
from llmtrace.testing.wire import Reply

_READ: Final = 256 * 1024
_TICK: Final = 0.005
_HOLD_TICKS: Final = 12_000
_NO_BODY: Final = frozenset({204, 304})


class Stream:
    """A connection's two ends, and whether the client still listens."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def gone(self) -> bool:
        """Whether the client has closed its side."""
        return self.reader.at_eof() or self.writer.transport.is_closing()

    async def write(self, data: bytes) -> None:
        """Send ``data``, waiting where the client reads slowly."""
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def read(self) -> bytes:
        """Return what the client sent next, nothing at its end."""
        return await self.reader.read(_READ)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        raw = self.writer.get_extra_info("socket")
        if raw is not None:
            linger = struct.pack("ii", 1, 0)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


class Http1Connection:
    """Serves the requests of one connection, one after another."""

    def __init__(self, stream: Stream, desk: Desk, connection: int, sni: str) -> None:
        self._stream = stream
        self._desk = desk
        self._connection = connection
        self._sni = sni
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def run(self, first: bytes = b"") -> None:
        """Serve until either side has had enough. ``first`` was read already."""
        if first:
            self._h11.receive_data(first)
        while True:
            try:
                request = await self._event()
                if not isinstance(request, h11.Request):
                    return
                if self._is_upgrade(request):
                    await self._upgrade(request)
                    return
                body = await self._body()
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                return
            if not await self._answer(request, body):
                return
            if self._h11.our_state is h11.MUST_CLOSE:
                return
            self._h11.start_next_cycle()

    async def _event(self) -> h11.Event | None:
        """Return the next event, None where a WebSocket's bytes follow."""
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._stream.write(self._h11.send(go_on) or b"")
            self._h11.receive_data(await self._stream.read())
        return event if isinstance(event, h11.Event) else None

    async def _body(self) -> bytes:
        found = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            found += event.data
            if len(found) > MAX_BODY:
                raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)
        return bytes(found)

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status = error.error_status_hint
            headers = [("content-length", "0"), ("connection", "close")]
            response = h11.Response(status_code=status, headers=headers)
            await self._stream.write(self._h11.send(response) or b"")

    @staticmethod
    def _is_upgrade(request: h11.Request) -> bool:
        return any(
            name == b"upgrade" and value.lower() == b"websocket" for name, value in request.headers
        )

    def _call(self, request: h11.Request, body: bytes) -> Call:
        return Call(
            number=0,
            connection=self._connection,
            protocol="http/1.1",
            method=request.method.decode(),
            target=request.target.decode("latin-1"),
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.headers.raw_items()
            ),
            body=body,
            sni=self._sni,
        )

    async def _upgrade(self, request: h11.Request) -> None:
        rest, _ = self._h11.trailing_data
        session = WebSocketSession(self._stream, self._desk, self._call(request, b""))
        await session.run(rest)

    async def _answer(self, request: h11.Request, body: bytes) -> bool:
        """Answer one request; return whether the connection may serve another."""
        plan = self._desk.plan(self._call(request, body))
        mode = WIRE_MODES.get(plan.script.misbehave)
        try:
            if mode:
                plan.call.outcome = "misbehaved"
                await self._misbehave(mode, plan.reply)
                return False
            await self._head(request, plan.reply)
            if request.method != b"HEAD":
                await play(plan, self._desk.gate, self._data, self._stream.gone)
            await self._stream.write(self._h11.send(h11.EndOfMessage()) or b"")
        except (Left, ConnectionError):
            plan.call.outcome = "client_left"
            return False
        plan.call.outcome = "done"
        return True

    async def _head(self, request: h11.Request, reply: Reply) -> None:
        headers = list(reply.headers)
        if not reply.streamed and reply.status not in _NO_BODY:
            headers.append(("content-length", str(len(reply.body))))
        response = h11.Response(
            status_code=reply.status, headers=headers, reason=_reason(reply.status)
        )
        await self._stream.write(self._h11.send(response) or b"")

    async def _data(self, data: bytes) -> None:
        await self._stream.write(self._h11.send(h11.Data(data=data)) or b"")

    async def _misbehave(self, mode: WireMode, reply: Reply) -> None:
        for act in mode(reply):
            if self._stream.gone():
                raise Left
            if isinstance(act, bytes):
                await self._stream.write(act)
                await asyncio.sleep(0)  # let the loop notice that the client has left
            elif act is Act.TICK:
                await asyncio.sleep(_TICK)
            elif act is Act.RESET:
                self._stream.reset()
                return
            else:
                await self._hold()

    async def _hold(self) -> None:
        for _ in range(_HOLD_TICKS):
            if self._stream.gone():
                raise Left
            await asyncio.sleep(_TICK)


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown"


async def close(stream: Stream) -> None:
    """Close a connection cleanly, whatever state it is in."""
    stream.writer.close()
    with contextlib.suppress(ConnectionError, OSError, TimeoutError):
        await asyncio.wait_for(stream.writer.wait_closed(), 1)
