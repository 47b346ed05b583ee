"""Strings of JSON and where they stand, in good and in broken texts."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions.arguments import (
    MAX_LEAVES,
    looks_like_json,
    read_leaves,
    unescape,
)

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.text(max_size=8) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=15,
)


def strings(
    value: Any, path: tuple[str | int, ...] = ()
) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        return [(path, value)]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [found for key, inner in items for found in strings(inner, (*path, key))]


@given(VALUES, st.booleans())
@settings(max_examples=100, deadline=None)
def test_valid_json_is_read_as_json_is(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert [(leaf.path, leaf.text) for leaf in read_leaves(text)] == strings(value)
    assert all(leaf.text == text[leaf.start : leaf.end] for leaf in read_leaves(text) if leaf.exact)


@given(st.text(alphabet='{}[]":,\\ ux0a\n', max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_text_raises(text: str) -> None:
    assert all(0 <= leaf.start <= leaf.end <= len(text) for leaf in read_leaves(text))


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ('{"a": "b', [(("a",), "b")]),
        ('{"a": "b\\', [(("a",), "b\\")]),
        ('{"a": "b", "a": "c"}', [(("a",), "b"), (("a",), "c")]),
        ("{'a': \"b\"", []),
        ('{"a": ["b", 1, "c"]}', [(("a", 0), "b"), (("a", 2), "c")]),
    ],
)
def test_what_is_there_of_broken_json(text: str, leaves: list[Any]) -> None:
    if leaves:
        assert [(leaf.path, leaf.text) for leaf in read_leaves(text)] == leaves
    else:
        list(read_leaves(text))


def test_leaves_are_bounded() -> None:
    assert len(list(read_leaves("[" + '"a",' * (MAX_LEAVES * 2)))) == MAX_LEAVES


def test_depth_is_bounded() -> None:
    (leaf,) = read_leaves('{"k":' * 5000 + '"v"' + "}" * 5000)
    assert leaf.text == "v"


@pytest.mark.parametrize(
    ("raw", "told"),
    [("\\u0072m", "rm"), ("\\ud83d\\ude00", "😀"), ("\\ud83d", "\ufffd"), ("\\q\\/", "q/")],
)
def test_escapes(raw: str, told: str) -> None:
    assert unescape(raw) == told


def test_what_looks_like_json() -> None:
    assert looks_like_json(' {"a"')
    assert not looks_like_json("rm -rf /")
