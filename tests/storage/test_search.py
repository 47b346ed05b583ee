import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.storage.search import MAX_WORDS, found_in, fts_query, glob, phrases, wildcard


@pytest.mark.parametrize(
    ("search", "query"),
    [
        ("hello", '"hello"'),
        ("two words", '"two" "words"'),
        ("foo-bar", '"foo bar"'),
        ("snake_case", '"snake case"'),
        ('say "hi" NOT*', '"say" "hi" "NOT"'),
        ("NEAR(a, 3)", '"NEAR a" "3"'),
        ("\0\"'*", ""),
        ("", ""),
    ],
)
def test_a_search_becomes_quoted_words(search: str, query: str) -> None:
    assert fts_query(search) == query


@settings(max_examples=200)
@given(st.text())
def test_nothing_but_words_reaches_the_query_language(search: str) -> None:
    bare = fts_query(search).replace('"', "").replace(" ", "")
    assert not bare or bare.isalnum()
    assert fts_query(search).count('"') == 2 * len(phrases(search))


def test_the_words_of_a_search_are_bounded() -> None:
    assert len(phrases("a " * 10_000)) == MAX_WORDS


def test_each_phrase_may_be_in_another_text() -> None:
    assert found_in(phrases("alpha beta"), "Alpha", "beta!")
    assert not found_in(phrases("alpha-beta"), "alpha", "beta")
    assert not found_in(phrases("?"), "anything?")


def test_a_star_alone_is_special_in_a_pattern() -> None:
    assert glob("a***b?[c]") == "a*b[?][[]c]"
    assert wildcard("a*b")("a.\nb")
    assert not wildcard("a.b")("axb")
