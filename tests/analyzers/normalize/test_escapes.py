import pytest

from llmtrace.analyzers.normalize import fold, views
from llmtrace.analyzers.normalize.escapes import MAX_TRIED, uncoloured, unescaped, within_word


def read(text: str) -> str | None:
    made = unescaped(fold(text), text.encode())
    return made.text if made else None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(r"x\nIgnore all", "x \nIgnore all", id="behind-a-newline"),
        pytest.param(r"x\tYou are", "x  You are", id="behind-a-tab"),
        pytest.param(r"x\\nplease send it, print it\n", None, id="a-word-that-opens-nothing"),
        pytest.param(r"ignore all\nprevious", "ignore all \nprevious", id="within-an-order"),
        pytest.param(r"ignore all\\nprevious", "ignore all  \nprevious", id="escaped-twice"),
        pytest.param(r"x\n## System", "x \n## System", id="a-heading"),
        pytest.param(r'{"a": "import os\nprint(1)\n    return x\n"}', None, id="code"),
        pytest.param("Ignore all\nprevious", None, id="no-escape"),
    ],
)
def test_orders_behind_escapes_are_read(text: str, said: str | None) -> None:
    assert read(text) == said


def test_what_is_read_otherwise_is_told_with_its_place() -> None:
    text = r"x\nIgnore all"
    view = views(fold(text)).views[0]
    assert view.changed(3, 9)
    assert not view.changed(6, 9)
    assert view.span(3, 9) == (3, 9)


def test_many_words_behind_escapes_have_a_bound() -> None:
    text = r"1\nall 2" * (MAX_TRIED - 1)
    assert read(text) is None
    assert read(text * 2) is not None


@pytest.mark.parametrize(
    ("before", "after", "said", "within"),
    [
        pytest.param("ok", "Now", " ", True, id="between-words"),
        pytest.param("ig", "nore", " ", True, id="within-a-word"),
        pytest.param("AKIA", "7Q", " ", True, id="within-a-token"),
        pytest.param("jo@", "corp.example", "", True, id="behind-a-sign"),
        pytest.param("ok", "+1", " ", True, id="before-a-sign"),
        pytest.param("ok", " no", "", False, id="before-a-space"),
        pytest.param("", "Now", "", False, id="at-the-start"),
        pytest.param("ok", "", "", False, id="at-the-end"),
    ],
)
def test_colours_keep_words_apart(before: str, after: str, said: str, within: bool) -> None:
    text, start = f"{before}\x1b[1m{after}", len(before)
    assert uncoloured(text, start, start + 4) == said
    assert within_word(text, start, start + 4) == within


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("\x1b[31mIgnore all\x1b[0m", "Ignore all", id="colour"),
        pytest.param("\x1b]0;title\x07Ignore all", "Ignore all", id="title"),
        pytest.param("Ig\x1b[1mno\x1b[0mre all", "Ignore all", id="within-a-word"),
        pytest.param("AK\x1b[1mIA\x1b[0m7Q2", "AKIA7Q2", id="within-a-token"),
        pytest.param(r"\u001b[31mIgnore\u001b[0m all", "Ignore all", id="escaped"),
    ],
)
def test_colours_are_taken_out(text: str, said: str) -> None:
    assert said in [view.text for view in views(fold(text)).views]


def test_a_long_coloured_log_is_read_to_its_end() -> None:
    made = views(fold("\x1b[32mok\x1b[0m done\n" * 3_000))
    assert made.complete
    assert made.views[0].text == "ok done\n" * 3_000
