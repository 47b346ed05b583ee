from dataclasses import replace

import pytest

from llmtrace.analyzers.patterns.examples import broken_example
from llmtrace.analyzers.patterns.rules import Examples, Rule
from llmtrace.domain.findings import Severity

RULE = Rule(
    family="t",
    id="x",
    source="x",
    kind="pii.email",
    severity=Severity.LOW,
    confidence=1.0,
    pattern="zebra",
)


@pytest.mark.parametrize(
    ("match", "no_match", "said"),
    [
        (("a zebra", "zebras"), ("a dog",), ""),
        (("a zebra", "dog"), (), "examples.match[1] is not matched"),
        (("zebra",), ("dog", "zebra"), "examples.no_match[1] is matched"),
    ],
)
def test_an_example_holds_or_is_named(
    match: tuple[str, ...], no_match: tuple[str, ...], said: str
) -> None:
    rule = replace(RULE, examples=Examples(match=match, no_match=no_match))
    assert broken_example(rule) == said


def test_an_example_that_takes_too_long_is_named() -> None:
    examples = Examples(match=(f"{'1' * 60} x",))
    slow = replace(RULE, pattern=r"\d+", confirm=r"(?:\d|\d\d|\d\d\d)+x", examples=examples)
    assert "cannot be searched (timeout)" in broken_example(slow)
