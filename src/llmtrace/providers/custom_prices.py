"""Prices of one's own, from the configuration or a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import yaml

from llmtrace.providers.money import as_dollars, nano_usd

MAX_USD: Final = 1_000_000
"""Most that a million tokens may cost."""

_FIELDS: Final = {
    "input_per_million": "input",
    "output_per_million": "output",
    "cache_read_per_million": "cache_read",
    "cache_write_per_million": "cache_write",
}
_REQUIRED: Final = ("input_per_million", "output_per_million")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomPrice:
    """What a model costs, in nano-USD for a million tokens; None is as input."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None


def read_pricing_file(path: Path) -> dict[str, CustomPrice]:
    """Read a file of prices: YAML or JSON, a model's name → USD for a million tokens.

    Raises:
        ValueError: The file or an entry is wrong; the message names it.
        OSError: The file cannot be read.
    """
    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: neither YAML nor JSON: {error}") from error
    return custom_prices({} if entries is None else entries, str(path))


def custom_prices(entries: object, source: str) -> dict[str, CustomPrice]:
    """Check entries as the configuration has them. ``source`` is where they stand, for errors.

    Raises:
        ValueError: An entry is wrong; the message names it.
    """
    if not isinstance(entries, Mapping):
        raise ValueError(
            f"{source}: expected model names with their prices, found {_kind(entries)}"
        )
    return {str(name): _price(entry, f"{source}[{str(name)!r}]") for name, entry in entries.items()}


def _price(entry: object, where: str) -> CustomPrice:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected {', '.join(_REQUIRED)}, found {_kind(entry)}")
    for key in entry:
        if key not in _FIELDS:
            near = get_close_matches(str(key), _FIELDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_FIELDS)}"
            raise ValueError(f"{where}: unknown key {str(key)!r}; {hint}")
    values = {
        name: _nano(entry[key], f"{where}.{key}")
        for key, name in _FIELDS.items()
        if entry.get(key) is not None
    }
    for key in _REQUIRED:
        if _FIELDS[key] not in values:
            raise ValueError(f"{where}.{key}: missing; expected USD for a million tokens")
    return CustomPrice(**values)


def _nano(value: object, where: str) -> int:
    dollars = as_dollars(value, most=MAX_USD)
    if dollars is None:
        found = repr(value) if isinstance(value, (int, float)) else _kind(value)
        raise ValueError(
            f"{where}: expected USD for a million tokens, 0 to {MAX_USD}, found {found}"
        )
    return nano_usd(dollars)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
