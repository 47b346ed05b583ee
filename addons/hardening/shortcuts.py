"""Shorter ways to what mitmproxy does many times for each call, with the same results.

It folds every name of a head anew for each header that it looks up, asks of each command in eight
ways what it is, makes a connection for each new context that it throws away, and copies each option
that it reads, numbers and texts included.
"""

import copy
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from mitmproxy import http, optmanager
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layer import CommandGenerator, Layer, Paused
from mitmproxy.proxy.layers.http import (
    DropStream,
    GetHttpConnection,
    HttpLayer,
    RegisterHttpConnection,
    SendHttp,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders

from llmtrace.addons.pacing import Ended

UTF8: Final = ("utf-8", "surrogateescape")
SCALARS: Final = frozenset({bool, int, float, str, type(None)})


type Fields = tuple[tuple[bytes, bytes], ...]
type Index = dict[bytes, list[bytes]]
"""Values by folded name, in their order."""
INDEX: Final = "_llmtrace_index"
SIZE: Final = "_llmtrace_size"


@lru_cache(maxsize=1024)
def _folded(name: str | bytes) -> bytes:
    if isinstance(name, str):
        return name.encode(*UTF8).lower()
    if isinstance(name, bytes):
        return name.lower()
    raise TypeError(f"Expected str or bytes, but got {type(name).__name__}.")


def _indexed(headers: http.Headers) -> Index:
    """Return a head's values by name. Kept until its fields are others: a head is asked often."""
    fields = headers.fields
    known: tuple[Fields, Index] | None = headers.__dict__.get(INDEX)
    if known is not None and known[0] is fields:
        return known[1]
    index: Index = {}
    for key, value in fields:
        index.setdefault(key.lower(), []).append(value)
    if type(fields) is tuple:  # a list could be changed in place
        headers.__dict__[INDEX] = (fields, index)
    return index


def init(headers: http.Headers, fields: Iterable[tuple[bytes, bytes]] = (), **named: Any) -> None:
    """Take the fields of a head, as ``Headers()`` does."""
    if named:
        _init(headers, fields, **named)
        return
    headers.fields = tuple((key, value) for key, value in fields)
    for key, value in headers.fields:
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise TypeError("Header fields must be bytes.")


_init = http.Headers.__init__


def get_all(headers: http.Headers, name: str | bytes) -> list[str]:
    """Return all values of a header, as ``Headers.get_all`` does."""
    return [value.decode(*UTF8) for value in _indexed(headers).get(_folded(name), ())]


def get[T](headers: http.Headers, name: str | bytes, default: T | None = None) -> str | T | None:
    """Return a header's values joined by commas, as ``Headers.get`` does."""
    values = _indexed(headers).get(_folded(name))
    if not values:
        return default
    if len(values) == 1:
        return values[0].decode(*UTF8)
    return ", ".join(value.decode(*UTF8) for value in values)


def contains(headers: http.Headers, name: str | bytes) -> bool:
    """Say whether a header is there, as ``name in headers`` does."""
    return _folded(name) in _indexed(headers)


def pop(headers: http.Headers, name: str | bytes, *default: Any) -> Any:
    """Take a header out and return it, as ``Headers.pop`` does."""
    values = get_all(headers, name)
    if not values:
        if not default:
            raise KeyError(name)
        return default[0]
    wanted = _folded(name)
    headers.fields = tuple(field for field in headers.fields if field[0].lower() != wanted)
    return ", ".join(values)


def body_size(request: http.Request, response: http.Response | None = None) -> int | None:
    """Return the size of a body by its head, as ``expected_http_body_size`` does.

    It is asked for five times for each call. Raises: ValueError.
    """
    headers = response.headers if response else request.headers
    asked = (headers.fields, request.data.method, response.data.status_code if response else 0)
    known: tuple[object, int | None] | None = headers.__dict__.get(SIZE)
    if known is not None and known[0] == asked:
        return known[1]
    size = _body_size(request, response)
    if type(headers.fields) is tuple:  # a list could be changed in place
        headers.__dict__[SIZE] = (asked, size)
    return size


_body_size = http1.expected_http_body_size


def fork(parent: context.Context) -> context.Context:
    """Return a context with its own list of layers, as ``Context.fork`` does."""
    forked = context.Context.__new__(context.Context)
    forked.client, forked.server = parent.client, parent.server
    forked.options, forked.layers = parent.options, parent.layers.copy()
    return forked


def current(option: Any) -> Any:
    """Return an option's value, as ``_Option.current`` does: a copy, of what can be changed."""
    value = option._default if option.value is optmanager.unset else option.value
    return value if type(value) in SCALARS else copy.deepcopy(value)


def handle_event(layer: Layer, event: events.Event) -> CommandGenerator[None]:
    """Have a layer handle an event, as ``Layer.handle_event`` does, in a loop that costs no call.

    A hundred such loops, one in the other, run for each call.
    """
    if layer._paused or layer.debug is not None:
        yield from _handle_event(layer, event)
        return
    said = layer._handle_event(event)
    for command in said:
        if command.blocking is True:
            command.blocking = layer
            layer._paused = Paused(command, said)
            yield command
            return
        yield command


_handle_event = Layer.handle_event


def process(layer: Layer, said: CommandGenerator[Any], reply: Any = None) -> CommandGenerator[None]:
    """Go on with what a layer says, as ``Layer.__process`` does."""
    if layer.debug is not None:
        yield from _process(layer, said, reply)
        return
    try:
        command = said.send(reply)
    except StopIteration:
        return
    if command.blocking is True:
        command.blocking = layer
        layer._paused = Paused(command, said)
        yield command
        return
    yield command
    for command in said:
        if command.blocking is True:
            command.blocking = layer
            layer._paused = Paused(command, said)
            yield command
            return
        yield command


_process = vars(Layer)["_Layer__process"]


def settle_options(options: optmanager.OptManager) -> None:
    """Have options read as plain attributes, of which a call reads a dozen; they stay as they are.

    ``proxy_debug`` is asked for by every layer, and is none of them.
    """
    settled = {name: getattr(options, name) for name in sorted(options.keys())}
    scalars = {name: value for name, value in settled.items() if type(value) in SCALARS}
    vars(options).update(scalars, proxy_debug=False)


def http_event(layer: HttpLayer, event: events.Event) -> CommandGenerator[None]:
    """Have HTTP's layer handle an event, as ``HttpLayer.handle_event`` does: it never waits."""
    if layer.debug is None:
        if isinstance(event, events.ConnectionEvent):
            child = layer.connections.get(event.connection)
            if child is not None:
                return layer.event_to_child(child, event)
        elif isinstance(event, events.CommandCompleted):
            return layer.event_to_child(layer.command_sources.pop(event.command), event)
    return handle_event(layer, event)


def event_to_child(layer: HttpLayer, child: Layer, event: events.Event) -> CommandGenerator[None]:
    """Pass an event on, as ``HttpLayer.event_to_child`` does: most of what comes back is HTTP."""
    command: Any  # its type is asked for by identity, which no checker follows
    for command in child.handle_event(event):
        kind = type(command)
        if kind is SendHttp:
            to = layer.connections[command.connection]
            yield from layer.event_to_child(to, command.event)
        elif kind is ReceiveHttp:
            said = command.event
            if type(said) is RequestHeaders:
                yield from layer.make_stream(said.stream_id)
            stream = layer.streams.get(said.stream_id)
            if stream is not None:  # else it has ended, and this comes late
                yield from layer.event_to_child(stream, said)
        elif kind is commands.SendData:
            yield command
        else:
            yield from _rarely(layer, child, command)


def _rarely(layer: HttpLayer, child: Layer, command: commands.Command) -> CommandGenerator[None]:
    if command.blocking or isinstance(command, commands.RequestWakeup):
        layer.command_sources[command] = child
    if isinstance(command, DropStream):
        if stream := layer.streams.pop(command.stream_id, None):
            yield Ended(stream)
    elif isinstance(command, GetHttpConnection):
        yield from layer.get_connection(command)
    elif isinstance(command, RegisterHttpConnection):
        yield from layer.register_connection(command)
    else:
        if isinstance(command, commands.OpenConnection):
            layer.connections[command.connection] = child
        yield command


SHORTCUTS: Final[tuple[tuple[object, str, object], ...]] = (
    (http.Headers, "__init__", init),
    (http.Headers, "get_all", get_all),
    (http.Headers, "get", get),
    (http.Headers, "__contains__", contains),
    (http.Headers, "pop", pop),
    (Layer, "handle_event", handle_event),
    (Layer, "_Layer__process", process),
    (HttpLayer, "handle_event", http_event),
    (http1, "expected_http_body_size", body_size),
    (HttpLayer, "event_to_child", event_to_child),
    (context.Context, "fork", fork),
    (vars(optmanager)["_Option"], "current", current),
)
"""Where mitmproxy looks them up, and what it shall find."""
