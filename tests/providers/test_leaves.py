"""Every string of a JSON document, in order, with its path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.providers.base import Json
from llmtrace.providers.leaves import is_plain_key, is_token, strings, words

JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=15,
)


def every_string(value: Json, path: tuple[str | int, ...] = ()) -> list[tuple[object, str]]:
    if isinstance(value, str):
        return [(path, value)] if value else []
    if isinstance(value, list):
        return [s for i, item in enumerate(value) for s in every_string(item, (*path, i))]
    if isinstance(value, dict):
        keys: list[tuple[object, str]] = [((*path, k), k) for k in value if not is_plain_key(k)]
        return keys + [s for k, item in value.items() for s in every_string(item, (*path, k))]
    return []


@given(JSON)
def test_all_strings_come_in_document_order(value: Json) -> None:
    found = [(path, text) for path, text in strings(value) if text]
    assert found == [(path, text) for path, text in every_string(value) if text]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        pytest.param({"id": "abc-1"}, [], id="token-under-known-key"),
        pytest.param({"id": "my number is 1"}, ["my number is 1"], id="text-under-known-key"),
        pytest.param({"id": "é"}, ["é"], id="not-ascii-under-known-key"),
        pytest.param({"id": "x" * 257}, ["x" * 257], id="long-under-known-key"),
        pytest.param({"id": ["a", {"id": "b", "t": "c"}]}, ["c"], id="known-below-known"),
        pytest.param({"new": {"id": "secret"}}, ["secret"], id="nothing-known-below-unknown"),
        pytest.param({"new": "a"}, ["a"], id="token-under-unknown-key"),
    ],
)
def test_known_keys_hide_tokens_alone(value: Json, texts: list[str]) -> None:
    assert [text for _, text in strings(value, known=frozenset({"id"}))] == texts


def test_sticky_keeps_keys_known_below_unknown_ones() -> None:
    value: Json = {"properties": {"a": {"type": "string", "description": "An a"}}}
    found = list(strings(value, known=frozenset({"type"}), sticky=True))
    assert found == [(("properties", "a", "description"), "An a")]


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("role", True),
        ("50256", True),
        ("123-45-6789", False),
        ("123456789", False),
        ("a b", False),
        ("x" * 65, False),
        ("ephemeral_5m_input_tokens", True),
        ("additionalPropertiesOfThisObject", True),
        ("ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", False),
        ("AKIA" + "ZQ3DR7LKT5MN2VXB", False),
        ("LLMT_TOKEN_" + "BCDFGHJKLMNPQRST", False),
    ],
)
def test_a_key_that_says_something_is_not_plain(key: str, plain: bool) -> None:
    assert is_plain_key(key) is plain


def test_long_numbers_are_read_where_asked_for() -> None:
    value: Json = {"a": [5425233430109903, 99_999_999_999, True, 1.5e15], "b": -(10**11)}
    found = [(("a", 0), "5425233430109903"), (("b",), "-100000000000")]
    assert list(strings(value, numbers=True)) == found
    assert list(strings(value)) == []


def test_tokens_have_no_space() -> None:
    assert is_token("gpt-5")
    assert not is_token("gpt 5")
    assert not is_token("gpt\n")


def test_words() -> None:
    assert words(" a\n b ") == {"a", "b"}
