"""Token counts, by class. One meaning for all providers, whatever each one reports."""

from dataclasses import dataclass
from enum import StrEnum


class UsageSource(StrEnum):
    """Who counted."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call.

    ``input_tokens`` and ``output_tokens`` are totals: the classes below them are parts of
    them, so adding a class to its total would count it twice. Cached and written input are in
    ``input_tokens``, reasoning is in ``output_tokens``, for every provider.
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

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is negative")

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call cost, in nano-USD (10⁻⁹ USD), and which price list said so."""

    nano_usd: int
    price_version: str
