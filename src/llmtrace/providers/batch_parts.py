"""What a batch has used, by model and length of the prompt, as it stands in a usage object."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Final, NamedTuple

from llmtrace.domain.usage import Usage
from llmtrace.providers.usage_shapes import BATCH

MAX_COUNT: Final = 1 << 50
"""No batch has more of anything; a larger count is a lie."""

_FIELDS: Final = tuple(field.name for field in fields(Usage))


class Part(NamedTuple):
    """What the answers of one model and length have used. ``largest`` is the longest prompt."""

    model: str
    largest: int
    usage: Usage


def added(one: Usage, other: Usage) -> Usage:
    """Return what both have used."""
    return Usage(**{name: getattr(one, name) + getattr(other, name) for name in _FIELDS})


def written(part: Part) -> dict[str, object]:
    """Return a part as it stands in a usage object, under ``BATCH``."""
    counts = {name: count for name in _FIELDS if (count := getattr(part.usage, name))}
    return {"model": part.model, "largest": part.largest, **counts}


def parts_of(raw: Mapping[str, object] | None) -> list[Part]:
    """Return what a usage object tells of a batch; nothing where it is no batch's."""
    listed = raw.get(BATCH) if raw else None
    items = listed if isinstance(listed, list) else []
    return [part for item in items if (part := _part(item)) is not None]


def _part(item: object) -> Part | None:
    if not isinstance(item, Mapping):
        return None
    model, largest = item.get("model"), _count(item.get("largest"))
    counts = {name: _count(item[name]) for name in _FIELDS if name in item}
    if not isinstance(model, str) or largest is None or None in counts.values():
        return None
    return Part(model, largest, Usage(**{name: count or 0 for name, count in counts.items()}))


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return value
    return None
