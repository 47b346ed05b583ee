"""The way of an event to the layer that does something with it."""

import collections
from collections.abc import Callable, Iterable
from typing import Any, Final

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer, NextLayer
from mitmproxy.proxy.layers import ClientTLSLayer, ServerTLSLayer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.tunnel import TunnelState

CHANGING: Final = frozenset({"next_layer", "http_connected"})
"""After these hooks a layer may have nothing to do any more but to pass events on."""


class Lane:
    """Stands before a connection's layers: what would only pass between them goes past them.

    Hooks that need not wait are run on the spot. mitmproxy makes a task for every hook, also for
    those that nobody handles: a fifth of what a new connection costs.

    A layer that has found the next one stays above it for as long as the connection lives, and the
    one that read a CONNECT wraps each piece of the tunnel into a message and back. Once they have
    no other work they are left out. The layers below see the same events in the same order.
    """

    def __init__(self, top: Layer, run_now: Callable[[commands.StartHook], bool]) -> None:
        self._top = top
        self._run_now = run_now
        self._left: list[HttpLayer] = []
        """Layers above that still wait for an answer: their timers."""
        self._client: Connection | None = None
        """The client's connection, if it is a tunnel: it is closed on both sides at once."""

    def handle_event(self, event: events.Event) -> CommandGenerator[None]:
        """Pass an event on, and the completion of each hook that was run here after it."""
        pending = collections.deque([event])
        changes = False
        while pending:
            event = pending.popleft()
            for command in self._layer_of(event).handle_event(event):
                if isinstance(command, commands.StartHook) and self._run_now(command):
                    changes = changes or command.name in CHANGING
                    if command.blocking:
                        pending.append(events.HookCompleted(command))
                elif self._client and isinstance(command, commands.CloseConnection):
                    yield from self._close(command)
                else:
                    yield command
        if changes:
            self._descend()

    def let_go(self) -> None:
        """Take the layers apart, of a connection that is over.

        They have each other and themselves, so that what the connection held, the buffers of its
        TLS above all, would wait for the garbage collector to find it.
        """
        left: list[object] = [self._top, *self._left]
        while left:
            layer = left.pop()
            if isinstance(layer, Layer):
                held = [*vars(layer).values()]
                vars(layer).clear()
                for value in held:
                    left += _inside(value)

    def _layer_of(self, event: events.Event) -> Layer:
        if self._left and isinstance(event, events.CommandCompleted):
            for layer in self._left:
                if event.command in layer.command_sources:
                    return layer
        return self._top

    def _close(self, command: commands.CloseConnection) -> CommandGenerator[None]:
        """Close as ``HttpStream.passthrough`` does: never one side alone, and once."""
        connection = command.connection
        if connection is not self._client or connection.state & ConnectionState.CAN_WRITE:
            yield commands.CloseConnection(connection)

    def _descend(self) -> None:
        while (below := _successor(self._top) or self._tunnelled(self._top)) is not None:
            self._top = below

    def _tunnelled(self, layer: Layer) -> Layer | None:
        """Return what a layer's only stream passes all that comes to, after a CONNECT."""
        if not isinstance(layer, HttpLayer) or len(layer.streams) != 1:
            return None
        if len(layer.connections) != 1:  # a provider's, of a call before the CONNECT
            return None
        (stream,) = layer.streams.values()
        client = layer.connections.get(layer.context.client)
        if not _is_tunnel(stream) or not isinstance(client, Http1Server):
            return None
        if client.state != client.passthrough or client.buf:
            return None
        self._left.append(layer)
        self._client = layer.context.client
        return stream.child_layer


def _inside(value: Any) -> Iterable[object]:
    """Return where in a layer's attribute there may be other layers."""
    if isinstance(value, Context):
        return value.layers
    if isinstance(value, dict):
        return value.values()
    return (getattr(value, "__self__", value),)


def _is_tunnel(stream: HttpStream) -> bool:
    passes = stream._handle_event == stream.passthrough and _is_idle(stream)
    return passes and stream.flow.request.method == "CONNECT"


def _successor(layer: Layer) -> Layer | None:
    """Return the layer that another one has put in its place for good."""
    if not _is_idle(layer):
        return None
    if isinstance(layer, NextLayer):
        return layer.layer if layer._handle else None
    if isinstance(layer, ServerTLSLayer):
        return _without_server(layer)
    handler = vars(layer).get("_handle_event")
    owner = getattr(handler, "__self__", None)
    if isinstance(owner, Layer) and getattr(handler, "__func__", None) is type(owner).handle_event:
        return owner
    return None


def _without_server(layer: ServerTLSLayer) -> Layer | None:
    """Return the client's side of a tunnel, if it carries HTTP.

    HTTP has connections of its own to where its requests go, each with its own TLS.
    """
    client = layer.child_layer
    if layer.tunnel_state is not TunnelState.INACTIVE or not isinstance(client, ClientTLSLayer):
        return None
    inner = client.child_layer
    carries_http = isinstance(inner, NextLayer) and isinstance(inner.layer, HttpLayer)
    return client if carries_http else None


def _is_idle(layer: Layer) -> bool:
    return layer._paused is None and not layer._paused_event_queue
