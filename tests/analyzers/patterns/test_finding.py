from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.patterns.clock import Unfinished
from llmtrace.analyzers.patterns.finding import Bounds, Finder, Scanned
from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.findings import Severity


def finder(pattern: str, **more: Any) -> Finder:
    return Finder(
        Rule(
            family="t",
            id="x",
            source="x",
            kind="pii.email",
            severity=Severity.LOW,
            confidence=1.0,
            pattern=pattern,
            **more,
        )
    )


def values(found: Finder, text: str, start: int = 0) -> list[str]:
    return [
        text[place.value_start : place.value_end] for place in found.search(Scanned.of(text), start)
    ]


def test_spans_are_in_code_points() -> None:
    assert values(finder(r"b\w+"), "\u00e9\u4e2d\U0001f600 bcd \u00e9 bx") == ["bcd", "bx"]


def test_a_group_narrows_the_span() -> None:
    found = next(finder(r"key=(?P<value>\w+)").search(Scanned.of("\u00e9 key=abc")))
    assert (found.start, found.end, found.value_start, found.value_end) == (2, 9, 6, 9)


def test_a_group_that_took_no_part_leaves_the_whole() -> None:
    assert values(finder(r"key(?:=(?P<value>\w+))?"), "key") == ["key"]


def test_what_is_rejected_takes_nothing_with_it() -> None:
    even = finder(r"\d\d", validator=lambda text: int(text) % 2 == 0)
    assert values(even, "1234") == ["12", "34"]
    assert values(even, "3123") == ["12"]
    assert values(even, "\u00e93\u00e9123") == ["12"]


def test_the_confirming_pattern_has_the_last_word() -> None:
    confirmed = finder("abc", confirm=r"(?<!no )abc(?P<value>d?)")
    assert values(confirmed, "no abcd, abcd") == ["d"]


@pytest.mark.parametrize("value", [True, False])
def test_a_value_behind_what_was_found_has_its_word_between(value: bool) -> None:
    rule = finder(
        r"\bpassword\b",
        confirm=r"password (?:for )?(?:the )?(?:\w+ )is (?P<value>[A-Z0-9]{8})",
        context=("vault",),
        context_required=True,
        value=value,
        max_length=8,
    )
    assert values(rule, "The password for the vault is ABCD1234.") == ["ABCD1234"]
    assert values(rule, "The password for the safe is ABCD1234.") == []


def test_the_confirming_pattern_may_begin_elsewhere() -> None:
    assert values(finder("bc", confirm="abcd"), "bc abcd bc") == ["abcd"]


def test_one_confirmed_span_is_found_once() -> None:
    assert values(finder("a", confirm="a+"), "aaaa b aa") == ["aaaa", "aa"]


def test_what_stands_before_the_start_is_context() -> None:
    assert values(finder(r"\bab"), "xab ab", 1) == ["ab"]
    assert values(finder("ab", confirm=r"(?<!x)ab"), "xab", 1) == []


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("ssn 123", True),
        ("SSN: 123", True),
        ("user_ssn=123", True),
        ("classname 123", False),
        ("123 ssn", False),
        (f"ssn {'x ' * 40}123", False),
        (f"caf\u00e9 ssn {'\u00e9 ' * 30}123", True),
    ],
)
def test_context_stands_within_eighty_characters_to_the_left(text: str, near: bool) -> None:
    found = list(finder(r"\d{3}", context=("ssn",)).search(Scanned.of(text)))
    assert [place.in_context for place in found] == [near]
    required = finder(r"\d{3}", context=("ssn",), context_required=True)
    assert len(values(required, text)) == near


def test_lone_surrogates_keep_their_place() -> None:
    assert values(finder("b"), "\ud83d\u00e9b") == ["b"]


def test_a_confirming_pattern_that_runs_away_is_stopped() -> None:
    runaway = finder("a+b?", confirm=r"(?:a|aa|aaa)+c")
    with pytest.raises(Unfinished, match="timeout"):
        values(runaway, f"{'a' * 60} c")


def test_rejections_have_a_bound() -> None:
    picky = finder(r"\d", validator=lambda text: text == "9")
    ten = Bounds(rejected=10)
    assert len(list(picky.search(Scanned.of("1" * 10 + "9"), bounds=ten))) == 1
    with pytest.raises(Unfinished, match="too_many"):
        list(picky.search(Scanned.of("1" * 11 + "9"), bounds=ten))


def test_numbers_of_another_name_are_no_rejections() -> None:
    near = finder(r"\d{3}", context=("tel",), context_required=True)
    row = '{"id": 123, "tel": "456"}'
    assert values(near, row * 20) == ["456"] * 20
    none = Bounds(rejected=0)
    assert len(list(near.search(Scanned.of(row * 20), bounds=none))) == 20
    with pytest.raises(Unfinished, match="too_many"):
        list(near.search(Scanned.of(f"tel{' ' * 80}123"), bounds=none))


def test_a_number_of_another_name_is_found_without_its_words() -> None:
    near = finder(r"\d{3}", context=("tel",))
    found = near.search(Scanned.of('tel "id": 123, "tel id": 123'))
    assert [place.in_context for place in found] == [False, True]


def test_an_empty_match_comes_to_an_end() -> None:
    assert values(finder("x*"), "axxb") == ["xx"]


@settings(max_examples=200)
@given(st.text("ab\u00e9\U0001f600", max_size=30), st.integers(0, 30))
def test_searching_on_from_a_gap_gives_the_rest(text: str, start: int) -> None:
    found = finder("ab?")
    everything = list(found.search(Scanned.of(text)))
    if any(place.start < start < place.end for place in everything) or start > len(text):
        return
    rest = [place for place in everything if place.start >= start]
    assert list(found.search(Scanned.of(text), start)) == rest
