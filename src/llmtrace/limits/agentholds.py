"""Agents that are stopped: under which key a ledger has them, and what their clients are told."""

from typing import Final
from urllib.parse import quote, unquote

from llmtrace.limits.loops import digest_of
from llmtrace.limits.refusals import NO_RETRY, Refused, instant, whole_seconds
from llmtrace.storage.ledger import Hold

ON_HOLD: Final = "agent_on_hold"


def hold_key(tenant: str, agent: str) -> str:
    """Return the key under which an agent is held in a ledger."""
    key = f"agent|{quote(tenant[:200], safe=':._/-')}|{quote(agent[:200], safe=':._/-')}"
    return key if len(key) <= 300 else f"agent||{digest_of([tenant, agent])}"


def held_agent(key: str) -> tuple[str, str] | None:
    """Return tenant and agent of a key, None if it is another's."""
    kind, _, names = key.partition("|")
    tenant, bar, agent = names.partition("|")
    return (unquote(tenant), unquote(agent)) if kind == "agent" and bar else None


def refusal(hold: Hold, *, agent: str, seconds_left: float | None = None) -> Refused:
    """Return what a client is told whose agent is on hold.

    Args:
        hold: Why, and until when.
        agent: The agent's name.
        seconds_left: How long the hold lasts yet, None where a person must release it.
    """
    wait = whole_seconds(seconds_left, most=86_400)
    headers = dict(NO_RETRY) if wait is None else {**NO_RETRY, "retry-after": str(wait)}
    ends = f" It ends by itself at {instant(hold.until)}." if hold.until else ""
    return Refused(
        status=429,
        code=ON_HOLD,
        message=(
            f"LLMTrace stopped agent {agent!r}: {hold.reason}. This call was not sent. Look at "
            f"what it does, then let it go on with: llmtrace agents release {agent}.{ends}"
        ),
        details={
            "agent": agent,
            "reason": hold.reason,
            "since": instant(hold.since),
            "until": instant(hold.until),
        },
        headers=headers,
    )
