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


@pytest.mark.parametrize(
    ("before", "known"),
    [
        ('{"card": "x", "id": ', False),
        ('{"card": "x", \\"orderId\\": ', False),
        ("card user_id=", False),
        ("card ID = ", False),
        ('{"card_id": ', True),
        ('{"credit card id": 2, "card.id": ', True),
        ("card number=", True),
        ('{"card": {"number": ', True),
        ('{"type": "card", "id": "', True),
        ("card id: ", True),
        ("the card with the id ", True),
    ],
)
def test_behind_the_name_of_another_number_only_that_name_counts(before: str, known: bool) -> None:
    assert WORDS.before(f"{before}415555267", len(before)) is known


def test_the_letter_of_an_escape_begins_no_word() -> None:
    words = Words(["nif", "tel"])
    for text, known in {
        r"\n\nif 1": False,
        r"\tel 1": False,
        r"\nnif 1": True,
        "nif 1": True,
    }.items():
        assert words.before(text, len(text) - 1) is known


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
