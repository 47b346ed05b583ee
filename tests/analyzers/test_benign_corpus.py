"""Everyday work of people and of coding agents is no attack, whoever says it."""

from pathlib import Path

import pytest
import yaml

from llmtrace.analyzers.base import Context, Direction, Hit
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import ORIGIN_OF, Role

CORPUS = yaml.safe_load((Path(__file__).parent / "rules" / "benign.yaml").read_text("utf-8"))
BAD = frozenset({Severity.CRITICAL, Severity.HIGH})
WORTH_A_LOOK = BAD | {Severity.MEDIUM}


@pytest.fixture(scope="module")
def analyzer() -> PatternAnalyzer:
    return PatternAnalyzer(load_packs(p for p in shipped_packs() if "rules" in str(p)))


def hits(analyzer: PatternAnalyzer, role: Role, text: str) -> list[Hit]:
    said = Direction.ANSWER if role in {Role.ASSISTANT, Role.TOOL_CALL} else Direction.REQUEST
    context = Context(role=role, origin=ORIGIN_OF[role], direction=said)
    return list(analyzer.analyze(text, context))


@pytest.mark.parametrize(
    ("role", "text", "quiet"),
    [pytest.param(r["role"], r["text"], r.get("quiet", False), id=r["id"]) for r in CORPUS],
)
def test_everyday_text_is_no_attack(
    analyzer: PatternAnalyzer, role: str, text: str, *, quiet: bool
) -> None:
    too_bad = WORTH_A_LOOK if quiet else BAD
    found = [h.detector for h in hits(analyzer, Role(role), text) if h.severity in too_bad]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [pytest.param(r["text"], id=r["id"]) for r in CORPUS if r["role"] == "user" and "quiet" in r],
)
def test_what_a_user_may_say_may_stand_in_a_tool_result(
    analyzer: PatternAnalyzer, text: str
) -> None:
    found = [h.detector for h in hits(analyzer, Role.TOOL_RESULT, text) if h.severity in BAD]
    assert found == []
