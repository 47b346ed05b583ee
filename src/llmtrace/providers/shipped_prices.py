"""The price lists that come with the package: genai-prices, what corrects it, and tools' prices.

Nothing here asks the network.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Final

import yaml
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

from llmtrace.providers.custom_prices import PriceList, custom_prices
from llmtrace.providers.money import MILLION, as_number, nano_usd
from llmtrace.providers.rates import FREE, Rate, Rates

SHIPPED_VERSION: Final = f"genai-prices/{version('genai-prices')}"
MOST_FOR_A_THOUSAND: Final = 10_000

_MS_PER_HOUR: Final = 3_600_000


@cache
def providers() -> Mapping[str, types.Provider]:
    """Return the providers of genai-prices, by its name for them."""
    return {provider.id: provider for provider in get_snapshot().providers}


@cache
def corrections() -> PriceList:
    """Return the prices that genai-prices has otherwise than their providers."""
    entries = yaml.safe_load(_text("price_corrections.yaml"))
    listed = custom_prices(entries or {}, "price_corrections.yaml")
    return PriceList(version=f"llmtrace/{version('llmtrace-gateway')}", models=listed.models)


@cache
def tool_prices(provider: str) -> Mapping[str, Rate]:
    """Return what a provider's tools cost, by their names in ``rates.TOOLS``.

    Where genai-prices knows a price for the model, that one counts.
    """
    listed = yaml.safe_load(_text("tool_prices.yaml")).get(provider, {})
    return {name: _for_a_thousand(entry) for name, entry in listed.get("tools", {}).items()}


def _for_a_thousand(price: object) -> Rate:
    dollars = as_number(price, most=MOST_FOR_A_THOUSAND)
    if dollars is None:
        raise ValueError(f"tool_prices.yaml: expected USD for 1000 uses, found {price!r}")
    return Rate(nano_usd(dollars * 1_000))


def _text(name: str) -> str:
    return (files("llmtrace.providers") / name).read_text(encoding="utf-8")


def rates_of(prices: types.ModelPrice, version: str) -> Rates:
    """Return the rates that a model of genai-prices has."""
    read = _rate(prices, "input_mtok")
    written = _rate(prices, "output_mtok")
    cache_read = _rate(prices, "cache_read_mtok")
    cache_write = _rate(prices, "cache_write_mtok") or read
    input_audio = _rate(prices, "input_audio_mtok") or read
    input_image = _rate(prices, "input_image_mtok") or read
    return Rates(
        version=version,
        input=read,
        output=written,
        cache_read=cache_read or read,
        cache_write=cache_write,
        cache_write_1h=_rate(prices, "cache_write_1h_mtok") or cache_write,
        input_audio=input_audio,
        cache_audio_read=_rate(prices, "cache_audio_read_mtok") or cache_read or input_audio,
        output_audio=_rate(prices, "output_audio_mtok") or written,
        input_image=input_image,
        cache_image_read=_rate(prices, "cache_image_read_mtok") or cache_read or input_image,
        output_image=_rate(prices, "output_image_mtok") or written,
        reasoning=_rate(prices, "output_reasoning_mtok") or written,
        request=_rate(prices, "requests_kcount", per=1_000) or FREE,
        audio=_rate(prices, "input_audio_hours", per=_MS_PER_HOUR)
        or _rate(prices, "audio_hours", per=_MS_PER_HOUR),
        tools={
            name: rate
            for name, key in _TOOLS.items()
            if (rate := _rate(prices, key, per=1_000)) is not None
        },
    )


_TOOLS: Final[Mapping[str, str]] = {
    "web_search": "web_searches_kcount",
    "x_search": "social_searches_kcount",
    "file_search": "storage_searches_kcount",
    "code_execution": "code_executions_kcount",
}
"""Our names of tools, and the keys of their prices in genai-prices."""


def _rate(prices: types.ModelPrice, key: str, *, per: int = MILLION) -> Rate | None:
    """Return the rate under a key of the price list, which is in USD for ``per`` units."""
    price = prices.__dict__.get(key)
    if isinstance(price, types.TieredPrices):
        tiers = tuple((tier.start, _nano(tier.price, per)) for tier in price.tiers)
        return Rate(_nano(price.base, per), tiers)
    return Rate(_nano(price, per)) if isinstance(price, Decimal) else None


def _nano(dollars: Decimal, per: int) -> int:
    return nano_usd(dollars * MILLION / per)
