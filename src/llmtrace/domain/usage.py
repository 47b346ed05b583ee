"""Token counts, by class. One meaning for all providers, whatever each one reports."""

from enum import StrEnum
from operator import attrgetter
from typing import Final

from llmtrace.domain.values import dataclass


class UsageSource(StrEnum):
    """Who counted."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call used.

    ``input_tokens`` and ``output_tokens`` are totals: the classes below them are parts of
    them, so adding a class to its total would count it twice. Cached and written input are in
    ``input_tokens``, reasoning is in ``output_tokens``, for every provider.

    The rest is no tokens: sound that is billed by its length (``audio_ms``, milliseconds),
    generated pictures, and uses of tools that run at the provider's.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    cache_audio_read_tokens: int = 0
    output_audio_tokens: int = 0
    reasoning_tokens: int = 0
    web_searches: int = 0
    input_image_tokens: int = 0
    cache_image_read_tokens: int = 0
    output_image_tokens: int = 0
    audio_ms: int = 0
    generated_images: int = 0
    web_fetches: int = 0
    file_searches: int = 0
    code_executions: int = 0
    x_searches: int = 0
    map_searches: int = 0

    def __post_init__(self) -> None:
        if min(_COUNTS(self)) < 0:
            name = next(name for name in self.__dataclass_fields__ if getattr(self, name) < 0)
            raise ValueError(f"{name} is negative")

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


_COUNTS: Final = attrgetter(*Usage.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call cost, in nano-USD (10⁻⁹ USD), and which price list said so.

    ``price_version`` is ``LIST@DAY``: the list with its version, and the day (UTC) whose prices
    were taken from it. What was used but has no price there is named behind it, as in
    ``genai-prices/0.2.3@2026-11-21+unpriced:code_execution``: the cost is then partial.
    """

    nano_usd: int
    price_version: str
