from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.normalize import fold
from llmtrace.analyzers.patterns import groups, load_packs, shipped_packs
from llmtrace.analyzers.patterns.finding import Finder, Scanned
from llmtrace.analyzers.patterns.groups import Group, shares
from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Role

HERE = Context()


def rule(name: str, pattern: str, anchor: str = "", roles: frozenset[Role] | None = None) -> Rule:
    return Rule(
        family="t",
        id=name,
        source="x",
        kind="jailbreak",
        severity=Severity.LOW,
        confidence=1.0,
        pattern=pattern,
        anchor=anchor,
        roles=frozenset(Role) if roles is None else roles,
    )


def candidates(
    group: Group, text: str, context: Context = HERE
) -> dict[str, list[tuple[int, int]]]:
    found = group.candidates(Scanned.of(text), context)
    return {finder.rule.id: list(regions) for finder, regions in found}


def scanned(group: Group, context: Context) -> int:
    """Return how many automata see a text of a context."""
    sets: Any = group._sets
    return sum((context.role, context.direction) in one.places for one in sets)


def test_a_rule_is_a_candidate_where_it_could_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PIECE", 4_096)
    monkeypatch.setattr(groups, "REACH", 64)
    group = Group([rule("a", "xa{2,90}b"), rule("b", "never")])
    text = f"{'-' * 9_000}x{'a' * 95}b{'-' * 9_000}"
    assert candidates(group, text) == {"a": [(8_192, 12_288)]}


def test_a_match_on_a_cut_is_seen_from_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PIECE", 100)
    group = Group([rule("a", r"\bxab")])
    text = "-" * 99 + "xab" + "-" * 99
    assert (0, 100) in candidates(group, text)["a"]


def test_pieces_end_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PIECE", 100)
    regions = candidates(Group([rule("a", "\u00e9")]), "a" + "\u00e9" * 200)["a"]
    assert regions[0] == (0, 101)
    assert regions[-1][1] == 401
    assert all(a[1] == b[0] for a, b in pairwise(regions))


def test_an_anchor_stands_for_the_pattern() -> None:
    assert candidates(Group([rule("a", "xab", "x")]), "x") == {"a": [(0, 1)]}


def test_rules_for_other_words_are_left_out() -> None:
    group = Group([rule("a", "x", roles=frozenset({Role.SYSTEM})), rule("b", "x")])
    assert set(candidates(group, "x")) == {"b"}
    assert set(candidates(group, "x", Context(Role.SYSTEM))) == {"a", "b"}
    assert candidates(Group([rule("c", "x", roles=frozenset())]), "x") == {}
    answer = Context(direction=Direction.ANSWER)
    assert set(candidates(group, "x", answer)) == {"b"}


def test_no_rules_have_no_candidates() -> None:
    assert candidates(Group([]), "x") == {}


def test_what_may_be_longer_than_a_piece_is_searched_for_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(groups, "PIECE", 4_096)
    long = replace(rule("a", "xa+b"), hold="token", max_length=9_000)
    anchored = replace(long, id="b", anchor="a")
    text = f"{'-' * 9_000}x{'a' * 8_000}b{'-' * 9_000}"
    found = candidates(Group([long, anchored]), text)
    assert found == {"a": [(0, len(text))], "b": [(0, len(text))]}


def test_those_that_wait_for_alike_share_an_automaton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "AT_ONCE", (3, 100))
    assert shares([*"aabba"], ["x"] * 5) == [[0, 1, 4], [2, 3]]
    assert shares([*"aaaa"], ["x"] * 4) == [[0, 1, 2], [3]]
    assert shares([*"aaa"], ["x" * 60, "x" * 30, "x" * 50]) == [[0, 1], [2]]
    assert shares([*"a"], ["x" * 900]) == [[0]]
    assert shares([], []) == []


def test_rules_of_the_packs_make_few_automata() -> None:
    rules = load_packs(shipped_packs())
    group = Group(rules)
    seen = [scanned(group, Context(role)) for role in (Role.USER, Role.TOOL_RESULT)]
    assert max(seen) <= 5
    assert scanned(group, Context(Role.TOOL_DESCRIPTION)) == 6


@pytest.mark.parametrize("rule", [pytest.param(r, id=r.name) for r in load_packs(shipped_packs())])
def test_an_anchor_is_in_all_that_its_rule_hits(rule: Rule) -> None:
    context = Context(min(rule.roles), direction=min(rule.directions))
    group = Group([rule])
    for text in rule.examples.match:
        seen = fold(text).text if rule.view == "canonical" else text
        data = Scanned.of(seen)
        hits = list(Finder(rule).search(data))
        assert bool(hits) <= bool(list(group.candidates(data, context)))


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.TOOL_RESULT])
def test_cues_are_told_of_whosever_words_they_are_in(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "PIECE", 100)
    group = Group([rule("a", "x", roles=frozenset({Role.USER}))], {"dash": "-{9}", "never": "nn"})
    text = "." * 99 + "-" * 9 + "." * 99
    told: set[str] = set()
    assert list(group.candidates(Scanned.of(text), Context(role), told)) == []
    assert told == {"dash"}


def test_a_cue_that_is_also_a_rule_is_both() -> None:
    group = Group([rule("a", "x")], {"cue": "x"})
    told: set[str] = set()
    finders = [one for one, _ in group.candidates(Scanned.of("x"), Context(), told)]
    assert [finder.rule.id for finder in finders] == ["a"]
    assert told == {"cue"}
    assert set(candidates(group, "x")) == {"a"}
