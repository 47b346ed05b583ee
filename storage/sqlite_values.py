"""Python values as SQLite keeps them, and back: nothing that a client sends may stop a write."""

from datetime import UTC, datetime, timedelta
from typing import Final

MAX_COUNT: Final = 10**15
"""Largest number that is kept of a count or a sum of money (10**15 nano-USD are a million USD).

A provider may report anything. Beyond this the sums of SQLite would overflow and fail.
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

type SqlText = str | bytes


def text_in(text: str) -> SqlText:
    """Return the text; as bytes where it has a lone surrogate, which SQLite's text cannot hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def text_out(value: SqlText) -> str:
    """Return the text that ``text_in`` was given."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def count_in(count: int) -> int:
    """Return the count, or the nearest that can be summed up."""
    return max(-MAX_COUNT, min(count, MAX_COUNT))


def maybe_count_in(count: int | None) -> int | None:
    """Return the count, or the nearest that can be summed up; None stays."""
    return None if count is None else count_in(count)


def time_in(moment: datetime) -> int:
    """Return microseconds since 1970, UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def time_out(microseconds: int) -> datetime:
    """Return the moment, aware, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
