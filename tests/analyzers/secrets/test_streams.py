"""Personal data and secrets are told in a growing text as they are told in the whole of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.base import Context, Hit
from llmtrace.analyzers.patterns import PatternAnalyzer, Rule, load_packs, shipped_packs

RULES = load_packs(p for p in shipped_packs() if "/pii/" in str(p) or "/secrets/" in str(p))
ANALYZER = PatternAnalyzer(RULES)
EXAMPLES = [t for r in RULES for t in (*r.examples.match, *r.examples.no_match) if len(t) < 400]
SHORT = 120
CONTEXT = Context()


def stable(text: str, before: int) -> list[Hit]:
    """Return the stable hits that begin before a place."""
    hits = ANALYZER.analyze(text, CONTEXT)
    return [hit for hit in hits if hit.stable and hit.start < before]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_an_example_is_told_alike_wherever_it_is_cut(rule: Rule) -> None:
    for text in (text for text in rule.examples.match if len(text) <= SHORT):
        whole = stable(text, len(text))
        for cut in range(len(text)):
            decided = ANALYZER.undecided(text[:cut])
            assert stable(text[:cut], decided) == [hit for hit in whole if hit.start < decided]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=3),
    separator=st.sampled_from((" ", "\n", ", ", "", ".", "- ")),
    data=st.data(),
)
def test_what_is_certain_of_a_prefix_is_so_of_the_whole(
    texts: list[str], separator: str, data: st.DataObject
) -> None:
    text = separator.join(texts)
    whole = stable(text, len(text))
    for cut in data.draw(st.sets(st.integers(0, len(text)), max_size=6)):
        decided = ANALYZER.undecided(text[:cut])
        assert stable(text[:cut], decided) == [hit for hit in whole if hit.start < decided]


def test_ordinary_words_are_held_no_longer_than_a_word() -> None:
    text = "The quick brown fox is 3 years old, see https://example.org/a and Tom's note. "
    held = [cut - ANALYZER.undecided(text[:cut]) for cut in range(1, len(text) + 1)]
    assert max(held) <= len("https://example.org/a")
    assert held[len("The quick brown") - 1] == len("brown")


def test_a_key_is_not_let_go_before_its_end() -> None:
    text = "use " + "AKIA" + "Q3EGRIDRWHTLUV5Z" + " now"
    for cut in range(len("use A"), len(text) - len(" now")):
        assert ANALYZER.undecided(text[:cut]) <= len("use ")
    assert [(hit.start, hit.end) for hit in stable(text, len(text))] == [(4, 24)]
