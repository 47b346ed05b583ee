"""The highest prices that a call can have, before it is known what it will use.

What a call costs is told by what its answer says; before, only bounds can be told. Here each rate
is the highest that the call can reach: over service tiers that the provider may choose, over
tiers of input size up to a bound, over the classes of tokens that the request can lead to.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Final, NamedTuple
from urllib.parse import unquote

from genai_prices import types

from llmtrace.providers.pricing import PROVIDERS, PriceBook
from llmtrace.providers.rates import Rate, Rates
from llmtrace.providers.shipped_prices import SHIPPED_VERSION, providers, rates_of

LARGEST_INPUT: Final = 2**21
"""No provider takes more tokens in one call."""
MAX_NAME: Final = 512

_TIERS: Final[Mapping[str, Sequence[str]]] = {
    "": ("",),
    "default": ("",),
    "standard": ("",),
    "standard_only": ("",),
    "auto": ("", "priority", "fast"),
}
"""The tiers that a call may be billed under, by what it asks for. Any other is asked for itself,
or falls back to the standard one."""


class Reach(NamedTuple):
    """What a call can lead to, as far as prices differ by it."""

    input_tokens: int
    """At most."""
    answers: bool = True
    """Whether there is an answer beside what it costs to read: not of embeddings."""
    sound: bool = False
    """Whether it is about sound that may be billed by its length."""
    cache_writes: bool = False
    cache_writes_1h: bool = False
    input_media: bool = False
    """Whether pictures or sound go in."""
    output_media: bool = False
    """Whether pictures or sound may come out."""
    service_tier: str = ""
    """As the request asks for it; so is ``speed``. Neither is longer than ``MAX_NAME``."""
    speed: str = ""
    tools: frozenset[str] = frozenset()
    """The provider's own tools, by the names of ``rates.TOOLS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The highest rates of a call, in nano-USD for a million units."""

    input: int
    output: int
    request: int = 0
    tool: int = 0
    """For a million uses of the dearest of the tools."""
    audio: int = 0
    """For a million milliseconds of sound."""
    version: str = ""


def ceiling(
    book: PriceBook, provider: str, models: Iterable[str], reach: Reach, *, at: datetime
) -> Ceiling | None:
    """Return the highest rates over all models that may answer.

    Args:
        book: The prices.
        provider: Our name of it, such as ``bedrock``.
        models: As the request names them; any of them may answer.
        reach: What the call can lead to.
        at: When it begins (aware).

    Returns:
        None where there is no model, or one of them has no price.
    """
    models = tuple(models)
    at = at if at.tzinfo is UTC else at.astimezone(UTC)
    key = (provider, models, at.toordinal() * 1440 + at.hour * 60 + at.minute, _sort(reach))
    known = book.notes.get(key)
    if known is None:
        known = _known(book, provider, models, reach, at)
        if known and sum(map(len, models)) <= MAX_NAME:  # clients choose the names
            if len(book.notes) >= _MOST_KNOWN:
                book.notes.clear()
            book.notes[key] = known
    if isinstance(known, Ceiling):
        return known
    found = [each for rates in known for each in (_reached(rates, reach),) if each is not None]
    return _highest(found) if found and len(found) == len(known) else None


_MOST_KNOWN: Final = 4096
_sort = attrgetter(
    "answers",
    "sound",
    "cache_writes",
    "cache_writes_1h",
    "input_media",
    "output_media",
    "service_tier",
    "speed",
    "tools",
)
"""All of a reach but its size."""


def _known(
    book: PriceBook, provider: str, models: Sequence[str], reach: Reach, at: datetime
) -> Ceiling | Sequence[Rates]:
    """Return the highest rates where they are the same for any size, else all that may be.

    Nothing at all where one of them is not known.
    """
    listed = [
        book.rates(provider, model, at=at, service_tier=tier, speed=speed)
        for model in models
        for tier, speed in _billed(reach)
    ]
    rates = tuple({id(each): each for each in listed if each is not None}.values())
    if None in listed or not all(each.is_flat for each in rates):
        return () if None in listed else rates
    found = [_reached(each, reach) for each in rates]
    reached = [each for each in found if each is not None]
    return _highest(reached) if reached and len(reached) == len(found) else ()


@cache
def dearest() -> Ceiling:
    """Return the highest rates of all models in the shipped price lists that answer in text.

    What a model without a price is held to cost, where it must not be free. Takes about 0.1 s
    the first time.
    """
    reach = Reach(input_tokens=LARGEST_INPUT, cache_writes=True, cache_writes_1h=True)
    found = (
        _reached(rates_of(prices, SHIPPED_VERSION), reach)
        for provider in providers().values()
        for model in provider.models
        for prices in _prices(model)
    )
    return _highest([each for each in found if each is not None])


def _prices(model: types.ModelInfo) -> list[types.ModelPrice]:
    """Return the prices of a model at all times."""
    if isinstance(model.prices, types.ModelPrice):
        return [model.prices]
    return [conditional.prices for conditional in model.prices]


def context_window(provider: str, model: str) -> int | None:
    """Return how many tokens a model can be given at most, None where that is not known."""
    info = _listed(provider, model[:MAX_NAME].lower())
    return info.context_window if info else None


def canonical(provider: str, model: str) -> str:
    """Return a model's name in the price list, or the name as it is, where it is not listed.

    All names of a model, dated or not, are one there.
    """
    name = model[:MAX_NAME].lower()
    info = _listed(provider, name)
    return info.id if info else name


@lru_cache(maxsize=4096)
def _listed(provider: str, name: str) -> types.ModelInfo | None:
    known = providers()
    listed = known.get(PROVIDERS.get(provider, provider))
    if listed is None:
        return None
    plain = unquote(name)
    last = plain.rpartition("/")[2]
    for candidate in dict.fromkeys((name, plain, last, last.partition("@")[0])):
        if (found := listed.find_model(candidate, all_providers=list(known.values()))) is not None:
            return found
    return None


def _billed(reach: Reach) -> Iterator[tuple[str, str]]:
    """Go through the service tiers and speeds that a call may be billed under."""
    asked = reach.service_tier.lower()[:MAX_NAME]
    for tier in _TIERS.get(asked, ("", asked)):
        yield tier, ""
        if reach.speed:
            yield tier, reach.speed.lower()[:MAX_NAME]


def _reached(rates: Rates, reach: Reach) -> Ceiling | None:
    size = reach.input_tokens
    read, written = [rates.input, rates.cache_read], [rates.output, rates.reasoning]
    if reach.cache_writes:
        read.append(rates.cache_write)
    if reach.cache_writes_1h:
        read.append(rates.cache_write_1h)
    if reach.input_media:
        read += [rates.input_audio, rates.input_image]
    if reach.output_media:
        written += [rates.output_audio, rates.output_image]
    by_length = reach.sound and rates.audio is not None
    by_token = rates.input is not None and (rates.output is not None or not reach.answers)
    if not (by_length or by_token):
        return None
    return Ceiling(
        input=_most(read, size),
        output=_most(written, size) if reach.answers else 0,
        request=rates.request.most(size),
        tool=_most([rates.tools.get(name) for name in reach.tools], size),
        audio=_most([rates.audio], size) if reach.sound else 0,
        version=rates.version,
    )


def _most(rates: Iterable[Rate | None], size: int) -> int:
    return max((rate.most(size) for rate in rates if rate is not None), default=0)


def _highest(found: Sequence[Ceiling]) -> Ceiling:
    if len(found) == 1:
        return found[0]
    return Ceiling(
        input=max(each.input for each in found),
        output=max(each.output for each in found),
        request=max(each.request for each in found),
        tool=max(each.tool for each in found),
        audio=max(each.audio for each in found),
        version=found[0].version,
    )
