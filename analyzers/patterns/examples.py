"""Runs the examples of a rule: the texts that it says it hits, and those that it says it leaves."""

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.patterns.engine import PatternAnalyzer
from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.parts import ORIGIN_OF


def broken_example(rule: Rule) -> str:
    """Return which example of a rule does not hold, and how; empty where all do.

    Where a rule looks at several roles and directions, one stands for all.
    """
    role, direction = min(rule.roles), min(rule.directions)
    context = Context(role=role, origin=ORIGIN_OF[role], direction=direction)
    alone = PatternAnalyzer([rule])
    wanted = [("match", text) for text in rule.examples.match]
    wanted += [("no_match", text) for text in rule.examples.no_match]
    count = {"match": 0, "no_match": 0}
    for key, text in wanted:
        count[key] += 1
        made = alone.inspect(text, context)
        hit = any(one.detector.partition("~")[0] == rule.name for one in made.hits)
        if made.skipped:
            return f"examples.{key}[{count[key] - 1}] cannot be searched ({made.skipped[0].reason})"
        if hit != (key == "match"):
            said = "is not matched" if key == "match" else "is matched"
            return f"examples.{key}[{count[key] - 1}] {said}"
    return ""
