"""The section about what calls cost."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from llmtrace.config.section import Section

type Tool = Literal[
    "web_search", "web_fetch", "file_search", "code_execution", "x_search", "map_search"
]
type Usd = Annotated[float, Field(ge=0, le=1e6)]


class BasePrices(Section):
    """What every model has, in USD per million tokens."""

    input_per_million: Usd
    """Input tokens."""

    output_per_million: Usd
    """Output tokens."""


class TokenPrices(Section):
    """Prices in USD per million tokens. A kind without its own costs as what it is part of."""

    cache_read_per_million: Usd | None = None
    """Input tokens read from a cache. Default: as input."""

    cache_write_per_million: Usd | None = None
    """Input tokens written to a cache, for 5 minutes where there is a choice. Default: as input."""

    cache_write_1h_per_million: Usd | None = None
    """Input tokens written to a cache for an hour. Default: as ``cache_write_per_million``."""

    reasoning_per_million: Usd | None = None
    """Output tokens of reasoning. Default: as output."""

    input_audio_per_million: Usd | None = None
    """Input tokens of sound. Default: as input."""

    cache_audio_read_per_million: Usd | None = None
    """Input tokens of sound read from a cache. Default: as ``cache_read_per_million``."""

    output_audio_per_million: Usd | None = None
    """Output tokens of sound. Default: as output."""

    input_image_per_million: Usd | None = None
    """Input tokens of pictures. Default: as input."""

    cache_image_read_per_million: Usd | None = None
    """Input tokens of pictures read from a cache. Default: as ``cache_read_per_million``."""

    output_image_per_million: Usd | None = None
    """Output tokens of pictures. Default: as output."""


class SomePrices(TokenPrices):
    """As ``TokenPrices``, where input and output may be left out too."""

    input_per_million: Usd | None = None
    output_per_million: Usd | None = None


class PriceTier(SomePrices):
    """Prices of calls with more than so many input tokens, for all their tokens."""

    input_tokens_above: Annotated[int, Field(gt=0, lt=2**40)]


class Extras(Section):
    """What is priced beside tokens, in USD."""

    per_request: Usd | None = None
    """Each call."""

    per_image: Usd | None = None
    """Each generated picture, where the provider tells no tokens for it."""

    audio_per_hour: Usd | None = None
    """Sound that the provider bills by its length."""

    tools: dict[Tool, Usd] = {}
    """Each use of a tool that runs at the provider's: ``web_search``, ``web_fetch``,
    ``file_search``, ``code_execution``, ``x_search``, ``map_search``. Default: what the provider
    is known to take."""

    tiers: list[PriceTier] = []
    """Prices of long calls: ``input_tokens_above`` and any ``…_per_million``, for all tokens of
    a call with more input tokens than that."""


class ServicePrices(Extras, SomePrices):
    """Prices of a service tier; what it does not name costs as without the tier."""


class ModelPrices(Extras, TokenPrices, BasePrices):
    """What a model costs."""

    service_tiers: dict[str, ServicePrices] = {}
    """Other prices where the answer names this service tier (``flex``, ``priority``, ``batch``,
    …): any of the keys of prices here."""

    valid_from: date | None = None
    """The first day (UTC) of these prices. Before, those that come next are taken."""

    valid_until: date | None = None
    """The day (UTC) from which these prices hold no more."""

    source: str = ""
    """Where these prices are from. For people."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError(
                f"valid_from {self.valid_from} is not before valid_until {self.valid_until}"
            )
        return self


class PricePeriod(ModelPrices):
    """What a model costs for a time."""

    @model_validator(mode="after")
    def _dated(self) -> Self:
        if self.valid_from is None and self.valid_until is None:
            raise ValueError("has neither valid_from nor valid_until; give it one")
        return self


class CustomModel(ModelPrices):
    """Prices of a model of one's own, in USD per million tokens."""

    periods: list[PricePeriod] = []
    """Other prices for a time: the same keys, with ``valid_from``, ``valid_until`` or both. The
    first that holds on the day of a call is taken."""


class CostConfig(Section):
    """What calls cost (``cost_estimation``)."""

    enabled: bool = True
    """Whether calls are priced."""

    pricing_file: Path | None = None
    """YAML or JSON: model → prices as in ``custom_models``. Read again within seconds when it
    changes, and on SIGHUP; one that is wrong is warned of, and the prices before stay."""

    custom_models: dict[str, CustomModel] = {}
    """Prices that replace or add to the shipped ones, by ``model`` or ``provider/model``; a name
    without a date stands for those with one too. They come before ``pricing_file``."""
