import pytest

from llmtrace.analyzers.base import Hit, Inspection, Skipped
from llmtrace.domain.findings import Severity
from llmtrace.pipeline.unfinished import is_incomplete, is_partly_read


def skip(kind: str, reason: str, *, told: bool = True) -> tuple[Skipped]:
    missed = Hit(kind=kind, severity=Severity.HIGH, confidence=0.9, start=0, end=0, detector=kind)
    return (Skipped(kind, reason, missed if told else None),)


def acts_on(hit: Hit) -> bool:
    return hit.kind.startswith("secret.")


@pytest.mark.parametrize(
    ("skipped", "decided", "incomplete"),
    [
        pytest.param((), {}, False, id="whole"),
        pytest.param(skip("secret.token", "too_many"), {}, True, id="would-be-acted-on"),
        pytest.param(
            skip("secret.token", "too_many"), {"secret.token": False}, True, id="decoys-first"
        ),
        pytest.param(skip("secret.token", "timeout"), {}, True, id="slow-and-acted-on"),
        pytest.param(skip("pii.email", "timeout"), {}, False, id="slow-and-recorded"),
        pytest.param(skip("pii.email", "too_many"), {}, False, id="recorded-only"),
        pytest.param(skip("pii.email", "too_many"), {"pii.email": True}, True, id="acted-on"),
        pytest.param(skip("other", "timeout", told=False), {}, True, id="nothing-known"),
        pytest.param(
            skip("other", "timeout", told=False), {"other": False}, False, id="known-to-be-recorded"
        ),
        pytest.param(skip("other", "too_many", told=False), {}, False, id="many-of-nobody"),
        pytest.param(skip("other", "failed", told=False), {}, True, id="failed-of-itself"),
        pytest.param(skip("pii.email", "failed"), {}, False, id="failed-and-recorded"),
        pytest.param(skip("secret.token", "over_limit"), {}, False, id="decoded"),
        pytest.param(skip("secret.token", "script"), {"secret.token": True}, False, id="script"),
    ],
)
def test_what_breaks_off_counts_if_it_would_be_acted_on(
    skipped: tuple[Skipped, ...], decided: dict[str, bool], incomplete: bool
) -> None:
    assert is_incomplete(Inspection((), skipped), decided, acts_on) is incomplete


@pytest.mark.parametrize(
    ("reasons", "partly"),
    [((), False), (("script",), False), (("timeout",), True), (("script", "over_limit"), True)],
    ids=["whole", "script", "timeout", "both"],
)
def test_what_one_detector_was_not_made_for_was_looked_at_by_the_others(
    reasons: tuple[str, ...], partly: bool
) -> None:
    assert is_partly_read([Skipped("model", reason) for reason in reasons]) is partly
