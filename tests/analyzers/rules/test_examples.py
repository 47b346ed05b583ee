"""Every rule of every shipped pack hits what it says it hits, and leaves alone what it says."""

from collections.abc import Iterator

import pytest

from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.patterns import PatternAnalyzer, Rule, load_packs, shipped_packs
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import ORIGIN_OF, Role

RULES = load_packs(pack for pack in shipped_packs() if "rules" in str(pack))
INJECTION = frozenset(
    {
        *("prompt_injection", "role_injection", "prompt_extraction", "jailbreak", "tool_poisoning"),
        *("data_exfiltration", "encoding_attack", "persuasion"),
    }
)
AGENTS_OWN = frozenset({Role.SYSTEM, Role.ASSISTANT, Role.TOOL_CALL})


def contexts(rule: Rule) -> Iterator[Context]:
    for role in sorted(rule.roles):
        for direction in sorted(rule.directions):
            yield Context(role=role, origin=ORIGIN_OF[role], direction=direction)


def examples(expected: str) -> list[object]:
    rows = [
        (rule, number, text)
        for rule in RULES
        for number, text in enumerate(getattr(rule.examples, expected), 1)
    ]
    return [pytest.param(rule, text, id=f"{rule.name}-{number}") for rule, number, text in rows]


@pytest.mark.parametrize(("rule", "text"), examples("match"))
def test_hits_its_examples(rule: Rule, text: str) -> None:
    alone = PatternAnalyzer([rule])
    for context in contexts(rule):
        inspection = alone.inspect(text, context)
        assert [hit.kind for hit in inspection.hits][:1] == [rule.kind]
        assert not inspection.skipped


@pytest.mark.parametrize(("rule", "text"), examples("no_match"))
def test_leaves_its_counterexamples_alone(rule: Rule, text: str) -> None:
    alone = PatternAnalyzer([rule])
    for context in contexts(rule):
        inspection = alone.inspect(text, context)
        assert not inspection.hits
        assert not inspection.skipped


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.name) for rule in RULES])
def test_has_both_kinds_of_examples(rule: Rule) -> None:
    assert rule.examples.match
    assert rule.examples.no_match


def test_the_agents_own_words_are_no_attack() -> None:
    """A grep for an attack, or an essay about one, is not one; only markup that sends data is.

    What the owner's own words say, and what the model passes on, is told of and no more.
    """
    for rule in RULES:
        if rule.kind not in INJECTION or not rule.roles & AGENTS_OWN:
            continue
        if Direction.REQUEST in rule.directions:
            assert rule.roles == {Role.SYSTEM}, rule.name
        if rule.kind != "data_exfiltration":
            assert rule.severity is Severity.LOW, rule.name


def test_a_trusted_user_is_believed_at_least_as_much_as_a_stranger() -> None:
    for rule in RULES:
        if rule.untrusted_confidence is not None:
            assert rule.confidence <= rule.untrusted_confidence, rule.name


def test_persuasion_alone_is_never_more_than_low() -> None:
    severities = {str(rule.severity) for rule in RULES if rule.kind == "persuasion"}
    assert severities == {"low"}


def test_every_kind_of_the_packs_is_known() -> None:
    assert {rule.kind for rule in RULES} <= set(kinds())
