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
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import (
    DropStream,
    GetHttpConnection,
    HttpLayer,
    RegisterHttpConnection,
    SendHttp,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders

UTF8: Final = ("utf-8", "surrogateescape")
SCALARS: Final = frozenset({bool, int, float, str, type(None)})


type Fields = tuple[tuple[bytes, bytes], ...]
type Index = dict[bytes, list[bytes]]
"""Values by folded name, in their order."""
INDEX: Final = "_llmtrace_index"


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
    known: tuple[Fields, Index] | None = vars(headers).get(INDEX)
    if known is not None and known[0] is fields:
        return known[1]
    index: Index = {}
    for key, value in fields:
        index.setdefault(key.lower(), []).append(value)
    if type(fields) is tuple:  # a list could be changed in place
        vars(headers)[INDEX] = (fields, index)
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
    values = get_all(headers, name)
    return ", ".join(values) if values else default


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
        layer.streams.pop(command.stream_id, None)
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
    (HttpLayer, "event_to_child", event_to_child),
    (context.Context, "fork", fork),
    (vars(optmanager)["_Option"], "current", current),
)
"""Where mitmproxy looks them up, and what it shall find."""
