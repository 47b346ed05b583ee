"""Each rule for personal data finds its own examples, and as what it says it finds."""

import pytest

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.analyzers.patterns.rules import Rule

RULES = load_packs(pack for pack in shipped_packs() if "/pii/" in str(pack))
each_rule = pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.name) for rule in RULES])


@each_rule
def test_a_rule_finds_its_examples_and_nothing_in_the_others(rule: Rule) -> None:
    analyzer = PatternAnalyzer([rule])
    for number, text in enumerate(rule.examples.match):
        assert analyzer.analyze(text, Context()), f"{rule.name}: match {number} is not found"
    for number, text in enumerate(rule.examples.no_match):
        assert not analyzer.analyze(text, Context()), f"{rule.name}: no_match {number} is found"
    assert rule.examples.no_match


@each_rule
def test_what_is_found_is_a_value_and_in_streams_within_its_class(rule: Rule) -> None:
    analyzer = PatternAnalyzer([rule])
    hits = [hit for text in rule.examples.match for hit in analyzer.analyze(text, Context())]
    assert all(hit.value and hit.stable == bool(rule.hold) for hit in hits)
    assert all(hit.kind.startswith("pii.") for hit in hits)


def test_only_what_the_start_of_a_text_cannot_tell_is_left_out_of_streams() -> None:
    assert {rule.name for rule in RULES if not rule.hold} == {
        "pii.street_address.english",
        "pii.street_address.german",
        "pii.street_address.romance",
        "pii.date_of_birth.words",
        "pii.passport.mrz",
    }


def test_rules_that_need_their_words_are_not_run_without_them() -> None:
    """The anchor is those words: a log full of numbers then costs these rules nothing."""
    assert not [rule.name for rule in RULES if rule.context_required and not rule.anchor]
