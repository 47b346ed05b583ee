from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.patterns.beside import Words

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
    st.lists(st.sampled_from(["card", " ", "x" * 30, "\u00e9" * 9, "credit card"]), max_size=30),
    st.integers(0, 60),
    st.integers(0, 90),
)
def test_stretches_are_apart_and_hold_all_that_is_near_a_word(
    pieces: list[str], before: int, after: int
) -> None:
    data = "".join(pieces).encode()
    stretches = list(WORDS.near(data, 10, len(data), before, after)) if len(data) > 10 else []
    assert all(10 <= low < high <= len(data) for low, high in stretches)
    assert all(a[1] < b[0] for a, b in pairwise(stretches))
    assert all(data[low:].decode() is not None for low, _ in stretches if low > 10)
    at = data.find(b"card")
    while at >= 0:
        # of a word within another the one that begins before counts; it is no shorter
        for place in range(max(10, at - before), min(len(data), at - len("credit ") + after)):
            assert any(low <= place < high for low, high in stretches)
        at = data.find(b"card", at + 1)
