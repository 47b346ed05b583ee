import codecs
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.canaries import LEAST, MAX_CANARIES, MOST, CanaryAnalyzer, disguises
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Role

TOKEN = "LT-canary-7f3a9c21"
ANALYZER = CanaryAnalyzer([TOKEN, "Zebra/Quartz+42"])
ANSWER = Context(role=Role.ASSISTANT, direction=Direction.ANSWER)
WAYS: dict[str, Callable[[str], str]] = {
    "plain": lambda token: token,
    "reversed": lambda token: token[::-1],
    "rot13": lambda token: codecs.encode(token, "rot13"),
    "hex": lambda token: token.encode().hex(),
}


def ways(text: str, context: Context = ANSWER) -> list[str]:
    return [hit.detector.removeprefix("canary.") for hit in ANALYZER.analyze(text, context)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [str, str.upper, str.lower], ids=["as-is", "upper", "lower"])
def test_a_canary_is_found_in_each_disguise(way: str, case: Callable[[str], str]) -> None:
    shape = case(WAYS[way](TOKEN))
    (hit,) = ANALYZER.analyze(f"the words are: {shape}.", ANSWER)
    assert (hit.start, hit.end) == (15, 15 + len(shape))
    assert (hit.kind, hit.detector) == ("canary_leak", f"canary.{way}")
    assert hit.severity is Severity.CRITICAL
    assert hit.stable
    assert not hit.value


def test_hex_with_gaps_is_found() -> None:
    assert ways(TOKEN.encode().hex(" ")) == ["hex"]


@settings(max_examples=100)
@given(
    before=st.binary(max_size=9),
    behind=st.binary(max_size=9),
    encode=st.sampled_from((b64encode, urlsafe_b64encode)),
    token=st.sampled_from((TOKEN, "Zebra/Quartz+42")),
)
def test_a_canary_in_any_longer_text_in_base64_is_found(
    before: bytes, behind: bytes, encode: Callable[[bytes], bytes], token: str
) -> None:
    assert "base64" in ways(encode(before + token.encode() + behind).decode())


@pytest.mark.parametrize(
    ("context", "found"),
    [
        pytest.param(Context(role=Role.SYSTEM), False, id="system-prompt"),
        pytest.param(Context(role=Role.USER), True, id="user"),
        pytest.param(Context(role=Role.TOOL_RESULT), True, id="tool-result"),
        pytest.param(Context(role=Role.TOOL_CALL, direction=Direction.ANSWER), True, id="call"),
        pytest.param(Context(role=Role.SYSTEM, direction=Direction.ANSWER), True, id="answer"),
    ],
)
def test_a_canary_belongs_in_the_system_prompt_alone(context: Context, *, found: bool) -> None:
    assert bool(ways(TOKEN, context)) is found


def test_a_canary_under_invisible_characters_is_found_with_them() -> None:
    text = "x LT-can\u200bary-7f3a\u20639c21 y"
    (hit,) = ANALYZER.analyze(text, ANSWER)
    assert (hit.start, hit.end) == (2, len(text) - 2)


def test_places_behind_other_scripts_are_code_points() -> None:
    text = f"\u5bc6\u7801\U0001f511 {TOKEN} {TOKEN}"
    assert [(h.start, h.end) for h in ANALYZER.analyze(text, ANSWER)] == [(4, 22), (23, 41)]


def test_a_part_of_a_canary_is_none() -> None:
    assert ways(TOKEN[:-1]) == []
    assert ways("") == []
    assert CanaryAnalyzer([]).analyze(TOKEN, ANSWER) == ()


SHAPES = [shape for _, shape in disguises(TOKEN)]


@settings(max_examples=150)
@given(
    pieces=st.lists(st.sampled_from([*SHAPES, TOKEN[:7], " ", "LT", "\u200b"]), max_size=4),
    data=st.data(),
)
def test_what_is_told_of_a_prefix_stays(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    prefix = text[: data.draw(st.integers(0, len(text)))]
    cut = ANALYZER.undecided(prefix)
    of_prefix = [h for h in ANALYZER.analyze(prefix, ANSWER) if h.start < cut]
    assert of_prefix == [h for h in ANALYZER.analyze(text, ANSWER) if h.start < cut]


def test_only_what_could_become_a_canary_is_held() -> None:
    assert ANALYZER.undecided("hello LT-can") == len("hello ")
    assert ANALYZER.undecided("hello world!") == len("hello world!")
    assert ANALYZER.undecided("") == 0


@pytest.mark.parametrize(
    ("canaries", "reason"),
    [
        pytest.param(["a" * (LEAST - 1)], "8 to 128", id="short"),
        pytest.param(["a" * (MOST + 1)], "8 to 128", id="long"),
        pytest.param(["\u5bc6\u7801\u5bc6\u7801\u5bc6\u7801\u5bc6\u7801"], "ASCII", id="not-ascii"),
        pytest.param([f"canary-{n:04}" for n in range(MAX_CANARIES + 1)], "fewer", id="many"),
    ],
)
def test_a_canary_that_cannot_serve_is_refused_unnamed(canaries: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        CanaryAnalyzer(canaries)
    assert canaries[0] not in str(caught.value)


def test_as_many_and_as_long_ones_as_allowed_fit() -> None:
    tokens = [f"{n:03}{'aB3-' * 40}"[:MOST] for n in range(MAX_CANARIES)]
    hits = CanaryAnalyzer(tokens).analyze(f"so: {tokens[7]}", ANSWER)
    assert [hit.start for hit in hits] == [4]


def test_the_version_is_that_of_the_canaries() -> None:
    assert ANALYZER.version == CanaryAnalyzer(["Zebra/Quartz+42", TOKEN]).version
    assert ANALYZER.version != CanaryAnalyzer([TOKEN]).version
    assert ANALYZER.name == "canaries"
