"""Reads the usage objects of all providers into one meaning (``domain.usage``).

Who counts what, and where it stands, is the table of ``usage_shapes``. Sources: the types of the
official SDKs, and genai-prices 0.2, whose extractors the tests compare with. The traps: Anthropic
and Bedrock leave the cache out of their input counts; Gemini leaves thoughts out of the
candidates; xAI and Perplexity leave reasoning out of the completion.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from decimal import ROUND_CEILING
from functools import reduce
from operator import attrgetter
from typing import Final

from llmtrace.domain.usage import Usage
from llmtrace.providers.batch_parts import added, parts_of
from llmtrace.providers.money import as_number
from llmtrace.providers.rates import TOOLS
from llmtrace.providers.usage_shapes import ANY, BATCH, SHAPES, USES, Item, Place, Shape

MAX_COUNT: Final = 1 << 40
"""No call has more tokens of a class; a larger count is a lie."""

_MAX_SECONDS: Final = 10_000_000

type _Report = Callable[[str], None]

_REASONING_IS_EXTRA: Final = frozenset({"perplexity"})
_REASONING_IS_EXTRA_WITHOUT_TOTAL: Final = frozenset({"xai"})


def read_usage(
    provider: str,
    dialect: str,
    raw: Mapping[str, object] | None,
    model: str = "",
    *,
    on_invalid: Callable[[str], None] = lambda name: None,
) -> Usage | None:
    """Return what a provider's usage object says, None where it says nothing that can be.

    An explicit 0 is 0. A count that is no whole number within 0 and 2⁴⁰ is as good as
    missing: where it is the input's or the output's, nothing is returned; where it is a class
    within them, or the classes are more than their total, the class is left out. Each is
    reported to ``on_invalid`` by the name of its class.

    OpenAI's cache writes (30 minutes, 12 hours) have one price and count as the 5-minute class.
    """
    if not raw:
        return None
    if BATCH in raw:
        parts = parts_of(raw)
        return reduce(added, (part.usage for part in parts)) if parts else None
    for shape in _candidates(dialect, model):
        if _fits(shape, raw):
            return _read(shape, provider, raw, model, on_invalid)
    return None


def estimate_tokens(text: str) -> int:
    """Guess the tokens of a text: one for each 4 bytes of UTF-8, rounded up.

    That is about right for English and for scripts of 2 or 3 bytes a letter; code and numbers
    have up to 1.5 times as many.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // 4)


def _candidates(dialect: str, model: str) -> Iterator[Shape]:
    if dialect == "bedrock.invoke" and "anthropic." in model:
        yield from SHAPES["anthropic.messages"]
    yield from SHAPES.get(dialect, ())
    yield from ANY


def _fits(shape: Shape, raw: Mapping[str, object]) -> bool:
    if shape.marks and all(_find(raw, place) is None for place in shape.marks):
        return False
    places = (*shape.input, *shape.output)
    return not places or any(_find(raw, place) is not None for place in places)


def _find(raw: object, place: Place) -> object:
    """Return what stands at a place, None where nothing does."""
    for step in place:
        if isinstance(step, Item):
            raw = _item(raw, step)
        elif isinstance(raw, (dict, Mapping)):  # a dict is told without asking the abstract class
            raw = raw.get(step)
        else:
            return None
    return raw


def _item(items: object, step: Item) -> object:
    if not isinstance(items, list):
        return None
    for item in items:
        if isinstance(item, (dict, Mapping)) and item.get(step.key) == step.value:
            return item
    return None


def _count(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():  # Cohere writes 12.0
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return value
    return None


def _sum(raw: Mapping[str, object], places: tuple[Place, ...]) -> int | None:
    """Return the sum over the places, None where one of them has no valid count."""
    total = 0
    for place in places:
        value = _find(raw, place)
        if value is not None:
            count = _count(value)
            if count is None:
                return None
            total += count
    return total


def _first(
    raw: Mapping[str, object], places: tuple[Place, ...], name: str, report: _Report
) -> int | None:
    for place in places:
        value = _find(raw, place)
        if value is not None:
            if (count := _count(value)) is not None:
                return count
            report(name)
    return None


_FIELDS: Final[Mapping[str, str]] = {
    "input_audio": "input_audio_tokens",
    "cache_audio_read": "cache_audio_read_tokens",
    "output_audio": "output_audio_tokens",
    "reasoning": "reasoning_tokens",
    "input_image": "input_image_tokens",
    "cache_image_read": "cache_image_read_tokens",
    "output_image": "output_image_tokens",
    **{field: field for field in TOOLS.values()},
}
"""The classes that a field of ``Usage`` counts as they are told."""


def _read(
    shape: Shape, provider: str, raw: Mapping[str, object], model: str, report: _Report
) -> Usage | None:
    read, written = _sum(raw, shape.input), _sum(raw, shape.output)
    if read is None or written is None:
        report("input" if read is None else "output")
        return None
    told = {
        name: _first(raw, places, name, report)
        for name, keys, places in shape.classes
        if not keys.isdisjoint(raw)
    }
    cached, short, long = _cache(told)
    if shape.cache_is_extra:
        read += cached + short + long
    if shape.reasoning_may_be_extra:
        reasoning = told.get("reasoning") or 0
        total = _first(raw, shape.total, "total", report)
        if _is_extra(provider, total, read + written, reasoning):
            written += reasoning
    counts = {_FIELDS[name]: count for name, count in told.items() if count and name in _FIELDS}
    if USES in raw:
        counts |= _uses(raw[USES], told, provider, model)
    if shape.audio_seconds:
        length = _milliseconds(raw, shape.audio_seconds, report)
        if length is None and not shape.input:
            return None
        counts["audio_ms"] = length or 0
    return _consistent(
        Usage(
            input_tokens=read,
            output_tokens=written,
            cache_read_tokens=cached,
            cache_write_5m_tokens=short,
            cache_write_1h_tokens=long,
            **counts,
        ),
        report,
    )


_BY_PROMPT: Final = re.compile(r"gemini-[12]\.")
"""Google bills older models' searches once for a prompt, however many queries it took."""


def _uses(
    uses: object, told: Mapping[str, int | None], provider: str, model: str
) -> dict[str, int]:
    """Return what an answer shows of tools, where its usage object says nothing of them."""
    if not isinstance(uses, Mapping):
        return {}
    counts = {
        field: count
        for name, field in TOOLS.items()
        if told.get(field) is None and (count := _count(uses.get(name)))
    }
    if provider in ("gemini", "vertex") and _BY_PROMPT.search(model):
        counts |= {field: 1 for field in ("web_searches", "map_searches") if field in counts}
    return counts


def _milliseconds(
    raw: Mapping[str, object], places: tuple[Place, ...], report: _Report
) -> int | None:
    """Return a length that is told in seconds, rounded up."""
    for place in places:
        value = _find(raw, place)
        if value is not None:
            seconds = as_number(value, most=_MAX_SECONDS)
            if seconds is not None:
                return int((seconds * 1000).to_integral_value(ROUND_CEILING))
            report("audio_seconds")
    return None


def _cache(classes: Mapping[str, int | None]) -> tuple[int, int, int]:
    """Return tokens read from the cache, written for 5 minutes, and written for an hour."""
    short, long = classes.get("cache_write_5m") or 0, classes.get("cache_write_1h") or 0
    total = classes.get("cache_write")
    if total is None:
        total = short + long
    long = min(long, total)
    return classes.get("cache_read") or 0, total - long, long


def _is_extra(provider: str, total: int | None, counted: int, reasoning: int) -> bool:
    """Whether reasoning is missing from the output count."""
    if provider in _REASONING_IS_EXTRA:
        return True
    if total is None:
        return provider in _REASONING_IS_EXTRA_WITHOUT_TOTAL
    return total == counted + reasoning


_WITHIN: Final = {
    "cache": (
        ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
        "input_tokens",
    ),
    "input_audio": (("input_audio_tokens",), "input_tokens"),
    "input_image": (("input_image_tokens",), "input_tokens"),
    "input_media": (("input_audio_tokens", "input_image_tokens"), "input_tokens"),
    "cache_audio_read": (("cache_audio_read_tokens",), "cache_read_tokens"),
    "cached_audio": (("cache_audio_read_tokens",), "input_audio_tokens"),
    "cached_image": (("cache_image_read_tokens",), "input_image_tokens"),
    "cached_media": (("cache_audio_read_tokens", "cache_image_read_tokens"), "cache_read_tokens"),
    "output": (("reasoning_tokens", "output_audio_tokens", "output_image_tokens"), "output_tokens"),
}
"""Classes that together are no more than another."""
_PARTS: Final = attrgetter(*dict.fromkeys(part for parts, _ in _WITHIN.values() for part in parts))


def _consistent(usage: Usage, report: _Report) -> Usage:
    if not any(_PARTS(usage)):
        return usage
    for name, (parts, whole) in _WITHIN.items():
        total = 0
        for part in parts:
            total += getattr(usage, part)
        if total and total > getattr(usage, whole):
            report(name)
            kept = {f.name: getattr(usage, f.name) for f in fields(usage) if f.name not in parts}
            usage = Usage(**kept)
    return usage
