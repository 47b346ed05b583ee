from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.domain.times import moment

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-04T10:00:00Z", NOON - timedelta(hours=2)),
        ("2026-03-04T12:00:00+02:00", NOON - timedelta(hours=2)),
        ("30s", NOON - timedelta(seconds=30)),
        ("2h", NOON - timedelta(hours=2)),
        ("7d", NOON - timedelta(days=7)),
    ],
)
def test_times_are_read(text: str, expected: datetime) -> None:
    assert moment(text, now=NOON) == expected


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "-2h", "2w", "999999d", "\u0662h", "now", "2026-13-01", "9" * 5_000],
    ids=range(10),
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither ISO 8601 nor like"):
        moment(text, now=NOON)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        found = moment(text, now=NOON)
    except ValueError:
        return
    assert found.tzinfo is UTC
