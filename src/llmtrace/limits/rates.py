"""How fast calls may come: the paces that a call falls under, and what one too fast is told.

A rate is for a tenant, for an agent, a model or the value of a header within it; each one has a
pace of its own in the ledger, for calls and for tokens.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llmtrace.config.limits import Rate, RateLimitingConfig
from llmtrace.limits.budgets import Payer, key_part, pattern, spellings
from llmtrace.limits.refusals import Detail, Refused, waiting, whole_seconds
from llmtrace.providers.ceilings import canonical
from llmtrace.storage.ledger import Denied, Pace, PaceState

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
_MOST_WAIT: Final = 3600
_LONGEST_VALUE: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A pace as the ledger keeps it, and as people call it."""

    pace: Pace
    scope: str
    name: str
    """Of the tenant, agent or model, or the value of the header."""
    shown: str
    """What is allowed: ``100 calls a second``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    name: str
    fits: re.Pattern[str]
    rate: Rate


class Rates:
    """Knows the rates of everybody. Safe to share between threads."""

    def __init__(
        self, config: RateLimitingConfig, canonical: Callable[[str, str], str] = canonical
    ) -> None:
        """Take the rates.

        Args:
            config: ``rate_limiting``.
            canonical: Provider and model → the name that all names of the model share.
        """
        self._canonical = canonical
        self._tenants = config.tenant_overrides
        self._default = _default(config)
        self._agents = _Table(config.agents)
        self._models = _Table(config.models)
        self._headers = [
            _Header(name=header.name.lower(), fits=pattern(header.value), rate=header)
            for header in config.headers
        ]

    def limits(
        self, payer: Payer, *, provider: str, model: str, headers: Mapping[str, str]
    ) -> tuple[Limit, ...]:
        """Return the limits that a call falls under; all must admit it.

        Args:
            payer: Whose call it is.
            provider: Who answers.
            model: As the call names it.
            headers: Lower-case names → values, of a trusted peer; none of any other.
        """
        return tuple(self._limits(payer, provider, model, headers))

    def _limits(
        self, payer: Payer, provider: str, model: str, headers: Mapping[str, str]
    ) -> Iterator[Limit]:
        yield from _of("tenant", payer.tenant, self._tenants.get(payer.tenant, self._default))
        yield from _of("agent", payer.agent, self._agents.get(payer.agent))
        if self._models:
            listed = self._canonical(provider, model)
            names = dict.fromkeys((*spellings(provider, model), *spellings(provider, listed)))
            yield from _of("model", listed, self._models.get(*names))
        for header in self._headers:
            value = headers.get(header.name, "")[:_LONGEST_VALUE]
            if value and header.fits.fullmatch(value.lower()):
                yield from _of(f"header {header.name}", value, header.rate)


class _Table:
    """Rates by name, and by names with ``*``: its own entry first, then the first that fits."""

    def __init__(self, entries: Mapping[str, Rate]) -> None:
        self._own = {name.lower(): rate for name, rate in entries.items()}
        self._globs = [(pattern(name), rate) for name, rate in entries.items() if "*" in name]

    def __bool__(self) -> bool:
        return bool(self._own)

    def get(self, *names: str) -> Rate | None:
        """Return the rate of something with these names, None where it has none."""
        lower = [name.lower() for name in names]
        own = next((self._own[name] for name in lower if name in self._own), None)
        fitting = (rate for glob, rate in self._globs if any(map(glob.fullmatch, lower)))
        return own or next(fitting, None)


def bounded_tokens(tokens: int, limits: Iterable[Limit]) -> int:
    """Return the tokens to take from paces for a call, so that it can go at all.

    What is more than a pace ever lets through at once waits for all of it; the rest is taken when
    the call is settled, so that the mean stays within the rate.
    """
    bursts = (limit.pace.burst for limit in limits if limit.pace.unit == "tokens")
    return min((tokens, *bursts))


def too_fast(denied: Denied, limits: Iterable[Limit]) -> Refused:
    """Tell a call that it comes too fast.

    Args:
        denied: What the ledger said; its ``pace`` is one of theirs.
        limits: Those that were asked.

    Raises:
        LookupError: The pace is of none of these limits.
    """
    key = denied.pace.key if denied.pace else ""
    limit = next((each for each in limits if each.pace.key == key), None)
    if limit is None:
        raise LookupError(f"denied by no rate of the call: {key!r}")
    seconds = whole_seconds(denied.retry_after, most=_MOST_WAIT)
    state = next((each for each in denied.paces if each.key == key), None)
    details: dict[str, Detail] = {
        "scope": limit.scope,
        "scope_id": limit.name[:200],
        "unit": limit.pace.unit,
        "limit": limit.pace.burst,
        "remaining": state.remaining if state else 0,
        "requested": denied.requested,
        "retry_after_secs": seconds,
    }
    again = f"Try again in {seconds} s" if seconds else "Send less"
    return Refused(
        status=429,
        code="rate_limit_exceeded",
        message=(
            f"LLMTrace refused this call: {limit.scope} {limit.name[:64]!r} may have "
            f"{limit.shown}. {again}, or have the limit raised (rate_limiting in LLMTrace's "
            "configuration)."
        ),
        details=details,
        headers={
            **(ratelimit_headers([state]) if state else {}),
            **waiting(seconds, retry=seconds is not None),
        },
    )


def ratelimit_headers(states: Sequence[PaceState]) -> dict[str, str]:
    """Return ``x-ratelimit-*`` for the pace of which least is left, by its share."""
    tightest = min(states, key=lambda state: state.remaining / state.burst, default=None)
    if tightest is None:
        return {}
    return {
        "x-ratelimit-limit": str(tightest.burst),
        "x-ratelimit-remaining": str(max(tightest.remaining, 0)),
        "x-ratelimit-reset": str(max(math.ceil(tightest.reset_seconds), 0)),
    }


def _default(config: RateLimitingConfig) -> Rate | None:
    if config.requests_per_second is None and config.tokens_per_minute is None:
        return None
    return Rate(
        requests_per_second=config.requests_per_second,
        burst_size=config.burst_size,
        tokens_per_minute=config.tokens_per_minute,
    )


def _of(scope: str, name: str, rate: Rate | None) -> Iterator[Limit]:
    """Make the paces of a rate. A unit's time is rounded up: no pace is faster than its rate."""
    if rate is None or not name:
        return
    key = f"rate|{scope}|{key_part(name)}|"
    if (calls := rate.requests_per_second) is not None:
        burst = rate.burst_size or max(1, math.ceil(2 * calls))
        yield Limit(
            pace=Pace(
                key=f"{key}calls",
                unit="calls",
                emission_ns=math.ceil(SECOND_NS / calls),
                burst=burst,
            ),
            scope=scope,
            name=name,
            shown=f"{calls:g} calls a second, and {burst} at once",
        )
    if (tokens := rate.tokens_per_minute) is not None:
        yield Limit(
            pace=Pace(
                key=f"{key}tokens",
                unit="tokens",
                emission_ns=-(-MINUTE_NS // tokens),
                burst=tokens,
            ),
            scope=scope,
            name=name,
            shown=f"{tokens} tokens a minute",
        )
