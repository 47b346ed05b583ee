import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.storage.sqlite_values import (
    MAX_COUNT,
    count_in,
    maybe_count_in,
    text_in,
    text_out,
    time_in,
    time_out,
)


@given(st.text())
def test_any_text_passes_through_a_database(text: str) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        (value,) = db.execute("SELECT ?", (text_in(text),)).fetchone()
    assert text_out(value) == text


@given(st.datetimes(timezones=st.just(UTC)))
def test_any_time_is_exact_to_the_microsecond(moment: datetime) -> None:
    assert time_out(time_in(moment)) == moment


def test_times_are_kept_in_utc() -> None:
    there = datetime(2026, 3, 4, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert time_out(time_in(there)).isoformat() == "2026-03-04T12:00:00+00:00"


@pytest.mark.parametrize(
    ("count", "kept"), [(0, 0), (-5, -5), (2**80, MAX_COUNT), (-(2**80), -MAX_COUNT)]
)
def test_a_count_is_kept_as_far_as_it_can_be_summed(count: int, kept: int) -> None:
    assert count_in(count) == maybe_count_in(count) == kept


def test_no_count_stays_none() -> None:
    assert maybe_count_in(None) is None
