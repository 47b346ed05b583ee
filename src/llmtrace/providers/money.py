"""US dollars into integer nano-USD, rounded up, and never by way of a float."""

from decimal import ROUND_CEILING, Decimal
from typing import Final

MILLION: Final = 1_000_000
NANO: Final = 1_000_000_000


def nano_usd(dollars: Decimal) -> int:
    """Return a sum in nano-USD (10⁻⁹ USD), rounded up."""
    return int((dollars * NANO).to_integral_value(ROUND_CEILING))


def as_number(value: object, *, most: int) -> Decimal | None:
    """Return a number from a document exactly, None where it is none within 0 and ``most``.

    A float is taken for what it was written as: 0.1 is a tenth.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() and 0 <= number <= most else None
