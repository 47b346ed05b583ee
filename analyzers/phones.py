"""Phone numbers in international form, as exact as the packages that are installed allow.

The pattern alone says that a number has 7 to 15 digits behind a plus (ITU-T E.164). With the
extra ``phonenumbers``, Google's tables of every country's numbering plan have the last word.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

PACKAGE: Final = "phonenumbers"
LEAST_DIGITS: Final = 7
MOST_DIGITS: Final = 15


def is_phone(text: str) -> bool:
    """Whether a number behind a plus could be a phone's; exact where the extra is installed."""
    digits = sum(char.isdecimal() for char in text)
    return LEAST_DIGITS <= digits <= MOST_DIGITS and _planned()(text)


@cache
def _planned() -> Callable[[str], bool]:
    """Return what asks the numbering plans, or lets all pass without them."""
    if find_spec(PACKAGE) is None:
        return lambda _: True
    return by_plans(import_module(PACKAGE))


def by_plans(plans: Any) -> Callable[[str], bool]:
    """Return a check by ``phonenumbers``, given as the module."""

    def planned(text: str) -> bool:
        try:
            return bool(plans.is_valid_number(plans.parse(text, None)))
        except plans.NumberParseException:
            return False

    return planned
