import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.normalize.folding import fold, fold_pattern

ODD = st.text(st.sampled_from("ab 1") | st.characters(codec=None), max_size=30)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        pytest.param("\u0406gn\u043er\u0435", "Ignore", id="cyrillic-look-alikes"),
        pytest.param("\uff49\uff47\uff4e\uff4f\uff52\uff45", "ignore", id="full-width"),
        pytest.param("\U0001d422\U0001d420\U0001d427", "ign", id="mathematical-bold"),
        pytest.param("i\u200bg\u200cn\u2060o\ufeffre", "ignore", id="zero-width"),
        pytest.param("\u202eabc\u202c", "abc", id="bidi-controls"),
        pytest.param("i\u0336g\u0336n\u0336", "ign", id="struck-through"),
        pytest.param("pr\u00e9c\u00e9dentes \u00e7a", "precedentes ca", id="accents"),
        pytest.param("e\u0301", "e", id="combining-accent"),
        pytest.param("don\u2019t \u2013 \u201cx\u201d", 'don\'t - "x"', id="typography"),
        pytest.param("a\u00a0b\u3000c\u2028d", "a b c\nd", id="spaces"),
        pytest.param("\ufb01le \u2167", "file VIII", id="ligatures"),
        pytest.param("\u5ffd\u7565 \u0438\u0433", "\u5ffd\u7565 \u0438r", id="other-scripts-stay"),
        pytest.param("\ud83dx", "\ufffdx", id="lone-surrogate"),
        pytest.param("a\U000e0041b\ufe0f", "ab", id="tags-and-selectors"),
        pytest.param("\u0399GN\u039fR\u0395", "IGNORE", id="greek-capitals"),
        pytest.param("\u026a\u0262\u0274\u1d0f\u0280\u1d07", "ignore", id="small-capitals"),
        pytest.param("ignore\u2800all", "ignore all", id="braille-blank"),
    ],
)
def test_the_canonical_view(text: str, seen: str) -> None:
    assert fold(text).text == seen


def test_ascii_is_its_own_view() -> None:
    text = "plain text, nothing else"
    folded = fold(text)
    assert folded.text is text
    assert folded.span(3, 9) == (3, 9)
    assert folded.cut(5) == 5


@settings(max_examples=300)
@given(ODD, ODD)
def test_what_follows_changes_nothing(text: str, more: str) -> None:
    assert fold(text + more).text.startswith(fold(text).text)


@settings(max_examples=300)
@given(ODD)
def test_each_character_leads_back_to_where_it_came_from(text: str) -> None:
    folded = fold(text)
    for index, char in enumerate(folded.text):
        start, end = folded.span(index, index + 1)
        assert end == start + 1
        assert char in fold(text[start:end]).text
        assert folded.at(start) <= index < folded.at(end)


@settings(max_examples=200)
@given(ODD, st.data())
def test_a_span_covers_all_it_stands_for(text: str, data: st.DataObject) -> None:
    folded = fold(text)
    if not folded.text:
        return
    start = data.draw(st.integers(0, len(folded.text) - 1))
    end = data.draw(st.integers(start + 1, len(folded.text)))
    low, high = folded.span(start, end)
    assert folded.text[start:end] in fold(text[low:high]).text


@settings(max_examples=200)
@given(ODD, st.integers(0, 40))
def test_a_cut_of_the_view_is_a_cut_of_the_text(text: str, index: int) -> None:
    folded = fold(text)
    cut = folded.cut(index)
    assert len(fold(text[:cut]).text) <= max(index, 0) or cut == len(text)


@settings(max_examples=100)
@given(ODD)
def test_folding_again_changes_nothing(text: str) -> None:
    once = fold(text).text
    assert fold(once).text == once


@pytest.mark.parametrize(
    "word",
    ["\u0438\u0433\u043d\u043e\u0440\u0438\u0440\u0443\u0439", "\u0422\u0415\u041a\u0421\u0422"],
)
def test_case_can_be_ignored_before_or_after(word: str) -> None:
    assert fold(word.lower()).text.lower() == fold(word.upper()).text.lower()


def test_patterns_are_folded_as_texts_are() -> None:
    assert fold_pattern(rb"pr\u00e9c\u00e9dentes?".decode("unicode_escape")) == "precedentes?"
    assert fold_pattern("[\u2010-\u2015]") == "[\u2010-\u2015]"


def test_the_table_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrace.analyzers.normalize.folding.MAX_CACHED", 0)
    fancy = "\U0001d4d0\U0001d4d1\u1e9b\u01c4"
    assert fold(fancy).text == fold(unicodedata.normalize("NFKC", fancy)).text
