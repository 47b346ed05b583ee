from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.base import Hit
from llmtrace.analyzers.patterns.overlaps import resolve
from llmtrace.domain.findings import Severity


def hit(
    start: int,
    end: int,
    severity: Severity = Severity.HIGH,
    *,
    confidence: float = 0.9,
    detector: str = "d",
    value: bool = True,
    kind: str = "k",
) -> Hit:
    return Hit(
        kind=kind,
        severity=severity,
        confidence=confidence,
        start=start,
        end=end,
        detector=detector,
        value=value,
    )


HITS = st.lists(
    st.builds(
        lambda start, size, severity, sure, name: hit(
            start, start + size, severity, confidence=sure, detector=name
        ),
        st.integers(0, 20),
        st.integers(1, 8),
        st.sampled_from(Severity),
        st.sampled_from([0.2, 0.7]),
        st.sampled_from("abc"),
    ),
    max_size=8,
)


def spans(hits: list[Hit]) -> list[tuple[int, int]]:
    return [(hit.start, hit.end) for hit in hits]


def test_the_more_severe_value_stays() -> None:
    assert [h.severity for h in resolve([hit(0, 9, Severity.LOW), hit(0, 9)])] == [Severity.HIGH]


def test_of_equals_the_longest_stays() -> None:
    assert spans(resolve([hit(0, 5), hit(0, 9), hit(2, 4)])) == [(0, 9)]


def test_what_sticks_out_is_kept() -> None:
    assert spans(resolve([hit(4, 9), hit(0, 6, Severity.LOW)])) == [(0, 4), (4, 9)]


def test_a_doubtful_value_gives_way_to_a_likely_one() -> None:
    doubtful, likely = hit(0, 9, confidence=0.3), hit(0, 9, Severity.LOW)
    assert resolve([doubtful, likely]) == [likely]


def test_a_known_test_value_beats_all() -> None:
    known, other = hit(0, 9, Severity.INFO), hit(0, 9, Severity.CRITICAL)
    assert resolve([other, known], [known]) == [known]


def test_instructions_and_values_may_overlap() -> None:
    both = [hit(0, 9, value=False, kind="i"), hit(2, 5)]
    assert resolve(both) == both


def test_instructions_of_other_kinds_may_overlap() -> None:
    both = [hit(0, 9, value=False, kind="i"), hit(2, 5, value=False, kind="j")]
    assert resolve(both) == both


def test_of_one_kind_of_instruction_the_worst_stays() -> None:
    low, high = hit(0, 9, Severity.LOW, value=False), hit(2, 5, value=False)
    assert resolve([low, high]) == [high]


@settings(max_examples=300)
@given(HITS)
def test_values_lie_apart_and_cover_what_they_covered(hits: list[Hit]) -> None:
    kept = resolve(hits)
    assert all(a.end <= b.start for a, b in pairwise(kept))
    covered = {i for h in hits for i in range(h.start, h.end)}
    assert {i for h in kept for i in range(h.start, h.end)} == covered
    assert resolve(list(reversed(hits))) == kept
