"""Shorter ways for bytes through mitmproxy's TLS layers, with the same results.

It hands each command on through a generator of its own, learns by an exception that there is
nothing more to read or to send, and asks of each event whether the connection stands already.
"""

import logging
from typing import Any, Final

from mitmproxy import connection
from mitmproxy.proxy import commands, events, tunnel
from mitmproxy.proxy.layer import CommandGenerator, NextLayer
from mitmproxy.proxy.layers import tls
from OpenSSL import SSL

_lib: Final = SSL._lib  # type: ignore[attr-defined]  # pyOpenSSL says what it read by exceptions alone
_ffi: Final = SSL._ffi  # type: ignore[attr-defined]
_ROOM: Final = 65_535
_BUFFER: Final = _ffi.new("char[]", _ROOM)
"""Read into, and copied from at once: all TLS of a process is the event loop's."""


def _unsent(conn: SSL.Connection) -> bytes:
    """Return what a connection has to send, at most ``_ROOM`` bytes."""
    bio: Any = vars(conn)["_from_ssl"]
    size: int = _lib.BIO_read(bio, _BUFFER, _ROOM)
    if size > 0:
        return bytes(_ffi.buffer(_BUFFER, size))
    if not _lib.BIO_should_retry(bio):
        conn.bio_read(_ROOM)  # says what is wrong
    return b""


def tls_interact(layer: tls.TLSLayer) -> CommandGenerator[None]:
    """Send what TLS has to send, as ``TLSLayer.tls_interact`` does."""
    size = _ROOM
    while size == _ROOM and (data := _unsent(layer.tls)):
        size = len(data)
        yield commands.SendData(layer.conn, data)


def send_data(layer: tls.TLSLayer, data: bytes) -> CommandGenerator[None]:
    """Encrypt and send, as ``TLSLayer.send_data`` does."""
    try:  # noqa: SIM105 - done for each record
        layer.tls.sendall(data)
    except (SSL.ZeroReturnError, SSL.SysCallError):
        pass  # the peer may still send, which is of no use to anybody
    size = _ROOM
    while size == _ROOM and (sent := _unsent(layer.tls)):
        size = len(sent)
        yield commands.SendData(layer.conn, sent)


def receive_data(layer: tls.TLSLayer, data: bytes) -> CommandGenerator[None]:
    """Decrypt, answer what TLS itself asks, and pass on, as ``TLSLayer.receive_data`` does."""
    conn = layer.tls
    if data:
        conn.bio_write(data)
    ssl: Any = vars(conn)["_ssl"]
    pieces: list[bytes] = []
    while (size := _lib.SSL_read(ssl, _BUFFER, _ROOM)) > 0:
        pieces.append(bytes(_ffi.buffer(_BUFFER, size)))
    close = False
    if _lib.SSL_get_error(ssl, size) != _lib.SSL_ERROR_WANT_READ:
        try:
            conn._raise_ssl_error(ssl, size)
        except SSL.ZeroReturnError:
            close = True
        except SSL.Error as error:  # most often the alert of a client that trusts us not
            yield commands.Log(f"TLS Error: {error}", logging.WARNING)
    yield from tls_interact(layer)  # reading may have given it something to say
    if pieces:
        yield from layer.event_to_child(events.DataReceived(layer.conn, b"".join(pieces)))
    if close:
        layer.conn.state &= ~connection.ConnectionState.CAN_READ
        yield from layer.event_to_child(events.ConnectionClosed(layer.conn))


def handle_event(layer: tunnel.TunnelLayer, event: events.Event) -> CommandGenerator[None]:
    """Take an event, as ``TunnelLayer._handle_event`` does: most bring bytes."""
    if (
        type(event) is events.DataReceived
        and layer.tunnel_state is tunnel.TunnelState.OPEN
        and event.connection is layer.tunnel_connection
    ):
        return layer.receive_data(event.data)
    return _handle_event(layer, event)


_handle_event = tunnel.TunnelLayer._handle_event


def event_to_child(layer: tunnel.TunnelLayer, event: events.Event) -> CommandGenerator[None]:
    """Pass an event on, as ``TunnelLayer.event_to_child`` does: most come back with bytes."""
    if layer.tunnel_state is tunnel.TunnelState.ESTABLISHING and not layer.command_to_reply_to:
        layer._event_queue.append(event)
        return
    child: Any = layer.child_layer
    handle = child._handle if type(child) is NextLayer else None
    for command in (handle or child.handle_event)(event):
        if type(command) is not commands.SendData:
            yield from layer._handle_command(command)
        elif command.connection is layer.conn:
            yield from layer.send_data(command.data)
        elif command.connection.id == layer.conn.id:
            yield from layer._handle_command(command)
        else:
            yield command


def server_event_to_child(layer: tls.ServerTLSLayer, event: events.Event) -> CommandGenerator[None]:
    """Pass an event on, as ``ServerTLSLayer.event_to_child`` does."""
    if layer.wait_for_clienthello:
        return _server_event_to_child(layer, event)
    return event_to_child(layer, event)


_server_event_to_child = tls.ServerTLSLayer.event_to_child

RECORDS: Final[tuple[tuple[object, str, object], ...]] = (
    (tls.TLSLayer, "tls_interact", tls_interact),
    (tls.TLSLayer, "send_data", send_data),
    (tls.TLSLayer, "receive_data", receive_data),
    (tunnel.TunnelLayer, "_handle_event", handle_event),
    (tunnel.TunnelLayer, "event_to_child", event_to_child),
    (tls.ServerTLSLayer, "event_to_child", server_event_to_child),
)
"""Where mitmproxy looks them up, and what it shall find."""
