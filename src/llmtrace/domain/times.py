"""Points in time as people write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = 64


def moment(text: str, *, now: datetime) -> datetime:
    """Read ISO 8601, or how long ago, such as ``2h``; without a zone it is local time.

    Raises:
        ValueError: It is neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if len(text) > _LONGEST:
            raise ValueError(text)
        if ago:
            return now.astimezone(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:_LONGEST]!r} is neither ISO 8601 nor like 30m, 2h, 7d") from None
