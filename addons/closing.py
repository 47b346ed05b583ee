"""Ends a WebSocket connection cleanly, on both sides, bounds what a message may hold, and speaks.

mitmproxy has no way for an addon to close a WebSocket, gathers a message of any length before a
hook sees it, and lets a hook say nothing but what it was given.
"""

from dataclasses import dataclass
from typing import Final

import wsproto.events
from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketLayer
from wsproto.connection import ConnectionState

CLOSE: Final = "llmtrace.websocket.close"
SAY: Final = "llmtrace.websocket.say"
MAX_MESSAGE: Final = "llmtrace.websocket.max_message"
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
MAX_REASON_BYTES: Final = 123
"""RFC 6455 §5.5: a control frame has at most 125 bytes, two of them the code."""


@dataclass(frozen=True, slots=True)
class Close:
    """With what a connection is to be closed."""

    code: int
    reason: str


def close_websocket(flow: http.HTTPFlow, code: int, reason: str) -> None:
    """Close a flow's WebSocket, both sides, once the running hook is done."""
    cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    flow.metadata[CLOSE] = Close(code, cut)


def bound_messages(flow: http.HTTPFlow, max_bytes: int) -> None:
    """Close a flow's WebSocket with 1009 as soon as a message grows past ``max_bytes``."""
    flow.metadata[MAX_MESSAGE] = max_bytes


def say_to_client(flow: http.HTTPFlow, message: bytes, *, is_text: bool = True) -> None:
    """Send a client a message once the running hook is done, in its order with others.

    They stand before the message that the hook was called for, unless that is dropped.
    """
    flow.metadata.setdefault(SAY, []).append((message, is_text))


class ClosableWebsocketLayer(WebsocketLayer):
    """mitmproxy's relay of messages, which can be closed from within."""

    def relay_messages(self, event: events.Event) -> CommandGenerator[None]:
        """Pass messages on, until the connection is to be closed."""
        for command in super().relay_messages(event):
            yield command
            yield from self._say()
        if self._too_big():
            close_websocket(self.flow, TOO_BIG, "message over limits.websocket_message_bytes")
        close = self.flow.metadata.pop(CLOSE, None)
        if isinstance(close, Close) and self.flow.live:
            yield from self._close(close)

    def _too_big(self) -> bool:
        limit = self.flow.metadata.get(MAX_MESSAGE)
        if not isinstance(limit, int):
            return False
        return any(sum(map(len, ws.frame_buf)) > limit for ws in (self.client_ws, self.server_ws))

    def _say(self) -> CommandGenerator[None]:
        for message, is_text in self.flow.metadata.pop(SAY, ()):
            if self.client_ws.state is not ConnectionState.OPEN:
                return
            text = wsproto.events.TextMessage(message.decode(errors="replace"))
            yield self.client_ws.send2(text if is_text else wsproto.events.BytesMessage(message))

    def _close(self, close: Close) -> CommandGenerator[None]:
        assert self.flow.websocket is not None  # noqa: S101  # as mitmproxy's own layer
        self.flow.websocket.closed_by_client = False
        self.flow.websocket.close_code = close.code
        self.flow.websocket.close_reason = close.reason
        frame = wsproto.events.CloseConnection(close.code, close.reason)
        for ws in (self.server_ws, self.client_ws):
            if ws.state in {ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING}:
                yield ws.send2(frame)
            yield commands.CloseConnection(ws.conn)
        yield WebsocketEndHook(self.flow)
        self.flow.live = False
        self._handle_event = self.done
