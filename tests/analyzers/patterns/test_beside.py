from importlib.resources import files
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.patterns.beside import Words, named
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
    at = max(text.find("1"), 0)
    assert WORDS.before(text, at, at + 1) is known


@pytest.mark.parametrize(
    ("before", "known"),
    [
        ('{"card": "x", "id": ', False),
        ('{"card": "x", \\"orderId\\": ', False),
        ("card user_id=", False),
        ("card, ID = ", False),
        ("card (id=", False),
        ("card\nid=", False),
        ("card of the id=", False),
        ("card created_at=", False),
        ('{"card": "x", "elapsedMs": ', False),
        ('"card", "id of the row": ', False),
        ('"card", "n\u00famero ID": ', False),
        ("card ID = ", True),
        ("credit card id=", True),
        ('{"Card ID": ', True),
        ('{"my card key": ', True),
        ('\\"no card ID\\": ', True),
        ('{"card": "x", "key": ', True),
        ('{"card": "x", "42": ', True),
        ("card at=", True),
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
    assert WORDS.before(f"{before}415555267", len(before), len(before) + 9) is known


@pytest.mark.parametrize("value", ["070761-4285", "C01X00T47", "030 901820", "1990-05-12"])
def test_a_name_tells_of_digits_alone(value: str) -> None:
    text = f"the card, id={value}"
    assert WORDS.before(text, text.index("=") + 1, len(text))


@pytest.mark.parametrize(
    ("before", "at_least"),
    [("x id=", 1), ("x  id=", 1), ("id=", 1), ("x user_id=", 3), ('"id":', 2), ("x:", 0)],
)
def test_what_has_another_name_tells_from_where_on_words_count(before: str, at_least: int) -> None:
    assert named(f"{before}12", len(before), len(before) + 2) == at_least


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (r"\n\nif 1", False),
        (r"\nIF 1", False),
        (r"\tel 1", False),
        (r"\\tfn main 1", False),
        (r"\nnif 1", True),
        ("nif 1", True),
        (r"\fax{1", True),
        (r"\telephone{1", True),
        (r"C:\docs\fax 1", True),
        (r"path\bsn=1", True),
        (r"D:\born 1", True),
        (r"\tin no 1", False),
        (r"\tax in 1", True),
    ],
)
def test_the_letter_of_an_escape_begins_no_common_word(text: str, known: bool) -> None:
    words = Words(["nif", "tel", "telephone", "fax", "bsn", "born", "tfn", "tin no", "tax in"])
    assert words.before(text, len(text) - 1, len(text)) is known


def test_labels_are_words_in_lower_case() -> None:
    text = (files("llmtrace.analyzers.patterns") / "labels.yaml").read_text(encoding="utf-8")
    labels = yaml.safe_load(text)
    assert sorted(labels) == ["code", "last", "numbered"]
    for words in labels.values():
        assert all(isinstance(word, str) and word == word.lower() for word in words)
        assert len(words) == len(set(words))


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
        if at >= begin and WORDS.before(text, place, place + 1):
            assert any(low <= at < high and word < at for low, high, word in stretches)
