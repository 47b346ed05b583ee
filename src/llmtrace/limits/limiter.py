"""What one call is held to: its bound, its budgets and its rates, as one question to the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Final, NamedTuple

from llmtrace.config.limits import TokenCap
from llmtrace.domain.values import dataclass
from llmtrace.limits.bounds import Bound, Bounder, Hold, Outgoing
from llmtrace.limits.budgets import Budget, Budgets, Payer, hold_of
from llmtrace.limits.denials import over_budget
from llmtrace.limits.rates import Limit, Rates, bounded_tokens, too_fast
from llmtrace.limits.refusals import Refused
from llmtrace.limits.windows import Period
from llmtrace.storage.ledger import Admission, Denied, Node, Pace

MOST_KNOWN: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Whose call it is. ``headers`` are those of a trusted peer, by lower-case name."""

    payer: Payer
    plan: str = ""
    """The subscription that pays for it, empty where it is charged by the token."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Prepared(NamedTuple):
    """A call that may go as far as anybody but the ledger can tell."""

    admission: Admission
    bound: Bound
    budgets: tuple[Budget, ...] = ()
    limits: tuple[Limit, ...] = ()

    @property
    def may_go_unbooked(self) -> bool:
        """Whether it may go while nobody can tell what is spent."""
        return all(budget.fails_open for budget in self.budgets)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Under:
    """What the calls of one payer to one model fall under, as long as it is ``valid``."""

    cap: TokenCap | None
    budgets: tuple[Budget, ...]
    limits: tuple[Limit, ...]
    hold: Hold
    nodes: tuple[Node, ...]
    paces: tuple[Pace, ...]
    valid: Period


class Limiter:
    """Holds calls to their limits. Safe to share between threads."""

    def __init__(
        self,
        bounder: Bounder,
        *,
        budgets: Budgets | None,
        rates: Rates | None,
        owner: str,
        lease_seconds: float,
        counts_plans: bool = True,
        most_wait: int = 3600,
    ) -> None:
        """Take what knows the limits.

        ``owner`` is the name of the worker; ``counts_plans``: calls under a plan cost too;
        ``most_wait`` is the longest ``Retry-After`` of a budget, in seconds.
        """
        self._bounder = bounder
        self._budgets = budgets
        self._rates = rates
        self._owner = owner
        self._lease = lease_seconds
        self._counts_plans = counts_plans
        self._most_wait = most_wait
        self._known: dict[tuple[Payer, str, str, bool], _Under] = {}

    def prepare(self, who: Who, call: Outgoing, *, id: str, now: datetime) -> Prepared | Refused:
        """Return what to ask the ledger for a call, or why it must not go.

        Args:
            who: Whose call it is.
            call: The call.
            id: Its trace id.
            now: The ledger's time.
        """
        under = self._under(who, call.route.provider, call.named, now)
        bound = self._bounder.bound(call, under.cap, hold=under.hold)
        if isinstance(bound, Refused):
            return bound
        admission = Admission(
            id=id,
            tenant=who.payer.tenant,
            amounts={
                "usd": bound.usd,
                "tokens": bounded_tokens(bound.tokens, under.limits),
                "calls": 1,
            },
            nodes=under.nodes,
            paces=under.paces,
            lease_seconds=self._lease,
            strict=self._bounder.strict and under.hold == "hard",
            owner=self._owner,
        )
        return Prepared(
            admission=admission, bound=bound, budgets=under.budgets, limits=under.limits
        )

    def _under(self, who: Who, provider: str, model: str, now: datetime) -> _Under:
        """Return what such calls fall under now: what was found for the last one, if it holds."""
        key = (who.payer, provider, model, bool(who.plan))
        known = None if who.headers else self._known.get(key)
        if known is not None and now in known.valid:
            return known
        found = self._found(who, provider, model, now)
        if not who.headers:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = found
        return found

    def _found(self, who: Who, provider: str, model: str, now: datetime) -> _Under:
        budgets: tuple[Budget, ...] = ()
        limits: tuple[Limit, ...] = ()
        cap = None
        if self._budgets is not None:
            cap = self._budgets.token_cap(who.payer, provider=provider, model=model)
            if self._counts_plans or not who.plan:
                budgets = self._budgets.budgets(who.payer, provider=provider, model=model, at=now)
        if self._rates is not None:
            limits = self._rates.limits(
                who.payer, provider=provider, model=model, headers=who.headers
            )
        return _Under(
            cap=cap,
            budgets=budgets,
            limits=limits,
            hold=hold_of(budgets),
            nodes=tuple(budget.node for budget in budgets),
            paces=tuple(limit.pace for limit in limits),
            valid=_common([budget.period for budget in budgets]),
        )

    def refuse(self, prepared: Prepared, denied: Denied, *, now: datetime) -> Refused:
        """Say why the ledger does not admit a call. Raises: LookupError: It was not asked so."""
        if denied.pace is not None:
            return too_fast(denied, prepared.limits)
        return over_budget(
            denied, prepared.budgets, prepared.bound, at=now, most_wait=self._most_wait
        )


def _common(periods: Sequence[Period]) -> Period:
    """Return the time that lies in all of these periods."""
    return Period(
        max((period.start for period in periods if period.start), default=None),
        min((period.end for period in periods if period.end), default=None),
    )
