import pytest

from llmtrace.domain.answers import Channel, ChannelKind
from llmtrace.testing.judges import (
    CODE,
    EMAIL,
    FORBIDDEN,
    KEY,
    MASKED,
    REASON,
    REFUSED,
    SSN,
    VALUE,
    PatternJudge,
    expected,
)

TEXT = Channel(0, ChannelKind.TEXT)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        pytest.param(f"a {SSN}.", "a [SSN].", id="number"),
        pytest.param(f"{KEY},{EMAIL}", "[KEY],[EMAIL]", id="neighbours"),
        pytest.param(MASKED, VALUE, id="placeholder"),
        pytest.param(CODE, "code [CODE]", id="by-its-context"),
        pytest.param(f"1{SSN} x{KEY}", f"1{SSN} x{KEY}", id="part-of-something-longer"),
    ],
)
def test_what_becomes_of_a_text(text: str, becomes: str) -> None:
    assert expected(text) == becomes


def test_a_forbidden_word_blocks() -> None:
    (ruling,) = PatternJudge().rulings(f"a {FORBIDDEN} b", TEXT)
    assert (ruling.start, ruling.block, ruling.replacement) == (2, REASON, None)


@pytest.mark.parametrize(
    ("text", "index"), [("one two ", 8), ("one two", 4), ("x 123-", 2), ("0" * 40, 0), ("", 0)]
)
def test_the_last_run_is_undecided(text: str, index: int) -> None:
    assert PatternJudge().undecided(text, TEXT) == index


def test_tool_calls_are_masked_or_refused() -> None:
    judge = PatternJudge()
    assert judge.tool_call("refuse", "{}", TEXT).refused == REFUSED
    assert judge.tool_call("w", SSN, TEXT).arguments == "[SSN]"
    assert judge.tool_call("w", "plain", TEXT).arguments is None
    assert judge.calls == [("refuse", "{}"), ("w", SSN), ("w", "plain")]
