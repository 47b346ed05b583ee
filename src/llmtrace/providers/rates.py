"""What each class of a call's usage costs, and the sum over them.

Money is in integer nano-USD; a rate is in nano-USD for a million units, so that the cheapest
token has a whole number, and each class is rounded up once.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The rates of one model; a class that has none of its own costs as what it is part of.

    None: such units have no price at all.
    """

    version: str
    input: Rate | None
    output: Rate | None
    cache_read: Rate | None
    cache_write: Rate | None
    cache_write_1h: Rate | None
    input_audio: Rate | None
    cache_audio_read: Rate | None
    output_audio: Rate | None
    reasoning: Rate | None
    web_search: Rate
    request: Rate


def cost_of(rates: Rates, usage: Usage) -> int | None:
    """Return nano-USD, None where there are tokens of a class without any rate.

    Web searches without a rate cost nothing: most price lists have them in the tokens.
    """
    audio = usage.input_audio_tokens - usage.cache_audio_read_tokens
    cached = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    spoken = usage.output_audio_tokens + usage.reasoning_tokens
    total = 0
    for count, rate in (
        (max(usage.input_tokens - cached - audio, 0), rates.input),
        (usage.cache_read_tokens - usage.cache_audio_read_tokens, rates.cache_read),
        (usage.cache_write_5m_tokens, rates.cache_write),
        (usage.cache_write_1h_tokens, rates.cache_write_1h),
        (audio, rates.input_audio),
        (usage.cache_audio_read_tokens, rates.cache_audio_read),
        (max(usage.output_tokens - spoken, 0), rates.output),
        (usage.output_audio_tokens, rates.output_audio),
        (usage.reasoning_tokens, rates.reasoning),
        (usage.web_searches, rates.web_search),
        (1, rates.request),
    ):
        if count > 0:
            if rate is None:
                return None
            total += -(-count * rate.at(usage.input_tokens) // MILLION)
    return total
