from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.findings import Severity


def test_a_rule_is_named_with_its_family() -> None:
    rule = Rule(
        family="pii",
        id="email",
        source="x",
        kind="pii.email",
        severity=Severity.LOW,
        confidence=1.0,
        pattern="@",
    )
    assert rule.name == "pii.email"
