"""What a call costs, from the price lists that genai-prices ships, or from one's own.

Nothing here asks the network. Money is in integer nano-USD; rates are in nano-USD for a million
units, and the cost of each class of tokens is rounded up once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

from llmtrace.domain.usage import Cost, Usage
from llmtrace.providers.custom_prices import CustomPrice, custom_prices, read_pricing_file
from llmtrace.providers.money import MILLION, as_dollars, nano_usd
from llmtrace.providers.rates import Rate, Rates, cost_of

CUSTOM_VERSION: Final = "custom"
SHIPPED_VERSION: Final = f"genai-prices/{version('genai-prices')}"

REPORTED_VERSION: Final = "provider"

_REPORTING: Final = frozenset({"openrouter", "perplexity"})
_MAX_REPORTED: Final = 100_000
"""Most dollars of one call that are believed."""
_MAX_CACHED: Final = 4_096
_MAX_NAME: Final = 512

PROVIDERS: Final[Mapping[str, str]] = {
    "bedrock": "aws",
    "copilot": "github-copilot",
    "gemini": "google",
    "moonshot": "moonshotai",
    "vertex": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zhipu": "zhipuai",
}
"""What genai-prices calls our providers, where the names differ."""

_TIERS: Final[Mapping[str, str]] = {
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
}
"""Service tiers, where a provider's word is not that of the price list."""


@dataclass(frozen=True, slots=True)
class _Model:
    """A model of the price list. ``own`` says whether the provider itself lists it."""

    info: types.ModelInfo
    own: bool
    by_time_of_day: bool


class PriceBook:
    """Prices calls. Takes about 0.2 s to make, since it loads the price lists.

    Safe to share between threads.
    """

    def __init__(
        self,
        *,
        custom_models: Mapping[str, Mapping[str, object]] | None = None,
        pricing_file: Path | None = None,
    ) -> None:
        """Load the prices.

        Args:
            custom_models: Prices by ``model`` or ``provider/model``, as in the configuration
                (``cost_estimation.custom_models``). They replace those of the file, which
                replace those that are shipped.
            pricing_file: YAML or JSON of the same shape.

        Raises:
            ValueError: An entry is wrong; the message names it.
            OSError: The file cannot be read.
        """
        custom = read_pricing_file(pricing_file) if pricing_file else {}
        custom |= custom_prices(custom_models or {}, "cost_estimation.custom_models")
        self._custom = {name.lower(): _custom_rates(price) for name, price in custom.items()}
        self._providers = {provider.id: provider for provider in get_snapshot().providers}
        self._models: dict[tuple[str, str], _Model | None] = {}
        self._known: dict[tuple[str, str, date, str, str], Rates] = {}

    def price(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        at: datetime,
        service_tier: str = "",
        speed: str = "",
    ) -> Cost | None:
        """Return what a call cost, None where that is not known.

        Args:
            provider: Our name of it, such as ``bedrock``.
            model: As the request or the answer names it: dated, regional, an ARN.
            usage: What was used.
            at: When the call began (aware): prices change by date and by time of day.
            service_tier: As the answer names it; empty is the standard one.
            speed: Anthropic's, where the answer names one.
        """
        rates = self.rates(provider, model, at=at, service_tier=service_tier, speed=speed)
        if rates is None or (nano := cost_of(rates, usage)) is None:
            return None
        return Cost(nano_usd=nano, price_version=rates.version)

    def rates(
        self,
        provider: str,
        model: str,
        *,
        at: datetime,
        service_tier: str = "",
        speed: str = "",
    ) -> Rates | None:
        """Return what each class of a model costs, None where that is not known.

        The arguments are those of ``price``.
        """
        name = model[:_MAX_NAME].lower()
        own = self._custom.get(f"{provider}/{name}") or self._custom.get(name)
        if own is not None:
            return own
        return self._shipped(provider, name, at.astimezone(UTC), service_tier.lower(), speed)

    def _shipped(
        self, provider: str, name: str, at: datetime, tier: str, speed: str
    ) -> Rates | None:
        model = self._model(provider, name)
        if model is None:
            return None
        context = _context(tier, speed) if model.own else {}
        if model.by_time_of_day:
            return _shipped_rates(model.info.get_prices(at, context))
        key = (provider, name, at.date(), tier[:_MAX_NAME], speed[:_MAX_NAME])
        if (rates := self._known.get(key)) is None:
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            rates = self._known[key] = _shipped_rates(model.info.get_prices(at, context))
        return rates

    def _model(self, provider: str, name: str) -> _Model | None:
        key = (provider, name)
        if key not in self._models:
            if len(self._models) >= _MAX_CACHED:
                self._models.clear()
            self._models[key] = self._find(provider, name)
        return self._models.get(key)

    def _find(self, provider: str, name: str) -> _Model | None:
        listed = self._providers.get(PROVIDERS.get(provider, provider))
        if listed is None:
            return None
        for candidate in _candidates(name):
            info = listed.find_model(candidate, all_providers=list(self._providers.values()))
            if info is not None:
                own = any(info is model for model in listed.models)
                return _Model(info, own, _by_time_of_day(info))
        return None


def reported_cost(provider: str, raw: Mapping[str, object] | None) -> Cost | None:
    """Return what the provider itself says that a call cost, in its usage object.

    Only of those that are known to say it in USD. Better than any price list where it is there:
    OpenRouter's price depends on who served the call, Perplexity's on its searches.
    """
    if not raw or provider not in _REPORTING:
        return None
    cost = raw.get("cost")
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    dollars = as_dollars(cost, most=_MAX_REPORTED)
    if dollars is None:
        return None
    return Cost(nano_usd=nano_usd(dollars), price_version=REPORTED_VERSION)


def _candidates(name: str) -> Iterator[str]:
    """Return what may be the price list's name of a model, likeliest first."""
    yield name
    plain = unquote(name)
    yield from (plain, plain.rpartition("/")[2], plain.rpartition("/")[2].partition("@")[0])


def _context(tier: str, speed: str) -> dict[str, str]:
    context = {"speed": speed} if speed else {}
    if tier == "batch":
        return context | {"processing": "batch"}
    return context | ({"service_tier": _TIERS.get(tier, tier)} if tier else {})


def _by_time_of_day(info: types.ModelInfo) -> bool:
    prices = info.prices if isinstance(info.prices, list) else []
    constraints = [price.constraint for price in (*prices, *(info.price_variants or ()))]
    return any(isinstance(constraint, types.TimeOfDateConstraint) for constraint in constraints)


def _rate(prices: types.ModelPrice, key: str, *, per: int = MILLION) -> Rate | None:
    """Return the rate under a key of the price list, which is in USD for ``per`` units."""
    price = prices.__dict__.get(key)
    scale = MILLION // per
    if isinstance(price, types.TieredPrices):
        tiers = tuple((tier.start, nano_usd(tier.price * scale)) for tier in price.tiers)
        return Rate(nano_usd(price.base * scale), tiers)
    return Rate(nano_usd(price * scale)) if isinstance(price, Decimal) else None


def _shipped_rates(prices: types.ModelPrice) -> Rates:
    read = _rate(prices, "input_mtok")
    written = _rate(prices, "output_mtok")
    cache_read = _rate(prices, "cache_read_mtok")
    cache_write = _rate(prices, "cache_write_mtok") or read
    input_audio = _rate(prices, "input_audio_mtok") or read
    return Rates(
        version=SHIPPED_VERSION,
        input=read,
        output=written,
        cache_read=cache_read or read,
        cache_write=cache_write,
        cache_write_1h=_rate(prices, "cache_write_1h_mtok") or cache_write,
        input_audio=input_audio,
        cache_audio_read=_rate(prices, "cache_audio_read_mtok") or cache_read or input_audio,
        output_audio=_rate(prices, "output_audio_mtok") or written,
        reasoning=_rate(prices, "output_reasoning_mtok") or written,
        web_search=_rate(prices, "web_searches_kcount", per=1_000) or Rate(0),
        request=_rate(prices, "requests_kcount", per=1_000) or Rate(0),
    )


def _custom_rates(price: CustomPrice) -> Rates:
    read, written = Rate(price.input), Rate(price.output)
    cache_read = read if price.cache_read is None else Rate(price.cache_read)
    cache_write = read if price.cache_write is None else Rate(price.cache_write)
    return Rates(
        version=CUSTOM_VERSION,
        input=read,
        output=written,
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=cache_write,
        input_audio=read,
        cache_audio_read=cache_read,
        output_audio=written,
        reasoning=written,
        web_search=Rate(0),
        request=Rate(0),
    )
