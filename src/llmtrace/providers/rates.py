"""What each class of a call's usage costs, and the sum over them.

Money is in integer nano-USD; a rate is in nano-USD for a million units, so that the cheapest
token has a whole number, and each class is rounded up once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, NamedTuple

from llmtrace.domain.usage import Usage
from llmtrace.providers.money import MILLION


@dataclass(frozen=True, slots=True)
class Rate:
    """Nano-USD for a million units, by how many input tokens the call has.

    ``tiers`` are ``(start, rate)`` in rising order: a call with more than ``start`` input
    tokens costs ``rate`` for each unit, not only for those above.
    """

    base: int
    tiers: tuple[tuple[int, int], ...] = ()

    def at(self, input_tokens: int) -> int:
        """Return the rate for a call of this size."""
        for start, rate in reversed(self.tiers):
            if input_tokens > start:
                return rate
        return self.base

    def most(self, input_tokens: int) -> int:
        """Return the highest rate that a call of up to this size can have."""
        return max(self.base, *(rate for start, rate in self.tiers if input_tokens > start), 0)


FREE: Final = Rate(0)

TOOLS: Final[Mapping[str, str]] = {
    "web_search": "web_searches",
    "web_fetch": "web_fetches",
    "file_search": "file_searches",
    "code_execution": "code_executions",
    "x_search": "x_searches",
    "map_search": "map_searches",
    "image": "generated_images",
}
"""What a provider does and makes beside tokens, and which field of ``Usage`` counts it."""

AUDIO: Final = "audio"
"""The name of sound that is billed by its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The rates of one model; a class that has none of its own costs as what it is part of.

    None: such tokens have no price at all. ``tools`` are for a million uses, by the names of
    ``TOOLS``; ``audio`` is for a million milliseconds of sound.
    """

    version: str
    """The list with its version, and the day whose prices of it these are."""
    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    input_audio: Rate | None = None
    cache_audio_read: Rate | None = None
    output_audio: Rate | None = None
    input_image: Rate | None = None
    cache_image_read: Rate | None = None
    output_image: Rate | None = None
    reasoning: Rate | None = None
    request: Rate = FREE
    audio: Rate | None = None
    tools: Mapping[str, Rate] = field(default_factory=dict)
    by_class: tuple[Rate | None, ...] = field(init=False, repr=False, compare=False)
    """The rates of all tokens, in the order of ``_alone``."""
    steps: tuple[tuple[int, tuple[int | None, ...]], ...] = field(
        init=False, repr=False, compare=False
    )
    """The same as numbers, for calls of more than so many input tokens, largest first."""

    def __post_init__(self) -> None:
        rates = _CLASSES(self)
        starts = {start for rate in rates if rate is not None for start, _ in rate.tiers}
        steps = (
            (start, tuple(rate and rate.at(start + 1) for rate in rates))
            for start in sorted({-1, *starts}, reverse=True)
        )
        object.__setattr__(self, "by_class", rates)
        object.__setattr__(self, "steps", tuple(steps))

    @property
    def is_flat(self) -> bool:
        """Whether they are the same for calls of any size."""
        if len(self.steps) > 1 or self.request.tiers:
            return False
        return not any(rate.tiers for rate in (self.audio or FREE, *self.tools.values()))

    def numbers(self, input_tokens: int) -> tuple[int | None, ...]:
        """Return ``by_class`` as numbers, for a call of this size."""
        for start, numbers in self.steps[:-1]:
            if input_tokens > start:
                return numbers
        return self.steps[-1][1]


_CLASSES: Final = attrgetter(
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "input_audio",
    "cache_audio_read",
    "input_image",
    "cache_image_read",
    "output_audio",
    "output_image",
)
_COMMON: Final = attrgetter(
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_MEDIA_COUNTS: Final = (
    "input_audio_tokens",
    "cache_audio_read_tokens",
    "input_image_tokens",
    "cache_image_read_tokens",
    "output_audio_tokens",
    "output_image_tokens",
)
_OTHER_COUNTS: Final = ("audio_ms", *TOOLS.values())
_MEDIA: Final = attrgetter(*_MEDIA_COUNTS)
_OTHERS: Final = attrgetter(*_OTHER_COUNTS)
_RARE: Final = attrgetter(*_MEDIA_COUNTS, *_OTHER_COUNTS)


class Charge(NamedTuple):
    """What was used costs ``nano_usd``; what ``unpriced`` names was used and is not in it."""

    nano_usd: int
    unpriced: tuple[str, ...] = ()


def charge(rates: Rates, usage: Usage, *, largest: int | None = None) -> Charge | None:
    """Return what was used costs, None where there are tokens of a class without any rate.

    None too where nothing that was used has a rate. ``largest``: it was used by many calls, and
    the longest had so many input tokens.
    """
    size, read, short, long, written, thought = _COMMON(usage)
    rare = any(_RARE(usage))
    counts = (
        _alone(usage)
        if rare
        else (size - read - short - long, read, short, long, written - thought, thought)
    )
    total = -(-rates.request.base // MILLION)
    for count, rate in zip(
        counts, rates.numbers(size if largest is None else largest), strict=False
    ):
        if count > 0:
            if rate is None:
                return None
            total -= -count * rate // MILLION
    return _with_others(rates, usage, total) if rare else Charge(total)


def _alone(usage: Usage) -> tuple[int, ...]:
    """Return the tokens of each class that are in no other."""
    size, read, short, long, written, thought = _COMMON(usage)
    heard, heard_read, seen, seen_read, spoken, drawn = _MEDIA(usage)
    return (
        size - read - short - long - heard - seen + heard_read + seen_read,
        read - heard_read - seen_read,
        short,
        long,
        written - thought - spoken - drawn,
        thought,
        heard - heard_read,
        heard_read,
        seen - seen_read,
        seen_read,
        spoken,
        drawn,
    )


def _with_others(rates: Rates, usage: Usage, total: int) -> Charge | None:
    """Add what is no tokens."""
    used = _OTHERS(usage)
    known = (rates.audio, *(rates.tools.get(name) for name in TOOLS))
    unpriced = []
    for name, count, rate in zip((AUDIO, *TOOLS), used, known, strict=True):
        if rate is not None:
            total += -(-count * rate.base // MILLION)
        elif count:
            unpriced.append(name)
    nothing = not (usage.total_tokens or rates.request.base)
    if nothing and unpriced and len(unpriced) == sum(map(bool, used)):
        return None
    return Charge(total, tuple(unpriced))
