import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.patterns.holds import CLASSES, Hold, fits, holds_of, undecided

ADDRESS = Hold("address", 60)
TOKEN, NUMBER = Hold("token", 20), Hold("number", 12)
PEM = Hold("block", 60, "-----BEGIN", "-----END")


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        ("mail john@ex", "john@ex"),
        ("mail john@ex ", ""),
        ("", ""),
        ("a" * 50, "a" * 20),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_the_last_word_is_open(text: str, tail: str) -> None:
    assert text[undecided(text, [TOKEN]) :] == tail


def test_an_address_is_open_until_a_space_or_quote() -> None:
    assert undecided('<img src="https://a.example/x;y,(z)', [ADDRESS]) == len('<img src="')
    assert undecided('<img src="https://a.example/x">', [ADDRESS]) == len(
        '<img src="https://a.example/x">'
    )
    assert undecided("\u898b\u3066\u3002https://a", [ADDRESS]) == 3


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        pytest.param("Well,", "", id="a-word"),
        pytest.param("url(", "", id="nothing-yet"),
        pytest.param("url(HTT", "HTT", id="a-scheme-begins"),
        pytest.param("url(https", "https", id="a-scheme"),
        pytest.param("url(/", "url(/", id="a-mark"),
        pytest.param("x,&#104;", "x,&#104;", id="escaped"),
    ],
)
def test_what_has_no_mark_of_an_address_is_open_by_its_scheme_alone(text: str, tail: str) -> None:
    assert text[undecided(text, [ADDRESS]) :] == tail


def test_the_earliest_of_all_classes_counts() -> None:
    text = "call +1 (555) 12a"
    assert text[undecided(text, [NUMBER]) :] == ""
    assert text[undecided(text, [TOKEN, NUMBER]) :] == "12a"
    assert text[undecided("call +1 555", [TOKEN, NUMBER]) :].startswith(" +1")


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        pytest.param("x -----BEGIN KEY", "-----BEGIN KEY", id="begun"),
        pytest.param("x ---", "---", id="about-to-begin"),
        pytest.param("x -----BEGIN K-----END K---", "-----BEGIN K-----END K---", id="ending"),
        pytest.param("x -----BEGIN K-----END K-----\ny", "", id="ended"),
        pytest.param("x -----BEGIN " + "k" * 60, "", id="too-long"),
        pytest.param(f"-----BEGIN K-----END K-----{'y' * 80}", "", id="ended-without-a-line-end"),
    ],
)
def test_a_block_is_open_until_its_end(text: str, tail: str) -> None:
    assert text[undecided(text, [PEM]) :] == tail


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        pytest.param("see ![a](https://b.c/d e", "](https://b.c/d e", id="begun"),
        pytest.param("see ![a]", "]", id="about-to-begin"),
        pytest.param("see ![a](https://b.c)", "", id="ended"),
    ],
)
def test_behind_a_closing_bracket_nothing_is_open(text: str, tail: str) -> None:
    assert text[undecided(text, [Hold("block", 60, "](", ")")]) :] == tail


def test_without_holds_all_is_decided() -> None:
    assert undecided("abc", []) == 3


def test_the_longest_span_of_a_class_counts() -> None:
    assert holds_of([Hold("token", 5), Hold("token", 9), PEM]) == (Hold("token", 9), PEM)


@pytest.mark.parametrize(
    ("text", "name", "does"),
    [
        ("a-b", "word", True),
        ("a b", "word", False),
        ("a b\n", "block", True),
        ("+1 2", "number", True),
    ],
)
def test_a_span_is_of_its_class(text: str, name: str, does: bool) -> None:
    assert fits(text, name, 9) is does
    assert not fits(text, name, 2)


@settings(max_examples=200)
@given(st.text("ab1 .\n-", max_size=40), st.text("ab1 .\n-", max_size=10))
def test_what_is_decided_stays_decided(text: str, more: str) -> None:
    for name in CLASSES:
        hold = Hold(name, 10)
        assert undecided(text + more, [hold]) >= undecided(text, [hold])
