"""What a call is told that does not fit into a budget, and the warnings before it comes to that."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from llmtrace.limits.bounds import Bound
from llmtrace.limits.budgets import Budget
from llmtrace.limits.refusals import (
    Detail,
    Refused,
    dollars,
    instant,
    usd,
    waiting,
    whole_seconds,
)
from llmtrace.storage.ledger import Denied, Standing

NEAR: Final = 80
"""Per cent of a hard limit at which a warning is given."""
CONTENDED_SECONDS: Final = 2.0
"""When to come back where open calls hold what is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWarning:
    """A budget of which much is spent. ``key`` is for ``Ledger.once``: it names the period."""

    key: str
    kind: Literal["soft_limit", "near_limit"]
    budget: Budget
    spent: int
    limit: int
    message: str


def over_budget(
    denied: Denied, budgets: Iterable[Budget], bound: Bound, *, at: datetime, most_wait: int
) -> Refused:
    """Tell a call that its budget does not admit it.

    Args:
        denied: What the ledger said; its ``node`` is one of theirs.
        budgets: Those that were asked.
        bound: What the call was held to cost.
        at: When (aware).
        most_wait: Longest ``Retry-After``, in seconds.

    Raises:
        LookupError: The node is of none of these budgets.
    """
    key = denied.node.key if denied.node else ""
    budget = next((each for each in budgets if each.node.key == key), None)
    if budget is None or budget.hard is None:
        raise LookupError(f"denied by no budget of the call: {key!r}")
    wait = _wait(denied, budget, at)
    seconds = whole_seconds(wait, most=most_wait)
    fits = bound.fitting_output(budget.hard - denied.spent)
    details: dict[str, Detail] = {
        "scope": budget.scope,
        "scope_id": budget.name[:200],
        "window": budget.window,
        "reason": denied.reason,
        "limit_usd": dollars(budget.hard),
        "spent_usd": dollars(denied.spent),
        "reserved_usd": dollars(denied.reserved),
        "requested_usd": dollars(denied.requested),
        "resets_at": instant(budget.period.end),
        "retry_after_secs": seconds,
    }
    if denied.reason == "too_large":
        details["max_output_tokens"] = fits
    return Refused(
        status=429,
        code="cost_cap_exceeded",
        message=_message(denied, budget, fits),
        details=details,
        headers=waiting(seconds, retry=denied.reason == "contended"),
    )


def warnings(budgets: Sequence[Budget], standings: Sequence[Standing]) -> Iterator[BudgetWarning]:
    """Return the warnings that are due, by what is spent; the caller gives each but once.

    Args:
        budgets: The budgets of a call.
        standings: How the ledger says that they stand, in any order.
    """
    spent_of = {standing.key: standing.spent for standing in standings}
    for budget in budgets:
        spent = spent_of.get(budget.node.key, 0)
        if budget.soft is not None and spent > budget.soft:
            yield _warning(budget, "soft_limit", spent, budget.soft)
        if budget.hard and spent * 100 >= budget.hard * NEAR:
            yield _warning(budget, "near_limit", spent, budget.hard)


def _warning(
    budget: Budget, kind: Literal["soft_limit", "near_limit"], spent: int, limit: int
) -> BudgetWarning:
    digest = hashlib.sha256(f"{budget.tenant}|{budget.node.key}".encode()).hexdigest()[:32]
    word = "soft limit" if kind == "soft_limit" else "limit"
    return BudgetWarning(
        key=f"warned|{kind}|{digest}",
        kind=kind,
        budget=budget,
        spent=spent,
        limit=limit,
        message=f"{_title(budget)}: {usd(spent)} spent of a {word} of {usd(limit)}",
    )


def _wait(denied: Denied, budget: Budget, at: datetime) -> float | None:
    """Return the seconds after which it may go, None where time does not help."""
    if denied.reason == "contended":
        return min(max(denied.retry_after or CONTENDED_SECONDS, 1.0), 5.0)
    if budget.hard is not None and denied.requested > budget.hard:
        return None
    return budget.period.seconds_left(at)


def _owner(budget: Budget) -> str:
    return f"{budget.scope} {budget.name[:64]!r}"


def _title(budget: Budget) -> str:
    """Name a budget; an agent, a key or a model has one of its own in each tenant."""
    of = "" if budget.scope == "tenant" else f" of tenant {budget.tenant[:64]!r}"
    return f"{budget.window} budget of {_owner(budget)}{of}"


def _message(denied: Denied, budget: Budget, fits: int | None) -> str:
    """Say what is wrong and what a person can do about it."""
    hard = budget.hard or 0
    limit, spent, cost = usd(hard), usd(denied.spent), usd(denied.requested)
    renewed = instant(budget.period.end)
    raised = f"have it raised (cost_caps in LLMTrace's configuration, {_owner(budget)})"
    until = f"wait until {renewed}, or " if renewed and denied.requested <= hard else ""
    title = _title(budget)
    if denied.reason == "contended":
        return (
            f"LLMTrace refused this call for now: calls under way hold what is left of the "
            f"{title}, {spent} spent and {usd(denied.reserved)} reserved of {limit}. Try again "
            "in a few seconds."
        )
    if denied.reason == "exhausted":
        return (
            f"LLMTrace refused this call: the {title} is used up, {spent} spent of {limit}. "
            f"{_sentence(until + raised)}"
        )
    less = f"ask for at most {fits} output tokens" if fits else "send less"
    return (
        f"LLMTrace refused this call: it could cost {cost}, and {usd(max(hard - denied.spent, 0))} "
        f"of {limit} is left of the {title}. {_sentence(f'{less}, {until or "or "}{raised}')}"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
