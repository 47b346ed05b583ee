"""The periods that budgets are counted in: half-open, in UTC, by the calendar of a time zone.

Days, weeks (ISO: from Monday) and months begin with the first instant whose local time is not
before their midnight. So a midnight that a clock leaps over is the instant after the leap, one
that comes twice is the first, and a day that a zone leaves out (Pacific/Apia, 2011-12-30) is
empty. Hours are 3600 seconds of UTC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From ``start`` until before ``end``, both aware and in UTC; None where there is none."""

    start: datetime | None = None
    end: datetime | None = None

    def __contains__(self, at: datetime) -> bool:
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)

    def seconds_left(self, at: datetime) -> float | None:
        """Return how long it goes on, None where it does not end."""
        return None if self.end is None else max((self.end - at).total_seconds(), 0.0)


def period(window: str, zone: ZoneInfo, at: datetime) -> Period:
    """Return the period of a window that an instant lies in.

    Args:
        window: ``hourly``, ``daily``, ``weekly``, ``monthly`` or ``total``.
        zone: Whose midnights count.
        at: The instant, aware.

    Raises:
        KeyError: There is no such window.
    """
    if window == "total":
        return Period()
    if window == "hourly":
        start = at.astimezone(UTC) - (at - _EPOCH) % HOUR
        return Period(start, start + HOUR)
    first, after = _CALENDAR[window]
    day = first(at.astimezone(zone).date())
    start, end = midnight(day, zone), midnight(after(day), zone)
    while at >= end:  # the clock was set back past a midnight: the new day has begun already
        day = after(day)
        start, end = end, midnight(after(day), zone)
    return Period(start, end)


@lru_cache(maxsize=4096)
def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant whose local time is not before the midnight of a day, in UTC."""
    wanted = datetime.combine(day, time())
    early, late = sorted(wanted.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if _local(early, zone) == wanted:
        return early
    while late - early > _SECOND:  # it lies in a gap, whose end is after one and not after other
        middle = early + ((late - early) // 2 // _SECOND or 1) * _SECOND
        if _local(middle, zone) < wanted:
            early = middle
        else:
            late = middle
    return late


def _local(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None)


def _same(day: date) -> date:
    return day


def _tomorrow(day: date) -> date:
    return day + timedelta(days=1)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _next_week(day: date) -> date:
    return day + timedelta(days=7)


def _first(day: date) -> date:
    return day.replace(day=1)


def _next_month(day: date) -> date:
    return _first(day.replace(day=28) + timedelta(days=4))


type _Step = Callable[[date], date]
_CALENDAR: Final[Mapping[str, tuple[_Step, _Step]]] = {
    "daily": (_same, _tomorrow),
    "weekly": (_monday, _next_week),
    "monthly": (_first, _next_month),
}
"""Of each window: the day that its period begins with, and the day after it begins the next."""
