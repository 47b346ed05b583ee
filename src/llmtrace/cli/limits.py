"""What a configuration says of keys, budgets, rates and runaway agents, and what is in vain."""

from collections.abc import Iterator
from itertools import chain
from typing import Final, get_args

from llmtrace.cli.common import counted
from llmtrace.config import Config
from llmtrace.config.limits import (
    BudgetCap,
    CostCapsConfig,
    OwnCaps,
    Rate,
    RateLimitingConfig,
    TokenCap,
    Window,
)
from llmtrace.config.section import parse_address
from llmtrace.domain.ids import DEFAULT_TENANT
from llmtrace.providers.addresses import is_loopback

_WINDOWS: Final[tuple[Window, ...]] = get_args(Window.__value__)


def summary(config: Config) -> Iterator[tuple[str, str]]:
    """Go through what callers are held to: a name, and what is so."""
    asked = config.auth.enabled
    yield "LLMTrace keys", "asked of every call" if asked else "not asked for (auth.enabled: false)"
    yield "budgets", _budgets(config.cost_caps)
    yield "rates", _rates(config.rate_limiting)
    stops = config.runaway.action == "stop"
    watched = f"watched and {'stopped' if stops else 'warned of'} (action: {config.runaway.action})"
    yield "runaway", watched if config.runaway.enabled else "not watched (runaway.enabled: false)"


def in_vain(config: Config) -> Iterator[str]:
    """Go through what is written and holds nobody, or less than it seems to."""
    caps, rates = config.cost_caps, config.rate_limiting
    if not caps.enabled and (_caps(caps) or _token_caps(caps)):
        yield "cost_caps: written, but cost_caps.enabled is false: nobody is held to it"
    if not rates.enabled and rates != RateLimitingConfig():
        yield "rate_limiting: written, but rate_limiting.enabled is false: nobody is held to it"
    if not config.runaway.enabled and config.runaway.action == "stop":
        yield "runaway.action: stop is written, but runaway.enabled is false: nobody is stopped"
    if not config.auth.enabled:
        yield from _without_keys(config)


def _without_keys(config: Config) -> Iterator[str]:
    caps, rates = config.cost_caps, config.rate_limiting
    for key, tenants in {
        "cost_caps.tenants": [entry.tenant_id for entry in caps.tenants],
        "rate_limiting.tenant_overrides": list(rates.tenant_overrides),
    }.items():
        if DEFAULT_TENANT in tenants:
            yield (
                f"{key}: {DEFAULT_TENANT} is not the tenant of calls with a provider's key, that "
                "is key-…; to hold them, set auth.enabled and give out keys of a tenant"
            )
    for key, address in {"listen": config.listen, "reverse.listen": config.reverse.listen}.items():
        if address and not _is_local(address):
            yield (
                f"{key}: {address} is open to other machines, and auth.enabled is false: whoever "
                "reaches it can use the gateway"
            )


def _is_local(address: str) -> bool:
    host = parse_address(address).host
    return host.lower() == "localhost" or is_loopback(host)


def _own(config: CostCapsConfig) -> Iterator[OwnCaps]:
    return chain(config.agents, config.tenants, config.keys, config.models)


def _caps(config: CostCapsConfig) -> list[BudgetCap]:
    own = (cap for entry in _own(config) for cap in entry.budget_caps or ())
    return [*config.default_budget_caps, *own]


def _token_caps(config: CostCapsConfig) -> list[TokenCap]:
    own = [entry.token_cap for entry in _own(config) if entry.token_cap]
    return [cap for cap in (config.default_token_cap, *own) if cap != TokenCap()]


def _budgets(config: CostCapsConfig) -> str:
    if not config.enabled:
        return "off (cost_caps.enabled: false)"
    caps, tokens = _caps(config), len(_token_caps(config))
    used = {cap.window for cap in caps}
    windows = ", ".join(window for window in _WINDOWS if window in used)
    said = [f"{counted(len(caps), 'cap')} ({windows})" if caps else "no caps"]
    said += [counted(tokens, "token cap")] if tokens else []
    return f"{', '.join(said)}; mode {config.mode}"


def _rates(config: RateLimitingConfig) -> str:
    if not config.enabled:
        return "off (rate_limiting.enabled: false)"
    each = _paces(config)
    more = sum(map(len, (config.tenant_overrides, config.agents, config.models, config.headers)))
    said = [f"{each} for each tenant"] if each else []
    said += [f"{counted(more, 'rate')} of {'their' if more > 1 else 'its'} own"] if more else []
    return "; ".join(said) or "no limits"


def _paces(rate: Rate | RateLimitingConfig) -> str:
    calls, tokens = rate.requests_per_second, rate.tokens_per_minute
    said = [f"{calls:g} calls a second"] if calls is not None else []
    said += [f"{tokens} tokens a minute"] if tokens is not None else []
    return " and ".join(said)
