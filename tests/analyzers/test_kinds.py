import re

import pytest

from llmtrace.analyzers import kinds as module
from llmtrace.analyzers.kinds import kinds, severity_of
from llmtrace.domain.findings import Severity


def test_every_kind_has_an_owasp_risk_and_a_line() -> None:
    for name, kind in kinds().items():
        assert kind.name == name
        assert kind.title
        assert kind.about
        assert kind.owasp
        assert all(re.fullmatch(r"LLM(0[1-9]|10):2025", risk) for risk in kind.owasp)


def test_they_are_also_a_constant() -> None:
    assert module.KINDS is kinds()
    with pytest.raises(AttributeError, match="no attribute 'KIND'"):
        _ = module.KIND


def test_severity_of_a_kind() -> None:
    assert severity_of("tool_poisoning") is Severity.CRITICAL
    with pytest.raises(KeyError):
        severity_of("tool_poisonning")
