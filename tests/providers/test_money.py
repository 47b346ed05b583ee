from decimal import Decimal

import pytest

from llmtrace.providers.money import as_number, nano_usd


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [("0", 0), ("1", 1_000_000_000), ("0.000000001", 1), ("0.0000000011", 2), ("0.1", 100_000_000)],
)
def test_dollars_are_rounded_up(dollars: str, nano: int) -> None:
    assert nano_usd(Decimal(dollars)) == nano


def test_a_float_is_what_it_was_written_as() -> None:
    assert as_number(0.1, most=1) == Decimal("0.1")
    assert as_number(1, most=1) == 1


@pytest.mark.parametrize(
    "value",
    [-0.1, 1.1, True, "1", None, float("nan"), float("inf")],
    ids=["negative", "over", "bool", "string", "null", "nan", "inf"],
)
def test_what_is_no_sum_is_none(value: object) -> None:
    assert as_number(value, most=1) is None
