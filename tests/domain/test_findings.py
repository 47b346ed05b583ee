import math
from typing import Any

import pytest

from llmtrace.domain.findings import Finding, Severity, Verdict


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "kind": "pii.email",
        "severity": Severity.HIGH,
        "confidence": 0.5,
        "location": "system",
        "start": 0,
        "end": 1,
        "detector": "rules",
    }
    return Finding(**(values | changes))


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 4), (-1, 2), (3, 3)])
def test_a_span_that_covers_nothing_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=f"span {start}:{end} for 'pii.email'"):
        finding(start=start, end=end)


@pytest.mark.parametrize("confidence", [-0.01, 1.01, math.nan, math.inf])
def test_a_confidence_that_is_no_probability_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="is not within"):
        finding(confidence=confidence)


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_its_bounds_are_probabilities(confidence: float) -> None:
    assert finding(confidence=confidence).confidence == confidence


def test_severities_and_verdicts_stand_in_their_order() -> None:
    assert list(Severity)[0] is Severity.CRITICAL  # noqa: RUF015  the order is what is tested
    assert list(Verdict) == ["allow", "flag", "redact", "quarantine", "block"]
