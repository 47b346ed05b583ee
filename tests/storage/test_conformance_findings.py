"""What ``TraceRepository.findings`` promises, whoever keeps them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.traces import Outcome
from llmtrace.storage.base import FindingQuery, Sighting, TraceRepository
from llmtrace.testing.records import NOON, a_finding, a_record, numbered_id
from llmtrace.testing.stores import STORES, opened

HOUR = timedelta(hours=1)


def a(kind: str, **changes: Any) -> Finding:
    return replace(a_finding(kind), **changes)


def kinds(store: TraceRepository, **wanted: Any) -> list[str]:
    return [one.finding.kind for one in store.findings(FindingQuery(**wanted))]


def test_a_finding_comes_back_whole_with_its_call(store: TraceRepository) -> None:
    finding = a("pii.email", verdict=Verdict.REDACT, rule="balanced.pii")
    store.put([a_record(1, verdict=Verdict.FLAG, findings=(finding,)), a_record(2)])
    assert list(store.findings(FindingQuery())) == [
        Sighting(
            trace_id=numbered_id(1),
            started_at=NOON,
            tenant="acme",
            agent="builder",
            call_verdict=Verdict.FLAG,
            finding=finding,
        )
    ]


def test_the_newest_call_comes_first_and_its_findings_in_order(store: TraceRepository) -> None:
    store.put([a_record(n, findings=(a(f"{n}.first"), a(f"{n}.second"))) for n in (2, 1, 3)])
    assert kinds(store, limit=3) == ["3.first", "3.second", "2.first"]
    assert kinds(store, limit=0) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({"kind": "pii.email"}, ["pii.email"], id="kind"),
        pytest.param({"kind": "pii.*"}, ["pii.email", "pii.ssn"], id="kinds-of-a-family"),
        pytest.param({"kind": "*p*n*"}, ["pii.ssn", "prompt_injection"], id="many-stars"),
        pytest.param({"kind": "pii"}, [], id="a-kind-is-whole"),
        pytest.param({"kind": "pii.?mail"}, [], id="no-other-signs"),
        pytest.param({"kind": "[p]*"}, [], id="no-other-brackets"),
        pytest.param({"kind": "PII.*"}, [], id="case-counts"),
        pytest.param({"severity": Severity.HIGH}, ["pii.ssn", "prompt_injection"], id="severity"),
        pytest.param({"severity": Severity.CRITICAL}, ["prompt_injection"], id="the-worst"),
        pytest.param({"verdict": Verdict.BLOCK}, ["prompt_injection"], id="verdict"),
        pytest.param({"tenant": "acme"}, ["pii.email", "pii.ssn"], id="tenant"),
        pytest.param({"agent": "b"}, ["prompt_injection"], id="agent"),
        pytest.param({"trace_id": numbered_id(2)}, ["prompt_injection"], id="trace"),
        pytest.param({"since": NOON + HOUR}, ["pii.email", "pii.ssn"], id="since"),
        pytest.param({"until": NOON + HOUR}, ["prompt_injection"], id="until"),
        pytest.param({"tenant": "acme", "verdict": Verdict.BLOCK}, [], id="all-of-them"),
    ],
)
def test_findings_are_filtered(
    store: TraceRepository, wanted: dict[str, Any], found: list[str]
) -> None:
    store.put(
        [
            a_record(
                3,
                started_at=NOON + HOUR,
                findings=(
                    a("pii.email", severity=Severity.LOW),
                    a("pii.ssn", verdict=Verdict.REDACT),
                ),
            ),
            a_record(
                2,
                tenant="other",
                agent="b",
                findings=(
                    a("prompt_injection", severity=Severity.CRITICAL, verdict=Verdict.BLOCK),
                ),
            ),
        ]
    )
    assert kinds(store, **wanted) == found


def test_a_call_that_is_put_again_has_its_last_findings(store: TraceRepository) -> None:
    store.put([a_record(1, outcome=Outcome.PENDING, findings=(a("early"),))])
    store.put([a_record(1, findings=(a("late"),))])
    assert kinds(store) == ["late"]


def test_findings_go_with_their_call(store: TraceRepository) -> None:
    store.put([a_record(1, findings=(a("x"),))])
    store.purge(before=NOON + HOUR)
    assert kinds(store) == []


@pytest.mark.parametrize("name", STORES)
def test_any_pattern_is_answered_alike(name: str) -> None:
    words = ["", "a.b", "a*b", "a?b", "[a]b", "a\nb", "^a"]
    with opened(name) as storage:
        storage.traces.put([a_record(1, findings=tuple(a(word) for word in words))])

        @settings(max_examples=100, deadline=None)
        @given(st.text(st.sampled_from("ab.*?[]^-!\n\\"), max_size=6))
        def answered(pattern: str) -> None:
            expected = [word for word in words if _fits(pattern, word)]
            assert kinds(storage.traces, kind=pattern) == expected

        answered()


def _fits(pattern: str, word: str) -> bool:
    """The plainest definition there is: a star takes nothing, or one more character."""
    if not pattern:
        return not word
    if pattern[0] == "*":
        return _fits(pattern[1:], word) or (bool(word) and _fits(pattern, word[1:]))
    return word[:1] == pattern[0] and _fits(pattern[1:], word[1:])
