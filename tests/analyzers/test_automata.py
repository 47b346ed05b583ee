import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.automata import BadPattern, matcher, together, weaken


@pytest.mark.parametrize(
    ("pattern", "weaker"),
    [
        ("x{0,200}y", "x*y"),
        ("x{1,20}", "x+"),
        (r"\d{13,19}", r"\d{8,}"),
        ("x{2,5}", "x{2,5}"),
        ("x{36}", "x{36}"),
        (r"(?:ab){0,30}?c", "(?:ab)*?c"),
        (r"\{3,40}", r"\{3,40}"),
        ("[{3,40}]{3,40}", "[{3,40}]{3,}"),
        (r"[\]{3,40}]", r"[\]{3,40}]"),
        ("[]{3,40}]", "[]{3,40}]"),
        (r"\Qx{3,40}\Ex{3,40}", r"\Qx{3,40}\Ex{3,}"),
    ],
)
def test_wide_counts_are_left_out(pattern: str, weaker: str) -> None:
    assert weaken(pattern) == weaker
    matcher(weaker)


@settings(max_examples=200)
@given(st.integers(0, 12), st.integers(0, 30), st.text("ab-", max_size=40), st.sampled_from("a[ab"))
def test_a_weakened_pattern_matches_wherever_the_exact_one_does(
    low: int, more: int, text: str, piece: str
) -> None:
    pattern = f"-{piece if piece == 'a' else '[ab]'}{{{low},{low + more}}}-"
    if re.search(pattern, text):
        assert together([weaken(pattern)]).Match(text.encode())


def test_a_set_tells_all_that_match() -> None:
    found = together(["a", "b", r"\bc"]).Match(b"ac b")
    assert sorted(found or ()) == [0, 1]


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "a{2,1}", "(", "a{1001}"])
def test_what_is_not_linear_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        matcher(pattern)


def test_what_stands_before_the_start_is_seen() -> None:
    found = matcher(r"\b\d{3}").search(b"a123 456", 1)
    assert found is not None
    assert found.span() == (5, 8)
