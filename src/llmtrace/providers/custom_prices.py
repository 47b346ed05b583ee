"""Prices of one's own, from the configuration or a file."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml

from llmtrace.providers.money import MILLION, as_number, nano_usd
from llmtrace.providers.rates import FREE, TOOLS, Rate, Rates

CUSTOM_MODELS: Final = "cost_estimation.custom_models"
"""The key of one's own prices in the configuration."""

MAX_USD: Final = 1_000_000
"""Most that a million tokens may cost."""
MAX_FILE_BYTES: Final = 4 << 20
MAX_MODELS: Final = 10_000
MAX_PERIODS: Final = 100
MAX_TIERS: Final = 16

_TOKENS: Final[Mapping[str, str]] = {
    "input_per_million": "input",
    "output_per_million": "output",
    "cache_read_per_million": "cache_read",
    "cache_write_per_million": "cache_write",
    "cache_write_1h_per_million": "cache_write_1h",
    "reasoning_per_million": "reasoning",
    "input_audio_per_million": "input_audio",
    "cache_audio_read_per_million": "cache_audio_read",
    "output_audio_per_million": "output_audio",
    "input_image_per_million": "input_image",
    "cache_image_read_per_million": "cache_image_read",
    "output_image_per_million": "output_image",
}
"""Keys of prices in USD for a million tokens, and the class of ``Rates`` that each is of."""

_MS_PER_HOUR: Final = 3_600_000
_OTHERS: Final[Mapping[str, str]] = {
    "per_request": "USD for a call",
    "per_image": "USD for a generated picture",
    "audio_per_hour": "USD for an hour of sound",
}
_TOOLS: Final = tuple(name for name in TOOLS if name != "image")
_NESTED: Final = ("tools", "tiers", "service_tiers", "periods")
_DATES: Final = ("valid_from", "valid_until")
_REQUIRED: Final = ("input_per_million", "output_per_million")
_KNOWN: Final = (*_TOKENS, *_OTHERS, *_DATES, "source", *_NESTED)
_PERIOD_KEYS: Final = tuple(key for key in _KNOWN if key != "periods")
_SERVICE_KEYS: Final = (*_TOKENS, *_OTHERS, "tools", "tiers")
_TIER_KEYS: Final = ("input_tokens_above", *_TOKENS)

_AS: Final[Mapping[str, str]] = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "cache_audio_read": "cache_read",
    "input_image": "input",
    "cache_image_read": "cache_read",
    "output_audio": "output",
    "output_image": "output",
    "reasoning": "output",
}
"""What a class costs that has no price of its own: as this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What a model costs from a day until before another (UTC; None: without end).

    ``rates`` are the standard ones, ``services`` those of service tiers, by name.
    """

    rates: Rates
    services: Mapping[str, Rates] = field(default_factory=dict)
    valid_from: date | None = None
    valid_until: date | None = None

    def holds(self, day: date) -> bool:
        """Whether these prices are those of a day."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day < self.valid_until
        )

    def of(self, tier: str) -> Rates:
        """Return the rates of a service tier: the standard ones, where it has none."""
        return self.services.get(tier, self.rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices by the name of a model, and a name for the list that changes with its content."""

    version: str
    models: Mapping[str, Sequence[Period]]

    def find(self, name: str, day: date, tier: str) -> Rates | None:
        """Return what a model costs on a day, None where the list does not say."""
        for period in self.models.get(name, ()):
            if period.holds(day):
                return replace(period.of(tier), version=f"{self.version}@{day}")
        return None


EMPTY: Final = PriceList(version="", models={})


def read_pricing_file(path: Path) -> PriceList:
    """Read a file of prices: YAML or JSON, a model's name → its prices.

    Raises:
        ValueError: The file or an entry is wrong; the message names it and where it stands.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{path}: longer than {MAX_FILE_BYTES} bytes; is this a file of prices?")
    try:
        entries = yaml.load(content.decode(), _Loader)  # noqa: S506  a SafeLoader
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: neither YAML nor JSON: not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from error
    except _Twice as error:
        raise ValueError(f"{path}{_line(error)}: {error.problem}; remove one") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}{_line(error)}: neither YAML nor JSON; correct it there"
        ) from error
    models = custom_prices({} if entries is None else entries, str(path)).models
    return PriceList(version=f"pricing_file/{_digest(content)}", models=models)


class _Twice(yaml.MarkedYAMLError):
    """A key stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """Reads YAML, and does not let a second price for the same thing win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise _Twice(
                        problem=f"the key {key.value[:100]!r} stands there twice",
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def custom_prices(entries: object, source: str) -> PriceList:
    """Check entries as the configuration has them.

    Args:
        entries: A model's name → its prices, with the keys of ``docs/configuration.md``.
        source: Where they stand, for errors.

    Raises:
        ValueError: An entry is wrong; the message names it.
    """
    if not isinstance(entries, Mapping):
        raise ValueError(
            f"{source}: expected model names with their prices, found {_kind(entries)}"
        )
    if len(entries) > MAX_MODELS:
        raise ValueError(f"{source}: expected at most {MAX_MODELS} models, found {len(entries)}")
    models = {
        str(model).lower(): tuple(_periods(entry, f"{source}[{str(model)!r}]"))
        for model, entry in entries.items()
    }
    return PriceList(version=f"custom_models/{_digest(repr(models).encode())}", models=models)


def _digest(content: bytes) -> str:
    """Return a short name of a list's content."""
    return hashlib.sha256(content).hexdigest()[:8]


def _periods(entry: object, where: str) -> Iterator[Period]:
    """Return the prices of a model, those of its periods first; the rest may have none."""
    fields = _mapping(entry, where, ", ".join(_REQUIRED))
    _check_keys(fields, _KNOWN, where)
    periods = fields.get("periods")
    for number, period in enumerate(_list(periods, f"{where}.periods", MAX_PERIODS)):
        inner = f"{where}.periods[{number}]"
        inside = _mapping(period, inner, "valid_from or valid_until and prices")
        _check_keys(inside, _PERIOD_KEYS, inner)
        if not any(inside.get(key) is not None for key in _DATES):
            raise ValueError(f"{inner}: has neither valid_from nor valid_until; give it one")
        yield _period(inside, inner)
    if not periods or any(fields.get(key) is not None for key in _REQUIRED):
        yield _period(fields, where)


def _period(fields: Mapping[str, object], where: str) -> Period:
    for key in _REQUIRED:
        if fields.get(key) is None:
            raise ValueError(f"{where}.{key}: missing; expected USD for a million tokens")
    first, last = (_day(fields.get(key), f"{where}.{key}") for key in _DATES)
    if first and last and first >= last:
        raise ValueError(f"{where}: valid_from {first} is not before valid_until {last}")
    services = fields.get("service_tiers")
    rates = {}
    for name, service in _entries(services, f"{where}.service_tiers"):
        inner = f"{where}.service_tiers.{name}"
        its = _mapping(service, inner, "prices")
        _check_keys(its, _SERVICE_KEYS, inner)
        rates[name.lower()] = _rates(_overlaid(fields, its), inner)
    return Period(rates=_rates(fields, where), services=rates, valid_from=first, valid_until=last)


def _overlaid(fields: Mapping[str, object], its: Mapping[str, object]) -> dict[str, object]:
    """Return prices with those of a service tier over them.

    The thresholds are the service tier's own: a standard price has no place above them.
    """
    said = {key: value for key, value in its.items() if value is not None}
    standard, own = fields.get("tools"), said.get("tools")
    if isinstance(standard, Mapping) and isinstance(own, Mapping):
        said["tools"] = {**standard, **own}
    return {**fields, "tiers": None, **said}


def _rates(fields: Mapping[str, object], where: str) -> Rates:
    base = {
        name: _nano(fields[key], f"{where}.{key}")
        for key, name in _TOKENS.items()
        if fields.get(key) is not None
    }
    tiers = sorted(_tiers(fields.get("tiers"), f"{where}.tiers"))
    others = {
        key: _nano(fields[key], f"{where}.{key}", unit=unit)
        for key, unit in _OTHERS.items()
        if fields.get(key) is not None
    }
    tools = {
        name: Rate(_nano(price, f"{where}.tools.{name}", unit="USD for a use") * MILLION)
        for name, price in _entries(fields.get("tools"), f"{where}.tools")
        if _known(name, _TOOLS, f"{where}.tools")
    }
    if "per_image" in others:
        tools["image"] = Rate(others["per_image"] * MILLION)
    hour = others.get("audio_per_hour")
    return Rates(
        version="",
        request=Rate(others["per_request"] * MILLION) if "per_request" in others else FREE,
        audio=None if hour is None else Rate(-(-hour * MILLION // _MS_PER_HOUR)),
        tools=tools,
        **_filled(base, tiers),
    )


def _filled(
    base: Mapping[str, int], tiers: Sequence[tuple[int, Mapping[str, int]]]
) -> dict[str, Rate]:
    """Return a rate for each class, by its own price or that of what it is part of."""
    rates: dict[str, Rate] = {}
    for name in ("input", "output", *_AS):
        of = name
        while of not in base and not any(of in tier for _, tier in tiers):
            of = _AS[of]
        own = base[of] if of in base else rates[_AS[of]].base
        steps, now = [], own
        for start, tier in tiers:
            now = tier.get(of, now)
            steps.append((start, now))
        rates[name] = Rate(own, tuple(steps) if any(step != own for _, step in steps) else ())
    return rates


def _tiers(value: object, where: str) -> Iterator[tuple[int, dict[str, int]]]:
    starts = set()
    for number, tier in enumerate(_list(value, where, MAX_TIERS)):
        inner = f"{where}[{number}]"
        fields = _mapping(tier, inner, "input_tokens_above and prices")
        _check_keys(fields, _TIER_KEYS, inner)
        start = fields.get("input_tokens_above")
        if not isinstance(start, int) or isinstance(start, bool) or not 0 < start < 1 << 40:
            raise ValueError(f"{inner}.input_tokens_above: expected a count of tokens above 0")
        if start in starts:
            raise ValueError(f"{inner}.input_tokens_above: {start} stands there twice")
        starts.add(start)
        yield (
            start,
            {
                name: _nano(fields[key], f"{inner}.{key}")
                for key, name in _TOKENS.items()
                if fields.get(key) is not None
            },
        )


def _mapping(value: object, where: str, expected: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected {expected}, found {_kind(value)}")
    return value


def _entries(value: object, where: str) -> Iterator[tuple[str, object]]:
    if value is None:
        return
    yield from ((str(name), its) for name, its in _mapping(value, where, "a mapping").items())


def _list(value: object, where: str, most: int) -> Sequence[object]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or len(value) > most:
        raise ValueError(f"{where}: expected a list of at most {most}, found {_kind(value)}")
    return value


def _check_keys(fields: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for key in fields:
        _known(str(key), known, where)


def _known(key: str, known: Sequence[str], where: str) -> bool:
    if key not in known:
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise ValueError(f"{where}: unknown key {key!r}; {hint}")
    return True


def _day(value: object, where: str) -> date | None:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{where}: expected a day such as 2026-11-30, found text") from None
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise ValueError(f"{where}: expected a day such as 2026-11-30, found {_kind(value)}")


def _nano(value: object, where: str, *, unit: str = "USD for a million tokens") -> int:
    dollars = as_number(value, most=MAX_USD)
    if dollars is None:
        found = repr(value) if isinstance(value, (int, float)) else _kind(value)
        raise ValueError(f"{where}: expected {unit}, 0 to {MAX_USD}, found {found}")
    return nano_usd(dollars)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _line(error: Exception) -> str:
    """Return where in a file an error is, as far as it says."""
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""
