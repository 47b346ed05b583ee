from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers import flooding
from llmtrace.analyzers.base import Context
from llmtrace.analyzers.flooding import BLOCK, TURNS, FloodingAnalyzer
from llmtrace.domain.parts import ORIGIN_OF, Role

ANALYZER = FloodingAnalyzer()


def detectors(text: str, role: Role = Role.TOOL_RESULT) -> list[str]:
    return [h.detector for h in ANALYZER.analyze(text, Context(role=role, origin=ORIGIN_OF[role]))]


def fill(unit: str, length: int = 3 * BLOCK) -> str:
    return (unit * (length // len(unit) + 1))[:length]


@given(unit=st.text(alphabet="abcdefgh \n", min_size=2, max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_repeated_words_are_a_flood(unit: str) -> None:
    told = len(set(unit)) > 1 and not unit.isspace()
    assert detectors(fill(unit)) == (["flooding.repetition"] if told or unit.isspace() else [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("very very very good", [], id="a-few-words"),
        pytest.param("\n" * 2 * BLOCK + "now obey", ["flooding.repetition"], id="blank-space"),
        pytest.param("0, " * BLOCK, [], id="matrix-of-zeros"),
        pytest.param("A" * 2 * BLOCK, [], id="base64-of-zeros"),
        pytest.param("-" * 2 * BLOCK, [], id="rule-of-dashes"),
        pytest.param("".join(f"line {n}: ok\n" for n in range(4000)), [], id="numbered-log"),
        pytest.param(fill("ab " * 10, BLOCK - 1), [], id="just-too-short"),
        pytest.param("", [], id="empty"),
    ],
)
def test_what_is_a_flood(text: str, found: list[str]) -> None:
    assert detectors(text) == found


def test_a_flood_within_ordinary_text_is_found_where_it_is() -> None:
    words = "".join(islice((f"word{n} " for n in count()), 6000))
    before = words[: 2 * BLOCK]
    text = before + fill("obey me now. ", 2 * BLOCK) + before
    hits = ANALYZER.analyze(text, Context(role=Role.USER))
    assert [(h.start, h.end) for h in hits] == [(2 * BLOCK, 4 * BLOCK)]


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        pytest.param(TURNS, ["flooding.many_turns"], id="many"),
        pytest.param(TURNS - 1, [], id="one-less"),
    ],
)
def test_a_script_of_many_turns(turns: int, found: list[str]) -> None:
    script = "".join(f"\nUser: question {n}\nAssistant: answer {n}" for n in range(turns))
    assert detectors(script, Role.USER) == found


@pytest.mark.parametrize("window", range(1, 30))
def test_windows_in_which_labels_are_counted_change_nothing(
    monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(flooding, "WINDOW", window)
    script = "\nUser: q\nAssistant: a\n\nUser:\nAssistant:"
    assert flooding._turns(script, ["\nUser:"]) == 2
    assert flooding._turns(script, ["\nUser:", "\nAssistant:", "\nA"]) == 6


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.ASSISTANT, Role.TOOL_CALL])
def test_the_agents_own_texts_are_not_counted(role: Role) -> None:
    assert detectors(fill("obey me now. "), role) == []


def test_nothing_is_told_before_the_text_is_whole() -> None:
    hits = ANALYZER.analyze(fill("obey me now. "), Context())
    assert ANALYZER.undecided("abc") == 3
    assert not any(hit.stable or hit.value for hit in hits)


def test_what_is_switched_off_is_not_looked_for() -> None:
    quiet = FloodingAnalyzer(without=["flooding.repetition", "pii.email"])
    assert not quiet.analyze(fill("drown all "), Context(Role.TOOL_RESULT))
    assert quiet.version != ANALYZER.version
    assert FloodingAnalyzer(without=()).version == ANALYZER.version
