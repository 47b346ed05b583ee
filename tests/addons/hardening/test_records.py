"""Bytes pass TLS layers by our ways as they do by mitmproxy's."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, tunnel
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer, NextLayer
from mitmproxy.proxy.layers import tls
from OpenSSL import SSL

from llmtrace.addons.hardening import records
from llmtrace.addons.tls import CA_FILE, Issuer, LeafContexts
from llmtrace.certs.authority import CertificateAuthority

type Way = Callable[[Any, Any], Iterator[commands.Command]]

OURS: dict[str, Way] = {
    "receive": records.receive_data,
    "send": records.send_data,
    "event": records.handle_event,
    "child": records.event_to_child,
    "server": records.server_event_to_child,
}
THEIRS: dict[str, Way] = {
    "receive": tls.TLSLayer.receive_data,
    "send": tls.TLSLayer.send_data,
    "event": tunnel.TunnelLayer._handle_event,
    "child": tunnel.TunnelLayer.event_to_child,
    "server": tls.ServerTLSLayer.event_to_child,
}
OTHER = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2))


class Child(Layer):
    """Notes what it gets, and answers with bytes both ways and something else."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.got: list[tuple[type, object]] = []

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        self.got.append((type(event), getattr(event, "data", None)))
        yield commands.SendData(self.context.server, b"to the server")
        yield commands.SendData(OTHER, b"to another")
        yield commands.Log("said")


class Side:
    """A layer whose handshake is over, and what is at its other end."""

    def __init__(self, leaves: LeafContexts) -> None:
        peer = SSL.Connection(leaves.get("api.openai.com"))
        peer.set_accept_state()
        ours = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
        ours.set_connect_state()
        for _ in range(4):
            for one, other in ((ours, peer), (peer, ours)):
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
                carry(one, other)
        context = Context(OTHER, Options())
        self.layer = tls.ServerTLSLayer(context, context.server)
        self.layer.tls, self.peer = ours, peer
        self.layer.tunnel_state = tunnel.TunnelState.OPEN
        context.server.state = ConnectionState.OPEN
        self.child = Child(context)
        self.layer.child_layer = self.child

    def written(self, data: bytes) -> bytes:
        """Let the other end write, and return its records."""
        if data:
            self.peer.sendall(data)
        return drained(self.peer)

    def taken(self, made: Iterator[commands.Command]) -> list[object]:
        """Return what came of it: for bytes to the peer, what the peer reads."""
        seen: list[object] = []
        for command in made:
            if isinstance(command, commands.SendData) and command.connection == self.layer.conn:
                self.peer.bio_write(command.data)
                seen.append(read(self.peer))
            else:
                data = command.data if isinstance(command, commands.SendData) else None
                seen.append((type(command), data))
        return [*seen, self.child.got, self.layer.conn.state]


def carry(one: SSL.Connection, other: SSL.Connection) -> None:
    if data := drained(one):
        other.bio_write(data)


def drained(conn: SSL.Connection) -> bytes:
    data = b""
    try:
        while True:
            data += conn.bio_read(65_535)
    except SSL.WantReadError:
        return data


def read(conn: SSL.Connection) -> bytes:
    data = b""
    try:
        while True:
            data += conn.recv(65_535)
    except SSL.Error:
        return data


@pytest.fixture(scope="module")
def leaves(ca: CertificateAuthority) -> LeafContexts:
    return LeafContexts(Issuer.load(ca.directory / CA_FILE))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40_000), max_size=4), st.lists(st.integers(1, 60_000), max_size=4))
def test_records_are_read_as_mitmproxy_reads_them(
    leaves: LeafContexts, sizes: list[int], cuts: list[int]
) -> None:
    results = []
    for ways in (OURS, THEIRS):
        side = Side(leaves)
        sent = b"".join(side.written(bytes([number]) * size) for number, size in enumerate(sizes))
        seen = []
        for cut in [*cuts, len(sent)]:
            seen += side.taken(ways["receive"](side.layer, sent[:cut]))
            sent = sent[cut:]
        results.append(seen)
    assert results[0] == results[1]


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_535, 65_536, 300_000])
def test_what_is_sent_arrives_whole(leaves: LeafContexts, size: int) -> None:
    for ways in (OURS, THEIRS):
        side = Side(leaves)
        seen = side.taken(ways["send"](side.layer, b"x" * size))
        assert b"".join(piece for piece in seen if isinstance(piece, bytes)) == b"x" * size


def test_an_end_is_told_behind_what_came_before_it(leaves: LeafContexts) -> None:
    results = []
    for ways in (OURS, THEIRS):
        side = Side(leaves)
        sent = side.written(b"last words")
        side.peer.shutdown()
        results.append(side.taken(ways["receive"](side.layer, sent + drained(side.peer))))
        assert [kind for kind, _ in side.child.got] == [
            events.DataReceived,
            events.ConnectionClosed,
        ]
    assert results[0] == results[1]


def test_bytes_that_are_no_records_are_told_and_pass_nothing_on(leaves: LeafContexts) -> None:
    results = []
    for ways in (OURS, THEIRS):
        side = Side(leaves)
        results.append(side.taken(ways["receive"](side.layer, b"\x17\x03\x03\x00\x20" + b"?" * 32)))
        assert side.child.got == []
    assert results[0] == results[1]
    assert results[0][0] == (commands.Log, None)


@pytest.mark.parametrize("error", [SSL.ZeroReturnError, SSL.SysCallError])
def test_nothing_is_said_to_who_has_gone(leaves: LeafContexts, error: type[Exception]) -> None:
    class Gone(SSL.Connection):
        def sendall(self, buf: object, flags: int = 0) -> int:
            raise error

    for ways in (OURS, THEIRS):
        side = Side(leaves)
        side.layer.tls = Gone(SSL.Context(SSL.TLS_CLIENT_METHOD))
        assert list(ways["send"](side.layer, b"x")) == []


@pytest.mark.parametrize("state", list(tunnel.TunnelState))
@pytest.mark.parametrize("replying", [True, False])
@pytest.mark.parametrize("way", ["event", "child", "server"])
def test_events_are_passed_on_as_mitmproxy_passes_them(
    leaves: LeafContexts, way: str, replying: bool, state: tunnel.TunnelState
) -> None:
    results = []
    for ways in (OURS, THEIRS):
        side = Side(leaves)
        server = side.layer.conn
        side.layer.tunnel_state = state
        side.layer.command_to_reply_to = commands.OpenConnection(server) if replying else None
        sent = side.written(b"a record") if way == "event" else b"plain"
        made = ways[way](side.layer, events.DataReceived(server, sent))
        taken = side.taken(made)
        waiting = [type(event) for event in side.layer._event_queue]
        results.append((taken, waiting, side.layer.tunnel_state))
    assert results[0] == results[1]


def test_a_layer_that_was_chosen_is_asked_without_the_one_that_chose_it(
    leaves: LeafContexts,
) -> None:
    for ways in (OURS, THEIRS):
        side = Side(leaves)
        chosen = NextLayer(side.layer.context)
        side.layer.child_layer = chosen
        asked = list(ways["child"](side.layer, events.DataReceived(side.layer.conn, b"who?")))
        assert [type(command).__name__ for command in asked] == ["NextLayerHook"]
        chosen.layer = side.child
        chosen._handle = side.child.handle_event
        side.taken(ways["child"](side.layer, events.DataReceived(side.layer.conn, b"you")))
        assert side.child.got == [(events.DataReceived, b"you")]


def test_an_unread_hello_of_a_client_keeps_mitmproxys_way(leaves: LeafContexts) -> None:
    side = Side(leaves)
    side.layer.wait_for_clienthello = True
    side.layer.tunnel_state = tunnel.TunnelState.CLOSED
    made = records.server_event_to_child(side.layer, events.DataReceived(OTHER, b""))
    assert len(list(made)) == 3
    assert side.layer.wait_for_clienthello
