"""What may stand in the values of a ledger: checked when they are made, so before any write."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

UNITS: Final = ("usd", "tokens", "calls")
LARGEST: Final = 2**53 - 1
"""Largest amount, limit and sum. A sum that would be larger stays at this."""

MAX_KEY: Final = 300
MAX_TENANT: Final = 200
MAX_REASON: Final = 500
MAX_SECONDS: Final = 366 * 86_400
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BadAmount(ValueError):
    """An amount is no integer from 0 to 2**53 - 1. Nothing was written."""


def check_amount(what: str, amount: object) -> None:
    """Refuse anything but an integer from 0 to ``LARGEST``. Raises: BadAmount."""
    if type(amount) is not int or not 0 <= amount <= LARGEST:
        raise BadAmount(f"{what} must be an integer from 0 to 2**53 - 1, not {_shown(amount)}")


def _shown(amount: object) -> str:
    if type(amount) is int:
        return "a negative one" if amount < 0 else "one of 2**53 or more"
    return type(amount).__name__


def check_amounts(amounts: Mapping[str, int]) -> None:
    """Refuse unknown units and wrong amounts. Raises: BadAmount, ValueError."""
    for unit, amount in amounts.items():
        if unit not in UNITS or type(amount) is not int or not 0 <= amount <= LARGEST:
            check_unit(unit)
            check_amount(unit, amount)


def check_unit(unit: str) -> None:
    """Refuse what is not of ``UNITS``. Raises: ValueError."""
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r}, expected one of {', '.join(UNITS)}")


def check_key(key: str, *, least: int = 1, most: int = MAX_KEY) -> None:
    """Refuse what is too long, too short or no text that can be encoded. Raises: ValueError."""
    if not least <= len(key) <= most:
        raise ValueError(f"a key or name of {len(key)} characters, expected {least} to {most}")
    if not key.isascii():
        key.encode()  # a lone surrogate, a ValueError, is what no store can hold


def check_call(tenant: str, call: str) -> None:
    """Refuse a tenant or an id that cannot be kept. Raises: ValueError."""
    if not (0 < len(call) <= MAX_KEY and len(tenant) <= MAX_TENANT and (call + tenant).isascii()):
        check_key(call)
        check_key(tenant, least=0, most=MAX_TENANT)


def check_moment(moment: datetime | None) -> None:
    """Refuse a time without a zone or before 1970. Raises: ValueError."""
    if moment is None:
        return
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    if moment < _FIRST:
        raise ValueError(f"{moment.isoformat()} is before 1970; is the clock set?")


def check_seconds(seconds: float) -> None:
    """Refuse what is no time to wait or to count in: 0, NaN, years. Raises: ValueError."""
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{seconds!r} seconds, expected more than 0 and at most {MAX_SECONDS}")


def kept_reason(reason: str) -> str:
    """Return as much of a text as is kept, as any store can hold it."""
    return reason[:MAX_REASON].encode(errors="replace").decode()
