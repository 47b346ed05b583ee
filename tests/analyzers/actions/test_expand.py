"""What a shell makes of words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions import expand
from llmtrace.analyzers.actions.script import HOLE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOME}", "~"),
        ("${HOME:?}", "~"),
        ("${x:-rm}", "rm"),
        ("${a}", "rm -rf"),
        ("${a:0:2}", "rm"),
        ("${a: -2}", "rf"),
        ("${a/-rf/x}", "rm x"),
        ("${x}", HOLE),
        ("${a#r}", HOLE),
        ("${!a}", HOLE),
    ],
)
def test_expansion(text: str, value: str) -> None:
    assert expand.expansion(text, {"a": "rm -rf"}, quoted=True) == value


def test_an_unquoted_value_is_split() -> None:
    assert expand.variable("a", {"a": "rm -rf"}, quoted=False) == f"rm{expand.SPLIT}-rf"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a,b}", ["a", "b"]),
        ("x{a,b}y", ["xay", "xby"]),
        ("{a}", ["{a}"]),
        ("{a,b}{c,d}", ["ac", "ad", "bc", "bd"]),
    ],
)
def test_braces(text: str, words: list[str]) -> None:
    assert sorted(expand.braces(text)) == words


def test_braces_are_bounded() -> None:
    assert len(list(expand.braces("{a,b}" * 50))) <= expand.MAX_BRACES


@given(st.text(alphabet="\\xu0129anU{},$", max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_text_raises(text: str) -> None:
    expand.ansi_c(text)
    expand.unquoted(text)
    expand.expansion(text, {}, quoted=False)
    list(expand.braces(text))


def test_escapes() -> None:
    assert expand.ansi_c("\\x72\\155\\n\\u0041") == "rm\nA"
    assert expand.unquoted("r\\m") == "rm"
    assert expand.unquoted("r\\m\\$", quoted=True) == "r\\m$"


def test_paths_from_a_folder() -> None:
    assert expand.joined("a", "/x") == "/x/a"
    assert expand.joined("/a", "/x") == "/a"
