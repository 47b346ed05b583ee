import pytest
import re2  # type: ignore[import-untyped] # as in automata
import regex

from llmtrace.analyzers.patterns.edges import behind, confirmed_behind, loose, opened

NO_LETTER = "(?<![A-Za-z0-9])"


def found(pattern: str, text: str) -> str | None:
    match = re2.search(pattern, text)
    if match is None:
        return None
    return str(match["value"] if "(?P<value>" in pattern else match[0])


@pytest.mark.parametrize(
    ("pattern", "confirm"),
    [
        pytest.param(r"\bAK[0-9]{4}\b", "", id="a-boundary"),
        pytest.param(r"(?i)\bak[0-9]{4}", "", id="flags"),
        pytest.param(r"(?:^|[^\w)(])AK[0-9]{4}", f"{NO_LETTER}AK[0-9]{{4}}", id="a-class"),
        pytest.param(r"(?:\b|bot)AK[0-9]{4}", f"{NO_LETTER}AK[0-9]{{4}}", id="a-choice"),
    ],
)
def test_a_value_begins_behind_an_escape_too(pattern: str, confirm: str) -> None:
    text = r"x\nAK1234 y"
    assert "AK1234" in (found(opened(pattern, confirm), text) or "")
    assert "AK1234" in (found(opened(pattern, confirm), "x AK1234 y") or "")
    assert found(opened(pattern, confirm), "xAK1234 y") is None
    assert found(behind(pattern, confirm) or loose(pattern, confirm), text)


def test_a_value_that_nothing_confirms_is_named() -> None:
    assert found(opened(r"\bAK[0-9]{4}\b", ""), r"x\tAK1234") == "AK1234"


def test_an_underscore_stands_beside_what_is_confirmed() -> None:
    pattern, confirm = r"\bAK[0-9]{4}\b", f"{NO_LETTER}AK[0-9]{{4}}(?![A-Za-z0-9])"
    assert found(opened(pattern, confirm), "my_AK1234_x") == "_AK1234"
    assert found(loose(pattern, confirm), "my_AK1234_x") == "AK1234"
    assert behind(pattern, confirm) == ""
    assert found(opened(pattern, ""), "my_AK1234") is None


def test_a_pattern_that_begins_anywhere_stays_as_it_is() -> None:
    assert opened("AK[0-9]", "") == loose("AK[0-9]", "") == "AK[0-9]"
    assert behind("AK[0-9]", "") == ""


def test_a_confirming_pattern_lets_an_escape_stand_before() -> None:
    confirm = confirmed_behind(f"{NO_LETTER}AK")
    assert regex.search(confirm, r"x\rAK")
    assert not regex.search(confirm, "xrAK")
    assert confirmed_behind("AK") == "AK"
