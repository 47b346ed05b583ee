from datetime import UTC, datetime

import pytest

from llmtrace.storage.ledger_checks import (
    LARGEST,
    MAX_KEY,
    MAX_TENANT,
    check_amount,
    check_amounts,
    check_call,
    check_key,
    check_moment,
    check_seconds,
)


@pytest.mark.parametrize("amount", [0, 1, LARGEST])
def test_whole_numbers_are_amounts(amount: int) -> None:
    check_amount("usd", amount)


@pytest.mark.parametrize(
    "amount",
    [
        pytest.param(-1, id="negative"),
        pytest.param(2**53, id="too-large-for-a-double"),
        pytest.param(10**10_000, id="too-large-to-print"),
        pytest.param(True, id="truth-value"),
        pytest.param(1.0, id="fraction"),
        pytest.param(float("nan"), id="not-a-number"),
        pytest.param("10", id="text"),
        pytest.param(None, id="nothing"),
    ],
)
def test_anything_else_is_refused_and_not_shown(amount: object) -> None:
    with pytest.raises(ValueError, match="usd must be an integer") as refused:
        check_amounts({"usd": amount})  # type: ignore[dict-item]  # what is refused
    assert len(str(refused.value)) < 100


def test_units_are_known() -> None:
    with pytest.raises(ValueError, match="'eur', expected one of usd, tokens, calls"):
        check_amounts({"eur": 1})


@pytest.mark.parametrize(
    ("tenant", "call"),
    [
        pytest.param("t", "", id="no-id"),
        pytest.param("t", "x" * (MAX_KEY + 1), id="long-id"),
        pytest.param("x" * (MAX_TENANT + 1), "id", id="long-tenant"),
        pytest.param("\ud800", "id", id="lone-surrogate"),
    ],
)
def test_names_that_no_store_can_hold_are_refused(tenant: str, call: str) -> None:
    with pytest.raises(ValueError, match=r"characters, expected|surrogates"):
        check_call(tenant, call)


def test_other_names_are_kept() -> None:
    check_call("", "x" * MAX_KEY)
    check_key("Zürich|{}\r\n\0")


def test_a_moment_has_a_zone_and_is_of_this_age() -> None:
    check_moment(None)
    check_moment(datetime(1970, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="no time zone"):
        check_moment(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="before 1970"):
        check_moment(datetime(1969, 12, 31, 23, 59, tzinfo=UTC))


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), 10**10])
def test_a_time_to_wait_is_some_seconds(seconds: float) -> None:
    check_seconds(0.001)
    with pytest.raises(ValueError, match="expected more than 0"):
        check_seconds(seconds)
