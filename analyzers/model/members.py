"""Members of a JSON object that anybody may have written: what is not as it should be is named."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

MOST_CHARS: Final = 128
"""How long a name may be."""
MOST_DIGITS: Final = 24
"""How much of a number is repeated."""
_NAMES: Final = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def member[T](said: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> T:
    """Read one member. Raises: ValueError, which names it."""
    if name not in said:
        raise ValueError(f"{name[:MOST_CHARS]}: is not there")
    try:
        return read(said[name])
    except ValueError as error:
        raise ValueError(f"{name[:MOST_CHARS]}: {error}") from error


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object. Raises: ValueError."""
    if not isinstance(value, dict):
        raise _other("an object", value)
    return value


def array(value: Any) -> Sequence[Any]:
    """Return a list. Raises: ValueError."""
    if not isinstance(value, list):
        raise _other("a list", value)
    return value


def text(value: Any) -> str:
    """Return a name: printable, and not long. Raises: ValueError."""
    if not isinstance(value, str):
        raise _other("a text", value)
    if not 0 < len(value) <= MOST_CHARS or not value.isprintable():
        raise ValueError(f"expected 1 to {MOST_CHARS} printable characters, found {len(value)}")
    return value


def number(value: Any) -> float:
    """Return a finite number. Raises: ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _other("a number", value)
    try:
        made = float(value)
    except OverflowError:
        made = math.inf
    if not math.isfinite(made):
        raise ValueError("expected a finite number")
    return made


def share(value: Any) -> float:
    """Return a number between 0 and 1, neither of them. Raises: ValueError."""
    made = number(value)
    if not 0 < made < 1:
        raise ValueError(f"expected more than 0 and less than 1, found {_told(value)}")
    return made


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Return what reads a whole number from ``least`` to ``most``. It raises: ValueError."""

    def read(value: Any) -> int:
        if type(value) is not int:
            raise _other("a whole number", value)
        if not least <= value <= most:
            raise ValueError(f"expected {least} to {most}, found {_told(value)}")
        return value

    return read


def _other(wanted: str, value: Any) -> ValueError:
    return ValueError(f"expected {wanted}, found {_NAMES.get(type(value)) or _told(value)}")


def _told(value: float) -> str:
    digits = repr(value)
    return digits if len(digits) <= MOST_DIGITS else f"{digits[:MOST_DIGITS]}…"
