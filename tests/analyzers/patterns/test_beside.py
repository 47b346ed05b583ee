from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.patterns.beside import Words
from llmtrace.analyzers.patterns.rules import LEFT

WORDS = Words(["card", "credit card", "n\u00ba"])


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("card 1", True),
        ("Credit CARD: 1", True),
        ("(card)1", True),
        ("cards 1", False),
        ("postcard 1", False),
        ("\u00e4card 1", False),
        ("n\u00ba 1", True),
        ("\U0001f600 n\u00ba\u00e9 1", False),
        ("card" + " " * 76 + "1", True),
        ("card" + " " * 77 + "1", False),
        ("card" + "\u3042" * 40 + "\u3000" * 36 + "1", False),
        ("card" + "\u3000" * 76 + "1", True),
        ("1 card", False),
        ("", False),
    ],
)
def test_a_whole_word_within_reach_before_a_value_counts(text: str, known: bool) -> None:
    assert WORDS.before(text, max(text.find("1"), 0)) is known


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(["card", " ", "_", "x" * 30, "\u00e9" * 9, "credit card", "n\u00ba"]),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_stretches_are_apart_and_hold_all_that_is_near_a_word(
    pieces: list[str], begin: int
) -> None:
    text = "".join(pieces)
    data = text.encode()
    begin = min(len(text[:begin].encode()), len(data))
    stretches = list(WORDS.near(data, begin, len(data), 8, 8 * LEFT))
    assert all(begin <= low < high <= len(data) for low, high, _ in stretches)
    assert all(a[1] < b[0] for a, b in pairwise(stretches))
    for low, _, _ in stretches:
        data[low:].decode()
    for place in range(len(text)):
        at = len(text[:place].encode())
        if at >= begin and WORDS.before(text, place):
            assert any(low <= at < high and word < at for low, high, word in stretches)
