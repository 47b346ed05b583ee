"""What calls are told that may not go."""

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmtrace.limits.refusals import (
    bad_token_cap,
    dollars,
    instant,
    not_priced,
    store_unavailable,
    token_cap_exceeded,
    uncapped,
    usd,
    waiting,
    whole_seconds,
)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (20 * 10**9, "$20.00"),
        (100_000_000, "$0.10"),
        (123_000, "$0.000123"),
        (2**53 - 1, "$9007199.254740991"),
        (-1_500_000_000, "-$1.50"),
    ],
)
def test_sums_are_written_as_they_are(nano: int, text: str) -> None:
    assert usd(nano) == text


@given(nano=st.integers(0, 2**53 - 1))
def test_any_sum_is_written_exactly(nano: int) -> None:
    assert Decimal(usd(nano).removeprefix("$")).scaleb(9) == nano


@given(nano=st.integers(0, 8_388_608 * 10**9 - 1))
@example(nano=25_000_000_000_000_004)
@example(nano=8_388_607_999_999_999)
@example(nano=100_000_000)
def test_any_sum_in_json_reads_exactly(nano: int) -> None:
    if nano < 8_388_608 * 10**9:
        assert Decimal(json.dumps(dollars(nano))).scaleb(9) == nano


def test_instants_are_in_utc() -> None:
    east = timezone(timedelta(hours=5, minutes=45))
    assert instant(datetime(2026, 1, 1, tzinfo=east)) == "2025-12-31T18:15:00Z"
    assert instant(None) is None


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, None), (0, 1), (0.2, 1), (1.2, 2), (59, 59), (86_400, 60)]
)
def test_waits_are_whole_and_bounded(seconds: float | None, told: int | None) -> None:
    assert whole_seconds(seconds, most=60) == told


def test_who_cannot_be_helped_by_trying_again_is_told_so() -> None:
    assert waiting(5, retry=True) == {"retry-after": "5"}
    assert waiting(5, retry=False) == {"retry-after": "5", "x-should-retry": "false"}
    assert waiting(None, retry=False) == {"x-should-retry": "false"}


def test_each_refusal_says_what_to_do() -> None:
    cap = token_cap_exceeded(kind="completion", limit=10, asked=20, param="max_tokens")
    assert (cap.status, cap.code) == (400, "token_cap_exceeded")
    assert "Set max_tokens to 10 or less" in cap.message
    assert cap.details == {"kind": "completion", "limit_tokens": 10, "requested_tokens": 20}
    assert "Send less" in token_cap_exceeded(kind="prompt", limit=1, asked=2).message
    bad = bad_token_cap("max_tokens", "a text", expected="a number")
    assert "max_tokens is a text; expected a number" in bad.message
    bare = uncapped("options.num_predict", 99)
    assert (bare.status, bare.code) == (400, "token_cap_required")
    assert "Set options.num_predict to 99 or less" in bare.message
    unpriced = not_priced(provider="p", model="m" * 999, operation="chat", reason="it is new")
    assert (unpriced.status, unpriced.code) == (403, "model_not_priced")
    assert "cost_estimation.custom_models" in unpriced.message
    assert len(str(unpriced.details["model"])) == 200
    down = store_unavailable()
    assert (down.status, down.code) == (503, "budget_store_unavailable")
    assert down.headers == {"retry-after": "2"}
