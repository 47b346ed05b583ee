"""Whether everyday texts of many languages pass, rules and the shipped model together."""

from functools import cache
from pathlib import Path

import pytest
import yaml

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.ensemble import ATTACKS, Ensemble
from llmtrace.analyzers.model import SHIPPED, ModelAnalyzer, read_manifest
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.domain.parts import ORIGIN_OF, Role

TEXTS: dict[str, list[str]] = yaml.safe_load(
    (Path(__file__).parent / "everyday.yaml").read_text("utf-8")
)
TOLD = TEXTS.pop("told")


@cache
def detectors() -> Ensemble:
    """Return rules and model as the gateway has them: operating point ``balanced``."""
    rules = PatternAnalyzer(load_packs(path for path in shipped_packs() if "rules" in str(path)))
    return Ensemble(rules, ModelAnalyzer(read_manifest(SHIPPED)))


def attacks(text: str, role: Role) -> list[tuple[str, float]]:
    made = detectors().analyze(text, Context(role, ORIGIN_OF[role]))
    return [(hit.detector, hit.confidence) for hit in made if hit.kind in ATTACKS]


@pytest.mark.parametrize("role", [Role.TOOL_RESULT, Role.USER])
@pytest.mark.parametrize("of", TEXTS)
def test_what_people_write_every_day_is_no_attack(of: str, role: Role) -> None:
    found = {number: attacks(text, role) for number, text in enumerate(TEXTS[of])}
    assert {number: told for number, told in found.items() if told} == {}


def test_what_is_told_all_the_same_is_rare_and_known() -> None:
    told = [text for text in TOLD if attacks(text, Role.TOOL_RESULT)]
    assert told == TOLD
    assert len(told) <= 0.02 * sum(map(len, TEXTS.values()))


def test_there_are_many_languages() -> None:
    assert len(TEXTS) >= 50
    assert min(map(len, TEXTS.values())) >= 2
