from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.net.http import http1
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.test import tflow

from llmtrace.addons.hardening import shortcuts
from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.hardening.install import hardened

NAMES = st.sampled_from([b"host", b"Host", b"HOST", b"x-a", b"X-A", "x-ä".encode(), b"\xff"])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=3)), max_size=5).map(tuple)
ASKED = NAMES | NAMES.map(lambda name: name.decode("utf-8", "surrogateescape"))
GONE = object()


@settings(max_examples=200)
@given(FIELDS, ASKED)
def test_headers_are_found_as_mitmproxy_finds_them(
    fields: tuple[tuple[bytes, bytes], ...], name: str | bytes
) -> None:
    headers: Any = http.Headers(fields)
    assert shortcuts.get_all(headers, name) == http.Headers.get_all(headers, name)
    assert shortcuts.get(headers, name) == Mapping.get(headers, name)
    assert shortcuts.get(headers, name, GONE) == Mapping.get(headers, name, GONE)
    assert shortcuts.contains(headers, name) == Mapping.__contains__(headers, name)


@settings(max_examples=200)
@given(FIELDS, ASKED)
def test_headers_are_taken_out_as_mitmproxy_takes_them_out(
    fields: tuple[tuple[bytes, bytes], ...], name: str | bytes
) -> None:
    ours: Any = http.Headers(fields)
    theirs: Any = http.Headers(fields)
    assert shortcuts.pop(ours, name, GONE) == MutableMapping.pop(theirs, name, GONE)
    assert ours.fields == theirs.fields


@given(FIELDS, FIELDS, ASKED)
def test_headers_that_were_changed_are_read_anew(
    before: tuple[tuple[bytes, bytes], ...], after: tuple[tuple[bytes, bytes], ...], name: Any
) -> None:
    headers: Any = http.Headers(before)
    shortcuts.get_all(headers, name)
    headers.fields = after
    assert shortcuts.get_all(headers, name) == http.Headers.get_all(headers, name)
    headers.fields = listed = list(before)
    shortcuts.get_all(headers, name)
    listed.extend(after)
    assert shortcuts.get_all(headers, name) == http.Headers.get_all(headers, name)


@given(FIELDS)
def test_headers_are_made_as_mitmproxy_makes_them(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    ours: Any = http.Headers()
    shortcuts.init(ours, list(fields))
    assert ours.fields == http.Headers(fields).fields
    shortcuts.init(ours, fields, content_type="x")
    assert ours.fields == http.Headers(fields, content_type="x").fields


@pytest.mark.parametrize("field", [("a", b"b"), (b"a", "b"), (b"a", None)])
def test_fields_that_are_no_bytes_are_refused(field: Any) -> None:
    with pytest.raises(TypeError, match="must be bytes"):
        shortcuts.init(http.Headers(), [field])


def test_what_is_no_name_is_refused() -> None:
    headers: Any = http.Headers()
    with pytest.raises(TypeError, match="got int"):
        shortcuts.get_all(headers, 1)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(KeyError):
        shortcuts.pop(headers, "x-a")


SIZES = st.lists(
    st.tuples(
        st.sampled_from([b"content-length", b"transfer-encoding", b"x"]),
        st.sampled_from([b"5", b"6", b"-1", b"chunked", b"gzip", b"gzip, chunked", b"\xff"]),
    ),
    max_size=3,
).map(tuple)


def size_or_error(measure: Any, *heads: Any) -> object:
    try:
        return measure(*heads)
    except ValueError as error:
        return str(error)


@settings(max_examples=300)
@given(SIZES, SIZES, st.sampled_from(["GET", "HEAD", "CONNECT"]), st.sampled_from([100, 200, 204]))
def test_bodies_have_the_size_that_mitmproxy_reads(
    asked: tuple[tuple[bytes, bytes], ...],
    said: tuple[tuple[bytes, bytes], ...],
    method: str,
    status: int,
) -> None:
    flow = tflow.tflow(resp=True)
    request, response = flow.request, flow.response
    assert response
    for _ in range(2):  # what is known of a head holds until it is another
        request.headers.fields = asked
        for heads in ((request,), (request, response), (request, response)):
            known = size_or_error(shortcuts.body_size, *heads)
            assert known == size_or_error(http1.expected_http_body_size, *heads)
        response.headers.fields = said
        request.method, response.status_code = method, status


class Scripted(layer.Layer):
    """Says what its script has for each event; ``True`` waits for a reply, ``False`` does not."""

    def __init__(self, script: list[list[bool]]) -> None:
        super().__init__(Context(tflow.tclient_conn(), Options()))
        self.script = script
        self.told: list[object] = []

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        self.told.append(type(event))
        for waits in self.script.pop(0) if self.script else []:
            if waits:
                self.told.append((yield commands.OpenConnection(tflow.tserver_conn())))
            else:
                yield commands.Log("said")


def said_by(handle: Any, script: list[list[bool]], turns: list[bool]) -> list[object]:
    """Give a layer events and replies by turns; return what it said, and what it was told."""
    top, open_, seen = Scripted([list(one) for one in script]), list[Any](), list[object]()
    for reply in turns:
        event: events.Event = events.Start()
        if reply and open_:
            event = events.OpenConnectionCompleted(open_.pop(0), "replied")
        for command in handle(top, event):
            seen.append((type(command), command.blocking is top))
            if command.blocking:
                open_.append(command)
    return [*seen, *top.told, len(top._paused_event_queue), top._paused is None]


@settings(max_examples=200)
@given(st.lists(st.lists(st.booleans(), max_size=3), max_size=4), st.lists(st.booleans()))
def test_layers_say_the_same_and_wait_for_the_same(
    script: list[list[bool]], turns: list[bool]
) -> None:
    theirs = said_by(layer.Layer.handle_event, script, turns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer.Layer, "_Layer__process", shortcuts.process)
        assert said_by(shortcuts.handle_event, script, turns) == theirs


def test_settled_options_are_read_as_before() -> None:
    options, settled = Options(), Options()
    shortcuts.settle_options(settled)
    assert {name: getattr(settled, name) for name in sorted(settled.keys())} == {
        name: getattr(options, name) for name in sorted(options.keys())
    }
    assert settled.ignore_hosts is not settled.ignore_hosts
    assert settled.proxy_debug is False


def test_forked_context_shares_all_but_its_layers() -> None:
    parent = Context(tflow.tclient_conn(), Options())
    forked = shortcuts.fork(parent)
    assert vars(forked) == vars(parent.fork())
    assert forked.layers is not parent.layers


def test_options_are_copied_where_they_could_be_changed() -> None:
    options = Options()
    with hardened(Guards()):
        options.allow_hosts = ["a"]
        options.allow_hosts.append("b")
        assert options.allow_hosts == ["a"]
        assert options.ignore_hosts is not options.ignore_hosts
        assert options.http2 is True


def test_mitmproxys_own_ways_are_back_after_the_block() -> None:
    before = [getattr(place, name) for place, name, _ in shortcuts.SHORTCUTS]
    with hardened(Guards()):
        assert [getattr(place, name) for place, name, _ in shortcuts.SHORTCUTS] != before
    assert [getattr(place, name) for place, name, _ in shortcuts.SHORTCUTS] == before
