import pytest

from llmtrace.analyzers.base import Context, Hit
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import Role
from llmtrace.pipeline.judgements import (
    MAX_FINDINGS,
    Caller,
    Judgement,
    finding,
    kept,
    place_of,
    worst,
)
from llmtrace.policy.table import Decision


def found(verdict: Verdict, start: int = 0) -> Finding:
    hit = Hit(
        kind="pii.email", severity=Severity.LOW, confidence=1, start=start, end=9_999, detector="d"
    )
    return finding(hit, "a.b", Decision(verdict=verdict, rule="r"))


def test_the_worst_verdict_is_the_judgements() -> None:
    both = (found(Verdict.FLAG), found(Verdict.REDACT))
    assert worst(both) is Judgement(findings=both).verdict is Verdict.REDACT
    assert worst(()) is Verdict.ALLOW


def test_of_too_many_the_worst_are_kept_in_their_order() -> None:
    many = [found(Verdict.FLAG, start) for start in range(MAX_FINDINGS)]
    many.insert(7, found(Verdict.BLOCK, 5000))
    assert len(kept(many)) == MAX_FINDINGS
    assert kept(many)[7].start == 5000


def test_what_is_kept_of_a_request_hides_more_than_what_is_sent() -> None:
    made = Judgement(edits={("a",): "x", ("b",): "y"}, hidden={("b",): "z"})
    assert made.kept_edits == {("a",): "x", ("b",): "z"}


@pytest.mark.parametrize("role", list(Role))
def test_policies_are_asked_about_a_place_and_its_caller(role: Role) -> None:
    place = place_of(Caller(tenant="t", agent="a", provider="p"), Context(role))
    assert (place.tenant, place.agent, place.provider, place.role) == ("t", "a", "p", role)
