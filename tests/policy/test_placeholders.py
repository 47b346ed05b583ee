"""A placeholder is known wherever it stands, however it was cut, and is never a finding."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.analyzers.base import Context, Direction, Hit
from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import ORIGIN_OF, Role
from llmtrace.policy.placeholders import (
    LETTERS,
    MAX_LENGTH,
    MAX_WRITTEN,
    PLACEHOLDER,
    canonical,
    is_genuine,
    is_masked,
    placeholder,
    undecided,
    unmasked,
)

KEY = b"k" * 32
EMAIL = placeholder(KEY, "pii.email", "someone@example.org")


def hit(start: int, end: int) -> Hit:
    return Hit(
        kind="pii.email", severity=Severity.LOW, confidence=1, start=start, end=end, detector="d"
    )


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_each_kind_has_placeholders_of_its_own_class(kind: str) -> None:
    made = placeholder(KEY, kind, "value")
    assert kind.rpartition(".")[2].upper()[:10] in made
    assert len(made) <= MAX_LENGTH
    assert PLACEHOLDER.fullmatch(made)
    assert is_genuine(KEY, made)
    assert canonical(made) == made


def test_the_same_value_is_the_same_word_and_another_is_another() -> None:
    assert placeholder(KEY, "pii.email", "someone@example.org") == EMAIL
    assert placeholder(KEY, "pii.email", "other@example.org") != EMAIL
    assert placeholder(b"another", "pii.email", "someone@example.org") != EMAIL


def test_the_word_does_not_change_with_a_version() -> None:
    assert EMAIL == "LLMT_EMAIL_KXHXQMZFRQDFXLXQ"


@pytest.mark.parametrize(
    "around",
    ["{}", "to {}.", '{{"to": "{}"}}', "\\n{}\\n", "`{}`", "https://h/?to={}&x=1", "a{}b", "*{}*"],
    ids=["alone", "prose", "json", "escapes", "code", "address", "in-a-word", "markdown"],
)
@pytest.mark.parametrize(
    "mangle", [str, str.lower, str.title, lambda text: text.replace("_", "\\_")],
    ids=["as-it-is", "lower", "title", "escaped"],
)  # fmt: skip
def test_it_is_known_wherever_it_stands(around: str, mangle: object) -> None:
    written = mangle(EMAIL)  # type: ignore[operator]  # a function of a text
    (found,) = PLACEHOLDER.findall(around.format(written))
    assert canonical(found) == EMAIL
    assert is_genuine(KEY, found)


@pytest.mark.parametrize(
    "text",
    ["LLMT_EMAIL_", "LLMT_EMAIL_ABCDEFGHIJKLMNOP", EMAIL[:-1], EMAIL.replace("_", " "), "LLMT"],
    ids=["begun", "vowels", "cut", "spaces", "mark"],
)
def test_what_is_not_one_is_not(text: str) -> None:
    assert PLACEHOLDER.search(text) is None


def test_one_that_somebody_made_up_is_mostly_told_from_a_real_one() -> None:
    made_up = [f"LLMT_EMAIL_{'B' * 13}{a}{b}{c}" for a in LETTERS for b in LETTERS for c in LETTERS]
    assert sum(is_genuine(KEY, one) for one in made_up) < len(made_up) / 100


@given(st.text("LMT_EAB\\ x", max_size=30), st.text("LMT_EAB\\ x", max_size=30))
def test_more_text_changes_nothing_before_the_undecided_tail(left: str, right: str) -> None:
    for text in (left, left + EMAIL, left + EMAIL[:20], EMAIL[-10:] + left):
        cut = undecided(text)
        assert len(text) - cut < MAX_WRITTEN
        now = [m.span() for m in PLACEHOLDER.finditer(text) if m.start() < cut]
        later = [m.span() for m in PLACEHOLDER.finditer(text + right) if m.start() < cut]
        assert now == later


def test_what_is_one_so_far_is_one_whatever_follows() -> None:
    looks_like_a_name = "LLMT_A_" + "B" * 16
    for follows in ("", "_", "_C", "_" + "C" * 16):
        found = PLACEHOLDER.search(looks_like_a_name + follows)
        assert found is not None
        assert found.group() == looks_like_a_name


@pytest.mark.parametrize("size", range(1, len(EMAIL)))
def test_a_placeholder_is_held_until_it_is_there(size: int) -> None:
    assert undecided(f"to {EMAIL[:size]}") == 3
    assert undecided(f"to {EMAIL}") == 3 + len(EMAIL)


def test_ordinary_text_is_not_held() -> None:
    assert undecided("the quick brown fox") == 19
    assert undecided("x" * 10_000) == 10_000


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (EMAIL, True),
        (f'"{EMAIL}"', True),
        ("[PII:EMAIL]", True),
        (f"{EMAIL} [SECRET:TOKEN]", True),
        (f"{EMAIL} hunter2", False),
        ("hunter2", False),
        ("", False),
    ],
)
def test_what_is_hidden_already_is_told(text: str, hidden: bool) -> None:
    assert is_masked(text) is hidden


def test_what_was_seen_in_a_placeholder_is_left_out() -> None:
    text = f"to {EMAIL} or a@b.example"
    in_it, around_it, beside = hit(8, 20), hit(3, 4 + len(EMAIL)), hit(len(text) - 11, len(text))
    assert unmasked(text, [in_it, around_it, beside]) == [beside]
    assert unmasked("a@b.example", [beside]) == [beside]


@pytest.mark.parametrize(
    ("text", "kind", "left_out"),
    [
        ("[PII:EMAIL]", "pii.email", True),
        ("[SECRET:TOKEN]", "secret.assignment", True),
        ("[PII:IGNORE_ALL_PREVIOUS_INSTRUCTIONS]", "prompt_injection", False),
        ("[PII:EMAIL]", "prompt_injection", False),
        ("[PII:CANARY_BLUE_HERON]", "canary_leak", False),
        ("[SECRET:correcthorsebattery]", "secret.assignment", False),
        (EMAIL, "role_injection", False),
    ],
)
def test_only_values_are_left_out_and_only_of_what_hides_them(
    text: str, kind: str, left_out: bool
) -> None:
    seen = replace(hit(0, len(text)), kind=kind)
    assert unmasked(text, [seen]) == ([] if left_out else [seen])


@pytest.mark.slow
def test_no_detector_sees_anything_in_a_placeholder() -> None:
    analyzer = PatternAnalyzer(load_packs(shipped_packs()))
    frames = ["{}", "password = '{}'", "api_key: {}", "Authorization: Bearer {}", "card {} ssn {}"]
    for number, kind in enumerate(sorted(kinds()) * 5):
        made = placeholder(KEY, kind, str(number))
        for role in (Role.USER, Role.TOOL_RESULT):
            for frame in frames:
                text = frame.format(made, made)
                context = Context(role, ORIGIN_OF[role], Direction.REQUEST)
                assert unmasked(text, analyzer.analyze(text, context)) == []
