from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.options import Options
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
