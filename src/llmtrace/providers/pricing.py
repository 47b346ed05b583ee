"""What a call costs, from the price lists that come with the package, or from one's own.

Money is in integer nano-USD; rates are in nano-USD for a million units, and the cost of each
class of tokens is rounded up once. What is priced is never priced again: a trace keeps its cost,
with the list and the day that it is from.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import unquote

from genai_prices import types

from llmtrace.domain.usage import Cost, Usage
from llmtrace.providers.batch_parts import Part, parts_of
from llmtrace.providers.custom_prices import CUSTOM_MODELS, EMPTY, PriceList, custom_prices
from llmtrace.providers.money import as_number, nano_usd
from llmtrace.providers.rates import Rates, charge
from llmtrace.providers.shipped_prices import (
    SHIPPED_VERSION,
    corrections,
    providers,
    rates_of,
    tool_prices,
)

UNPRICED: Final = "+unpriced:"
"""What stands in a ``price_version`` before the names of what the cost leaves out."""

BATCH_TIER: Final = "batch"
"""The service tier of what a batch has answered."""

REPORTED_VERSION: Final = "provider"

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

MAKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "copilot": ("openai", "anthropic", "google", "x-ai"),
}
"""Who makes the models of a provider that has no price by the token: what they take counts."""

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
        listed: PriceList = EMPTY,
    ) -> None:
        """Load the prices.

        Args:
            custom_models: Prices by ``model`` or ``provider/model``, as in the configuration
                (``cost_estimation.custom_models``). They replace those of the file, which
                replace those that are shipped.
            listed: The prices of a file, as ``read_pricing_file`` returns them.

        Raises:
            ValueError: An entry is wrong; the message names it.
        """
        self._custom = custom_prices(custom_models or {}, CUSTOM_MODELS)
        self._edition = _Edition((self._custom, listed, corrections()))

    def use(self, listed: PriceList) -> None:
        """Put a list in the place of the file's before, from the next call on."""
        self._edition = _Edition((self._custom, listed, corrections()))

    @property
    def notes(self) -> dict[object, Any]:
        """What others have worked out of these prices; it is forgotten when they change."""
        return self._edition.notes

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
        if rates is None or (cost := charge(rates, usage)) is None:
            return None
        return Cost(nano_usd=cost.nano_usd, price_version=partial(rates.version, cost.unpriced))

    def price_answer(
        self,
        provider: str,
        models: Sequence[str],
        usage: Usage,
        raw: Mapping[str, object] | None,
        *,
        at: datetime,
        service_tier: str = "",
        speed: str = "",
    ) -> Cost | None:
        """Return what a call cost by what its answer says, None where that is not known.

        Args:
            provider: Our name of it.
            models: Who may have answered, likeliest first: the first that has a price counts,
                one of one's own before all others (such as that of a deployment's name).
            usage: What ``read_usage`` made of ``raw``, or an estimate.
            raw: The answer's usage object. Where the provider says in it what it charges, that
                is the cost; where it is a batch's, each model has its own price.
            at: As for ``price``; so are ``service_tier`` and ``speed``.
        """
        if raw and (reported := reported_cost(provider, raw)) is not None:
            return reported
        if raw and (parts := parts_of(raw)):
            return self._price_batch(provider, models, parts, at)
        tier = service_tier or _said(raw, "trafficType")
        for model in self._edition.own_first(provider, models):
            cost = self.price(
                provider, model, usage, at=at, service_tier=tier, speed=speed or _said(raw, "speed")
            )
            if cost is not None:
                return cost
        return None

    def _price_batch(
        self, provider: str, models: Sequence[str], parts: Sequence[Part], at: datetime
    ) -> Cost | None:
        """Add up what the answers of a batch cost; models without a price are said to be so."""
        total, version, unpriced = 0, "", set[str]()
        for part in parts:
            for model in filter(None, (part.model, *models)):
                rates = self.rates(provider, model, at=at, service_tier=BATCH_TIER)
                if rates and (cost := charge(rates, part.usage, largest=part.largest)):
                    total, version = total + cost.nano_usd, version or rates.version
                    unpriced.update(cost.unpriced)
                    break
            else:
                unpriced.add("model")
        if not version:
            return None
        return Cost(nano_usd=total, price_version=partial(version, sorted(unpriced)))

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
        edition = self._edition
        when = at if at.tzinfo is UTC else at.astimezone(UTC)
        key = (provider, model[:_MAX_NAME], when.toordinal(), service_tier[:_MAX_NAME], speed[:64])
        try:
            return edition.known[key]
        except KeyError:
            return edition.rates(key, when)


type _Key = tuple[str, str, int, str, str]
"""Provider, model, day, service tier and speed, as they were said."""


class _Edition:
    """The lists as they are between two reloads, and what has been looked up in them."""

    def __init__(self, lists: Sequence[PriceList]) -> None:
        self.known: dict[_Key, Rates | None] = {}
        self.notes: dict[object, Any] = {}
        self._minutes: dict[tuple[_Key, int], Rates | None] = {}
        self._lists = lists
        self._own = [prices.models for prices in lists[:2] if prices.models]
        self._providers = providers()
        self._models: dict[tuple[str, str], _Model | None] = {}

    def rates(self, key: _Key, at: datetime) -> Rates | None:
        """Look up the rates of a key, and keep them: for the day, or if need be the minute."""
        minute = (key, at.hour * 60 + at.minute)
        if minute in self._minutes:
            return self._minutes[minute]
        found, lasting = self._look_up(key, at)
        if lasting:
            _keep(self.known, key, found)
        else:
            _keep(self._minutes, minute, found)
        return found

    def own_first(self, provider: str, models: Sequence[str]) -> Sequence[str]:
        """Return the names of models, those first that one's own lists have."""
        said = [model for model in models if model]
        if not self._own or len(said) < 2:
            return said
        return sorted(said, key=lambda model: not self._is_own(provider, model[:_MAX_NAME].lower()))

    def _is_own(self, provider: str, name: str) -> bool:
        names = [n for own in _own_names(name) for n in (f"{provider}/{own}", own)]
        return any(n in models for models in self._own for n in names)

    def _look_up(self, key: _Key, at: datetime) -> tuple[Rates | None, bool]:
        """Return rates, and whether they hold for the whole day."""
        provider, name, _, tier, speed = key
        name, tier, day = name.lower(), tier.lower(), at.date()
        found = self._listed(provider, name, day, tier)
        lasting = True
        if found is None and (model := self._model(provider, name)) is not None:
            context = _context(tier, speed) if model.own else {}
            prices = model.info.get_prices(at, context)
            found = rates_of(prices, f"{SHIPPED_VERSION}@{day}")
            lasting = not model.by_time_of_day
        if found is not None:
            found = replace(found, tools={**tool_prices(provider), **found.tools})
        return found, lasting

    def _listed(self, provider: str, name: str, day: date, tier: str) -> Rates | None:
        for prices in self._lists:
            for candidate in _own_names(name) if prices.models else ():
                for listed in (f"{provider}/{candidate}", candidate):
                    if (found := prices.find(listed, day, tier)) is not None:
                        return found
        return None

    def _model(self, provider: str, name: str) -> _Model | None:
        key = (provider, name)
        if key not in self._models:
            if len(self._models) >= _MAX_CACHED:
                self._models.clear()
            self._models[key] = self._find(provider, name)
        return self._models.get(key)

    def _find(self, provider: str, name: str) -> _Model | None:
        names = MAKERS.get(provider, (PROVIDERS.get(provider, provider),))
        for listed in filter(None, map(self._providers.get, names)):
            for candidate in _candidates(name):
                info = listed.find_model(candidate, all_providers=list(self._providers.values()))
                if info is not None:
                    own = any(info is model for model in listed.models)
                    return _Model(info, own, _by_time_of_day(info))
        return None


def _keep[K](known: dict[K, Rates | None], key: K, rates: Rates | None) -> None:
    """Remember rates; past the bound everything is forgotten."""
    if len(known) >= _MAX_CACHED:
        known.clear()
    known[key] = rates


def partial(version: str, unpriced: Sequence[str]) -> str:
    """Return a price version that names what its cost leaves out, if anything."""
    begins = "," if UNPRICED in version else UNPRICED
    return version + begins + ",".join(unpriced) if unpriced else version


def _said(raw: Mapping[str, object] | None, key: str) -> str:
    value = raw.get(key) if raw else None
    return value if isinstance(value, str) else ""


def reported_cost(provider: str, raw: Mapping[str, object] | None) -> Cost | None:
    """Return what the provider itself says that a call cost, in its usage object.

    Only of those that are known to say it. Better than any price list where it is there:
    OpenRouter's price depends on who served the call, Perplexity's on its searches, xAI's on
    its tools and discounts.
    """
    if not raw or provider not in _REPORTED:
        return None
    place, parts = _REPORTED[provider]
    cost: object = raw
    for key in place:
        cost = cost.get(key) if isinstance(cost, Mapping) else cost
    dollars = as_number(cost, most=_MAX_REPORTED * parts)
    if dollars is None:
        return None
    return Cost(nano_usd=nano_usd(dollars / parts), price_version=REPORTED_VERSION)


_REPORTED: Final[Mapping[str, tuple[tuple[str, ...], int]]] = {
    "openrouter": (("cost",), 1),
    "perplexity": (("cost", "total_cost"), 1),
    "xai": (("cost_in_usd_ticks",), 10**10),
}
"""Where a provider says what a call cost, and how many of its units are one USD."""


def _candidates(name: str) -> Iterator[str]:
    """Return what may be the price list's name of a model, likeliest first."""
    yield name
    plain = unquote(name)
    yield from (plain, plain.rpartition("/")[2], plain.rpartition("/")[2].partition("@")[0])


_DATED: Final = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d(?:-v\d+(?::\d+)?)?$")


def _own_names(name: str) -> Iterator[str]:
    """Return what one's own list may call a model: as it is called, and without its date."""
    for candidate in dict.fromkeys(_candidates(name)):
        yield candidate
        if (undated := _DATED.sub("", candidate)) != candidate:
            yield undated


def _context(tier: str, speed: str) -> dict[str, str]:
    context = {"speed": speed} if speed else {}
    if tier == BATCH_TIER:
        return context | {"processing": "batch"}
    return context | ({"service_tier": _TIERS.get(tier, tier)} if tier else {})


def _by_time_of_day(info: types.ModelInfo) -> bool:
    prices = info.prices if isinstance(info.prices, list) else []
    constraints = [price.constraint for price in (*prices, *(info.price_variants or ()))]
    return any(isinstance(constraint, types.TimeOfDateConstraint) for constraint in constraints)
