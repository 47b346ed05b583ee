"""WebSockets of the scripted provider, by wsproto: permessage-deflate, many calls on one."""

import time
from dataclasses import replace
from typing import Final, Protocol

import wsproto.events as ws
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError

from llmtrace.testing.misbehaving import WIRE_MODES
from llmtrace.testing.serving import Call, Desk, Left, Plan, play

_MAX_MESSAGE: Final = 64 * 1024 * 1024


class Duplex(Protocol):
    """What a WebSocket runs on."""

    def gone(self) -> bool:
        """Whether the client has closed its side."""
        ...

    async def write(self, data: bytes) -> None:
        """Send ``data``."""
        ...

    async def read(self) -> bytes:
        """Return what the client sent next, nothing at its end."""
        ...

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        ...


class WebSocketSession:
    """One upgraded connection. Each message that the client sends is recorded as a call."""

    def __init__(self, stream: Duplex, desk: Desk, upgrade: Call) -> None:
        self._stream = stream
        self._desk = desk
        self._upgrade = replace(upgrade, protocol="websocket")
        self._ws = WSConnection(ConnectionType.SERVER)
        self._text = bytearray()

    async def run(self, first: bytes) -> None:
        """Answer the upgrade, then every message, until either side closes."""
        headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in self._upgrade.headers]
        try:
            self._ws.initiate_upgrade_connection(headers, self._upgrade.target)
            opened = self._desk.plan(self._upgrade)
            if not await self._accept(opened):
                return
            if first:
                self._ws.receive_data(first)
            while await self._events():
                data = await self._stream.read()
                self._ws.receive_data(data or None)
        except (Left, ConnectionError, RemoteProtocolError):
            self._upgrade.outcome = "client_left"

    async def _accept(self, opened: Plan) -> bool:
        """Accept or refuse the upgrade; say what the endpoint says first."""
        if opened.reply.status >= 400:
            headers = [(n.encode(), v.encode()) for n, v in opened.reply.headers]
            rejection = ws.RejectConnection(
                status_code=opened.reply.status, headers=headers, has_body=True
            )
            await self._stream.write(self._ws.send(rejection))
            await self._stream.write(self._ws.send(ws.RejectData(data=opened.reply.body)))
            return False
        request = next(iter(self._ws.events()))
        offered = request.subprotocols if isinstance(request, ws.Request) else []
        accept = ws.AcceptConnection(
            subprotocol=offered[0] if offered else None, extensions=[PerMessageDeflate()]
        )
        await self._stream.write(self._ws.send(accept))
        await self._play(opened)
        return True

    async def _events(self) -> bool:
        """Handle what has come; return whether the connection goes on."""
        for event in self._ws.events():
            if isinstance(event, ws.CloseConnection):
                if self._ws.state is ConnectionState.REMOTE_CLOSING:
                    await self._stream.write(self._ws.send(event.response()))
                self._upgrade.outcome = "done"
                return False
            if isinstance(event, ws.Ping):
                await self._stream.write(self._ws.send(event.response()))
            elif isinstance(event, ws.TextMessage | ws.BytesMessage):
                await self._message(event)
        return not self._stream.gone()

    async def _message(self, event: ws.TextMessage | ws.BytesMessage) -> None:
        self._text += event.data.encode() if isinstance(event, ws.TextMessage) else event.data
        if len(self._text) > _MAX_MESSAGE:
            raise Left
        if event.message_finished:
            body = bytes(self._text)
            self._text.clear()
            now = time.monotonic()
            call = replace(self._upgrade, method="WS", body=body, received_at=now, sent_at=[])
            await self._play(self._desk.plan(call))

    async def _play(self, plan: Plan) -> None:
        if plan.script.misbehave in WIRE_MODES:
            plan.call.outcome = "misbehaved"
            for chunk in plan.reply.chunks[: len(plan.reply.chunks) // 2]:
                await self._send(chunk.data)
            self._stream.reset()
            return
        await play(plan, self._desk.gate, self._send, self._stream.gone)
        if plan.call.method == "WS":
            plan.call.outcome = "done"

    async def _send(self, data: bytes) -> None:
        await self._stream.write(self._ws.send(ws.TextMessage(data=data.decode())))
