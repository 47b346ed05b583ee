import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.analyzers.evaluation import Named, Share, auc, flagged, named, recall_at

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=20)


@given(SCORES, SCORES)
def test_auc_is_the_share_of_pairs_that_are_in_order(good: list[float], bad: list[float]) -> None:
    pairs = [(b > g) + 0.5 * (b == g) for g in good for b in bad]
    assert auc(good, bad) == pytest.approx(sum(pairs) / len(pairs))


def test_without_one_kind_there_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="harmless texts and attacks"):
        auc([], [1.0])


@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.05, 0.5]))
def test_recall_is_told_at_no_more_false_positives_than_said(
    good: list[float], bad: list[float], rate: float
) -> None:
    found = recall_at(good, bad, rate)
    thresholds = [t for t in good if sum(s > t for s in good) <= rate * len(good)]
    assert found.count == max(sum(s > t for s in bad) for t in thresholds)


def test_what_is_as_sure_as_the_threshold_counts() -> None:
    assert flagged([0.2, 0.7, 0.8], 0.7) == Share(2, 3)


@pytest.mark.parametrize(("count", "of"), [(0, 0), (0, 5), (5, 5), (1, 379)])
def test_an_interval_holds_its_share(count: int, of: int) -> None:
    low, high = Share(count, of).interval
    assert 0 <= low <= Share(count, of).value <= high <= 1


def test_an_interval_is_wilsons() -> None:
    """8 of 10: 49 % to 94 %, as any table of Wilson intervals has it."""
    assert Share(8, 10).interval == pytest.approx((0.490, 0.943), abs=0.001)


NAME = (0, 3, "pii.person")


@pytest.mark.parametrize(
    ("told", "right"),
    [
        pytest.param(NAME, 1, id="whole"),
        pytest.param((0, 2, "pii.person"), 0, id="another-end"),
        pytest.param((1, 3, "pii.person"), 0, id="another-start"),
        pytest.param((0, 3, "pii.location"), 0, id="another-kind"),
    ],
)
def test_a_name_is_right_whole_and_by_its_kind(told: tuple[int, int, str], right: int) -> None:
    assert named([([NAME], [told])]) == Named(there=1, told=1, right=right)


def test_names_of_one_kind_are_counted_by_themselves() -> None:
    place = (7, 11, "pii.location")
    texts = [([NAME, place], [NAME]), ([place], [place])]
    assert named(texts, "pii.location") == Named(there=2, told=1, right=1)


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    found = Named(there=10, told=5, right=4)
    p, r = found.precision.value, found.recall.value
    assert found.f1 == pytest.approx(2 * p * r / (p + r))
    assert Named(there=0, told=0, right=0).f1 == 0
