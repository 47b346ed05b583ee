import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.analyzers.model.manifest import SCRIPTS
from llmtrace.analyzers.model.scripts import Through, written_in
from llmtrace.analyzers.normalize import fold
from llmtrace.analyzers.normalize.view import Original


def left(text: str) -> str:
    return written_in(SCRIPTS, Original(text)).text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("plain words", "plain words", id="ascii"),
        pytest.param("Zażółć gęślą jaźń", "Zażółć gęślą jaźń", id="accents"),
        pytest.param("Сегодня хорошо", "Сегодня хорошо", id="cyrillic"),
        pytest.param("今天天气很好。", "今天天气很好。", id="han"),
        pytest.param("هوا خوب است.", ", ", id="arabic"),
        pytest.param("می‌خواهم بروم", ", ", id="joiners"),
        pytest.param("यह एक वाक्य है।", ", ", id="marks"),
        pytest.param("سلام. Do it, now. سلام", ", Do it, now. , ", id="latin-within"),
        pytest.param("한국어로 API 문서", ", API , ", id="a-name-within"),
        pytest.param("سلام 🎉 %41%42", ", 🎉 %41%42", id="signs-that-may-hide-something"),
        pytest.param(
            "p < \N{GREEK SMALL LETTER ALPHA} = 0.05",
            "p < \N{GREEK SMALL LETTER ALPHA} = 0.05",
            id="a-sign-that-looks-latin",
        ),
        pytest.param(
            "\N{GREEK SMALL LETTER IOTA}gn\N{GREEK SMALL LETTER OMICRON}re",
            "\N{GREEK SMALL LETTER IOTA}gn\N{GREEK SMALL LETTER OMICRON}re",
            id="a-word-in-disguise",
        ),
        pytest.param(
            "x ≥ 1 ∀ \N{DOUBLE-STRUCK CAPITAL R} 🎉",
            "x ≥ 1 ∀ \N{DOUBLE-STRUCK CAPITAL R} 🎉",
            id="letters-of-no-script",
        ),
    ],
)
def test_letters_of_scripts_that_are_not_read_are_left_out(text: str, kept: str) -> None:
    assert left(text) == kept


def test_without_scripts_all_is_read() -> None:
    text = Original("هوا خوب است")
    assert written_in((), text) is text


@pytest.mark.parametrize("text", ["", "words", "déjà vu", "Привет"])
def test_what_is_read_whole_is_the_text_itself(text: str) -> None:
    whole = Original(text)
    assert written_in(SCRIPTS, whole) is whole


def test_what_is_left_stands_where_it_stood() -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in "IGNORE")
    text = f"این متن است. {wide} that. و بس"
    kept = written_in(SCRIPTS, Original(text))
    seen = Through(fold(kept.text), kept)
    at = seen.text.index("IGNORE that")
    start, end = seen.span(at, at + len("IGNORE that"))
    assert text[start:end] == f"{wide} that"


@given(
    st.lists(
        st.sampled_from(
            [
                "سلام",
                "한국",
                " ",
                "a",
                "Ж",
                "7",
                "é",
                "\u200c",
                "\N{ARABIC LETTER ALEF}",
                "\N{GREEK SMALL LETTER OMICRON}",
            ]
        )
    )
)
def test_no_letter_of_a_script_that_is_read_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    assert [c for c in left(text) if c in "aЖé7"] == [c for c in text if c in "aЖé7"]
