"""Periods: by the calendar of a zone, without gaps or overlaps."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmtrace.limits.windows import Period, midnight, period

WINDOWS = ("hourly", "daily", "weekly", "monthly")
LORE = (
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "America/Juneau",
    "Africa/Cairo",
    "Africa/Monrovia",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Manila",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
)


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("America/New_York", date(2026, 3, 8), "2026-03-08T05:00:00Z", 23),
        ("America/New_York", date(2026, 11, 1), "2026-11-01T04:00:00Z", 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), "2026-04-04T13:00:00Z", 24.5),
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00:00Z", 23),
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00:00Z", 25),
        ("America/Santiago", date(2026, 9, 6), "2026-09-06T04:00:00Z", 23),
        ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00:00Z", 23),
        ("Asia/Kathmandu", date(2026, 1, 1), "2025-12-31T18:15:00Z", 24),
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00:00Z", 23),
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00:00Z", 0),
    ],
)
def test_days_begin_and_last_as_the_zone_has_it(
    zone: str, day: date, start: str, hours: float
) -> None:
    begins = midnight(day, ZoneInfo(zone))
    assert begins == datetime.fromisoformat(start)
    assert midnight(day + timedelta(days=1), ZoneInfo(zone)) - begins == timedelta(hours=hours)


def test_nobody_is_in_the_day_that_a_zone_leaves_out() -> None:
    zone = ZoneInfo("Pacific/Apia")
    leap = datetime(2011, 12, 30, 10, tzinfo=UTC)
    before, after = (period("daily", zone, leap + timedelta(seconds=s)) for s in (-1, 0))
    assert before == Period(datetime(2011, 12, 29, 10, tzinfo=UTC), leap)
    assert after == Period(leap, datetime(2011, 12, 31, 10, tzinfo=UTC))


def test_a_clock_set_back_past_midnight_does_not_bring_yesterday_back() -> None:
    zone = ZoneInfo("America/St_Johns")  # 2010-11-07: from 00:01 back to 23:01
    first = datetime(2010, 11, 7, 2, 30, tzinfo=UTC)  # midnight, for a minute
    again = first + timedelta(minutes=30)  # 23:29 of the day before, again
    assert again.astimezone(zone).date() == date(2010, 11, 6)
    assert period("daily", zone, again) == period("daily", zone, first)
    assert period("daily", zone, again).start == first


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("hourly", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"),
        ("daily", "2026-11-20T23:00:00Z", "2026-11-21T23:00:00Z"),
        ("weekly", "2026-11-15T23:00:00Z", "2026-11-22T23:00:00Z"),
        ("monthly", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"),
    ],
)
def test_each_window_has_its_calendar(window: str, start: str, end: str) -> None:
    found = period(window, ZoneInfo("Europe/Berlin"), datetime(2026, 11, 21, 10, 30, tzinfo=UTC))
    assert found == Period(datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_a_total_begins_and_ends_never() -> None:
    found = period("total", ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC))
    assert found == Period()
    assert datetime(1970, 1, 1, tzinfo=UTC) in found
    assert found.seconds_left(datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_bounds_are_half_open() -> None:
    found = period("daily", ZoneInfo("UTC"), datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert found.start in found  # type: ignore[operator]  # days have a start
    assert found.end not in found  # type: ignore[operator]  # and an end
    assert found.seconds_left(datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)) == 1
    assert found.seconds_left(datetime(2026, 1, 3, tzinfo=UTC)) == 0


def test_there_are_no_other_windows() -> None:
    with pytest.raises(KeyError):
        period("yearly", ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC))


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from([*LORE * 10, *sorted(available_timezones())])


@settings(max_examples=300, deadline=None)
@given(at=MOMENTS, zone=ZONES, window=st.sampled_from(WINDOWS))
@example(at=datetime(2011, 12, 30, 10, tzinfo=UTC), zone="Pacific/Apia", window="daily")
@example(at=datetime(2010, 11, 7, 3, tzinfo=UTC), zone="America/St_Johns", window="monthly")
@example(at=datetime(1969, 9, 30, 13, tzinfo=UTC), zone="Pacific/Kwajalein", window="daily")
def test_periods_tile_time(at: datetime, zone: str, window: str) -> None:
    local = ZoneInfo(zone)
    here = period(window, local, at)
    assert at in here
    assert here.start is not None
    assert here.end is not None
    assert period(window, local, here.start) == here
    assert period(window, local, here.end - timedelta(microseconds=1)) == here
    assert period(window, local, here.end).start == here.end
    before = period(window, local, here.start - timedelta(microseconds=1))
    assert before.end == here.start


@settings(max_examples=200, deadline=None)
@given(day=st.dates(date(1900, 1, 1), date(2100, 1, 1)), zone=ZONES)
def test_a_day_begins_with_its_first_instant(day: date, zone: str) -> None:
    local = ZoneInfo(zone)
    begins = midnight(day, local)
    assert begins.astimezone(local).date() >= day
    assert (begins - timedelta(seconds=1)).astimezone(local).date() < day
    assert midnight(day + timedelta(days=1), local) >= begins
