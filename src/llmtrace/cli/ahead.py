"""Times to come, as options of commands: ``30d``, or ISO 8601."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

_LONG: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = timedelta(days=36_500)


class Duration(click.ParamType[timedelta]):
    """How long: ``30s``, ``10m``, ``24h``, ``90d``; 0 is no time."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return it, at most a hundred years."""
        if isinstance(value, timedelta):
            return value
        if value == "0":
            return timedelta()
        found = _LONG.fullmatch(value)
        if not found:
            self.fail(f"{value!r} is not like 30s, 10m, 24h, 90d", param, ctx)
        return min(timedelta(**{_UNITS[found[2]]: int(found[1])}), _LONGEST)


class Ahead(click.ParamType[datetime]):
    """A point in time to come: ``90d`` from now, or ISO 8601. Without a zone: local time."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return an aware time."""
        if isinstance(value, datetime):
            return value
        if _LONG.fullmatch(value):
            return datetime.now(UTC) + Duration().convert(value, param, ctx)
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither ISO 8601 nor like 24h, 90d", param, ctx)
