"""Checks that a rule can name: does this text have the check digits it should have?"""

from collections.abc import Callable, Mapping
from typing import Final

from stdnum import luhn
from stdnum.util import clean

VALIDATORS: Final[Mapping[str, Callable[[str], bool]]] = {
    "luhn": lambda text: bool(luhn.is_valid(clean(text, " -"))),
}
