"""Which budgets a call falls under.

A budget is a sum for a scope (agent, key, model or tenant) in a window. Its state lives in the
ledger, under the tenant and a key that names scope, window and period: a new period is a new key,
so nothing has to be reset.
"""

import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from llmtrace.config.limits import BudgetCap, CostCapsConfig, OwnCaps, TokenCap
from llmtrace.domain.values import dataclass
from llmtrace.limits.bounds import Hold
from llmtrace.limits.refusals import instant
from llmtrace.limits.windows import Period, period
from llmtrace.providers.ceilings import MAX_NAME, canonical
from llmtrace.providers.money import nano_usd
from llmtrace.storage.ledger import Node

SCOPES: Final = ("agent", "key", "model", "tenant")
"""In the order in which they are asked."""
_LONGEST_NAME: Final = 96
_MEMORY: Final = 4096
"""Callers whose budgets are remembered while their periods last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Who pays for a call. ``key_id`` is that of an LLMTrace key, empty where there is none."""

    tenant: str
    agent: str
    key_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A budget in one period, as the ledger keeps it (``node``) and as people call it.

    Sums are in nano-USD. ``hard`` None: nothing is refused.
    """

    node: Node
    tenant: str
    scope: str
    name: str
    """Of the agent, key, model or tenant."""
    window: str
    period: Period
    hard: int | None
    soft: int | None
    fails_open: bool
    """Whether calls go on while nobody can tell what is spent."""


class Budgets:
    """Knows the caps of everybody. Safe to share between threads."""

    def __init__(
        self, config: CostCapsConfig, canonical: Callable[[str, str], str] = canonical
    ) -> None:
        """Take the caps.

        Args:
            config: ``cost_caps``.
            canonical: Provider and model → the name that all names of the model share.
        """
        self._default_scope = config.default_scope
        self._defaults = config.default_budget_caps
        self._default_tokens = config.default_token_cap
        self._named: Mapping[str, Mapping[str, OwnCaps]] = {
            "agent": {entry.agent_id: entry for entry in config.agents},
            "key": {entry.key_id: entry for entry in config.keys},
            "tenant": {entry.tenant_id: entry for entry in config.tenants},
        }
        self._models = [(pattern(entry.model), entry.model, entry) for entry in config.models]
        self._zone = ZoneInfo(config.time_zone)
        self._zones = {
            entry.tenant_id: ZoneInfo(entry.time_zone)
            for entry in config.tenants
            if entry.time_zone
        }
        self._canonical = canonical
        self._known: dict[tuple[Payer, str, str], tuple[Budget, ...]] = {}

    def zone(self, tenant: str) -> ZoneInfo:
        """Return the time zone of a tenant's periods."""
        return self._zones.get(tenant, self._zone)

    def budgets(
        self, payer: Payer, *, provider: str, model: str, at: datetime
    ) -> tuple[Budget, ...]:
        """Return the budgets that a call falls under; all must admit it.

        Args:
            payer: Who pays.
            provider: Who answers.
            model: As the call names it.
            at: When (aware): the ledger's time.
        """
        key = (payer, provider, model[:MAX_NAME])
        known = self._known.get(key)
        if known is None or not all(at in budget.period for budget in known):
            if len(self._known) >= _MEMORY:
                self._known.clear()
            known = self._known[key] = tuple(self._made(payer, provider, model, at))
        return known

    def _made(self, payer: Payer, provider: str, model: str, at: datetime) -> Iterator[Budget]:
        zone = self.zone(payer.tenant)
        for scope, name, own in self._scopes(payer, provider, model):
            for cap in self._caps(scope, own):
                within = period(cap.window, zone, at)
                yield _budget(cap, payer.tenant, scope, name, within)

    def token_cap(self, payer: Payer, *, provider: str, model: str) -> TokenCap:
        """Return how many tokens a call may have: the least of the caps that are its own, else
        the default."""
        own = [
            entry.token_cap
            for _, _, entry in self._scopes(payer, provider, model)
            if entry is not None and entry.token_cap is not None
        ]
        return _least(own) if own else self._default_tokens

    def _caps(self, scope: str, own: OwnCaps | None) -> Sequence[BudgetCap]:
        if own is not None and own.budget_caps is not None:
            return own.budget_caps
        return self._defaults if scope == self._default_scope else ()

    def _scopes(
        self, payer: Payer, provider: str, model: str
    ) -> Iterator[tuple[str, str, OwnCaps | None]]:
        names = {"agent": payer.agent, "key": payer.key_id, "tenant": payer.tenant}
        for scope in SCOPES:
            if scope == "model":
                yield (scope, *self._model(provider, model))
            elif names[scope]:
                yield scope, names[scope], self._named[scope].get(names[scope])

    def _model(self, provider: str, model: str) -> tuple[str, OwnCaps | None]:
        if not self._models and self._default_scope != "model":
            return model, None
        listed = self._canonical(provider, model)
        names = {name for each in (model, listed) for name in spellings(provider, each)}
        for pattern, name, entry in self._models:
            if any(map(pattern.fullmatch, names)):
                return name, entry
        return listed, None


def hold_of(budgets: Sequence[Budget]) -> Hold:
    """Return what a call is held to by its budgets."""
    if any(budget.hard is not None for budget in budgets):
        return "hard"
    return "soft" if budgets else "none"


def node_key(scope: str, name: str, window: str, within: Period) -> str:
    """Return what the ledger keeps a budget under: ``cost|agent|NAME|daily|2026-11-21T00:00:00Z``.

    Names are written so that no two are alike, and long ones by a hash.
    """
    return "|".join(("cost", scope, key_part(name), window, instant(within.start) or "ever"))


def key_part(name: str) -> str:
    """Write a name so that it can stand in a key: without its separators, at most 96 characters."""
    text = quote(name, safe=" :@/+=,", errors="surrogatepass")
    if len(text) < _LONGEST_NAME:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{text[: _LONGEST_NAME - 33]}~{digest}"


def _budget(cap: BudgetCap, tenant: str, scope: str, name: str, within: Period) -> Budget:
    hard, soft = _nano(cap.hard_limit_usd), _nano(cap.soft_limit_usd)
    fails_open = (
        hard is None if cap.on_store_unavailable is None else cap.on_store_unavailable == "allow"
    )
    return Budget(
        node=Node(
            key=node_key(scope, name, cap.window, within), unit="usd", limit=hard, ends=within.end
        ),
        tenant=tenant,
        scope=scope,
        name=name,
        window=cap.window,
        period=within,
        hard=hard,
        soft=soft,
        fails_open=fails_open,
    )


def _least(caps: Sequence[TokenCap]) -> TokenCap:
    def least(name: str) -> int | None:
        return min(
            (limit for cap in caps if (limit := getattr(cap, name)) is not None), default=None
        )

    return TokenCap(**{name: least(name) for name in TokenCap.model_fields})


def pattern(glob: str) -> re.Pattern[str]:
    """Return what a name with ``*`` for any part fits, in lower case. Time is linear in a name."""
    literal = re.sub(r"[?[]", r"[\g<0>]", glob.lower())
    return re.compile(fnmatch.translate(literal))


def spellings(provider: str, model: str) -> Iterator[str]:
    """Go through what a configuration may call a model, in lower case."""
    name = model[:MAX_NAME].lower()
    yield from (name, f"{provider}/{name}", name.rpartition("/")[2])


def _nano(amount: Decimal | None) -> int | None:
    return None if amount is None else nano_usd(amount)
