"""Code, locks, logs and diffs are no secrets: who masks those is switched off within a day."""

import random
import uuid
from pathlib import Path

import pytest
import yaml

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.domain.findings import Severity

ROWS = yaml.safe_load((Path(__file__).parent / "ordinary.yaml").read_text("utf-8"))
ANALYZER = PatternAnalyzer(
    load_packs(p for p in shipped_packs() if "/pii/" in str(p) or "/secrets/" in str(p))
)
WORSE = frozenset({Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM})


def found(text: str) -> list[str]:
    return [hit.detector for hit in ANALYZER.analyze(text, Context()) if hit.severity in WORSE]


@pytest.mark.parametrize("text", [pytest.param(row["text"], id=row["id"]) for row in ROWS])
def test_ordinary_text_has_no_finding(text: str) -> None:
    assert found(text) == []


def test_a_thousand_hashes_uuids_and_timestamps_have_no_finding() -> None:
    draw = random.Random(7)  # noqa: S311 - the same texts each time
    lines = []
    for _ in range(250):
        lines.append(f"commit {draw.randbytes(20).hex()} tree {draw.randbytes(32).hex()}")
        lines.append(f"id={uuid.UUID(bytes=draw.randbytes(16), version=4)}")
        lines.append(f"at {draw.randrange(1_500_000_000_000, 1_900_000_000_000)} ms")
        lines.append(f"at {draw.randrange(15 * 10**17, 19 * 10**17)} ns, took {draw.random()}")
    assert found("\n".join(lines)) == []
