"""Spans are replaced in one way, whatever their order, and nothing of a value stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.analyzers.kinds import kinds
from llmtrace.policy.masking import apply, one_way

TEXT = "0123456789"


@pytest.mark.parametrize(
    ("spans", "masked"),
    [
        pytest.param([], TEXT, id="none"),
        pytest.param([(2, 4, "A"), (6, 7, "B")], "01A45B789", id="apart"),
        pytest.param([(2, 4, "A"), (4, 7, "B")], "01AB789", id="adjacent"),
        pytest.param([(2, 8, "A"), (3, 5, "B")], "01A89", id="within"),
        pytest.param([(2, 5, "A"), (4, 8, "B")], "01A89", id="overlapping"),
        pytest.param([(2, 5, "A"), (2, 8, "B")], "01B89", id="longest"),
        pytest.param([(2, 5, "B"), (2, 5, "A")], "01A56789", id="same-span"),
        pytest.param([(0, 10, "")], "", id="all"),
    ],
)
def test_spans_are_replaced(spans: list[tuple[int, int, str]], masked: str) -> None:
    assert apply(TEXT, spans) == masked
    assert apply(TEXT, reversed(spans)) == masked


span = st.tuples(st.integers(0, 9), st.integers(1, 5), st.sampled_from(["", "A", "BC"])).map(
    lambda one: (one[0], min(10, one[0] + one[1]), one[2])
)


@given(st.lists(span, max_size=6), st.randoms())
def test_nothing_that_was_covered_stays_and_all_else_does(
    spans: list[tuple[int, int, str]], random: object
) -> None:
    masked = apply(TEXT, spans)
    covered = {index for start, end, _ in spans for index in range(start, end)}
    assert [c for c in masked if c.isdigit()] == [c for c in TEXT if int(c) not in covered]
    shuffled = list(spans)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random
    assert apply(TEXT, shuffled) == masked


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pii.email", "[PII:EMAIL]"),
        ("pii.credit_card", "[PII:CREDIT_CARD]"),
        ("secret.token", "[SECRET:TOKEN]"),
        ("data_exfiltration", "[REDACTED:DATA_EXFILTRATION]"),
        ("own.kind2", "[REDACTED:KIND_]"),
    ],
)
def test_what_is_hidden_for_good_says_its_kind(kind: str, said: str) -> None:
    assert one_way(kind) == said


def test_each_kind_has_its_own() -> None:
    assert len({one_way(kind) for kind in kinds()}) == len(kinds())
