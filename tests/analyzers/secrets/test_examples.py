"""Each rule for secrets finds its own examples, and as what it says it finds."""

import pytest

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.findings import Severity

RULES = load_packs(pack for pack in shipped_packs() if "/secrets/" in str(pack))
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
    assert all(hit.kind.startswith("secret.") for hit in hits)


def test_only_a_format_without_a_literal_end_is_left_out_of_streams() -> None:
    assert [rule.name for rule in RULES if not rule.hold] == ["secrets.private_key.putty"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("AKIAIOSFODNN7EXAMPLE", id="aws-key"),
        pytest.param("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", id="aws-secret"),
        pytest.param("sk-test-1234567890abcdef", id="openai"),
        pytest.param("sk_test_" + "4eC39HqLyjWDarjtT1zdp7dc", id="stripe"),
    ],
)
def test_a_public_test_value_is_told_as_information(text: str) -> None:
    hits = PatternAnalyzer(RULES).analyze(f"AWS_SECRET_ACCESS_KEY={text}", Context())
    assert [hit.severity for hit in hits] == [Severity.INFO]
