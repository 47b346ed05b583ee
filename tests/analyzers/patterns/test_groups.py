from itertools import pairwise

import pytest

from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.patterns import groups
from llmtrace.analyzers.patterns.finding import Scanned
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


def test_a_rule_is_a_candidate_where_it_could_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PIECE", 4_096)
    monkeypatch.setattr(groups, "REACH", 64)
    group = Group([rule("a", "xa{2,90}b"), rule("b", "never")], whole=False)
    text = f"{'-' * 9_000}x{'a' * 95}b{'-' * 9_000}"
    assert candidates(group, text) == {"a": [(8_192, 12_288)]}
    assert candidates(Group([rule("a", "xa+b")], whole=True), text) == {"a": [(0, len(text))]}


def test_a_match_on_a_cut_is_seen_from_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PIECE", 100)
    group = Group([rule("a", r"\bxab")], whole=False)
    text = "-" * 99 + "xab" + "-" * 99
    assert (0, 100) in candidates(group, text)["a"]


def test_pieces_end_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PIECE", 100)
    regions = candidates(Group([rule("a", "\u00e9")], whole=False), "a" + "\u00e9" * 200)["a"]
    assert regions[0] == (0, 101)
    assert regions[-1][1] == 401
    assert all(a[1] == b[0] for a, b in pairwise(regions))


def test_an_anchor_stands_for_the_pattern() -> None:
    assert candidates(Group([rule("a", "xab", "x")], whole=False), "x") == {"a": [(0, 1)]}


def test_rules_for_other_words_are_left_out() -> None:
    group = Group([rule("a", "x", roles=frozenset({Role.SYSTEM})), rule("b", "x")], whole=False)
    assert set(candidates(group, "x")) == {"b"}
    assert set(candidates(group, "x", Context(Role.SYSTEM))) == {"a", "b"}
    assert candidates(Group([rule("c", "x", roles=frozenset())], whole=False), "x") == {}
    answer = Context(direction=Direction.ANSWER)
    assert set(candidates(group, "x", answer)) == {"b"}


def test_no_rules_have_no_candidates() -> None:
    assert candidates(Group([], whole=False), "x") == {}


def test_packs_stay_together_and_small_ones_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "AT_ONCE", (4, 100))
    packs = [*"aa", *"bb", *"cccccc", "d"]
    assert list(shares(packs, ["x"] * 11)) == [(0, 4), (4, 8), (8, 11)]
    assert list(shares(packs, ["x" * 30] * 11)) == [(0, 2), (2, 4), (4, 8), (8, 11)]
    assert list(shares([], [])) == []
