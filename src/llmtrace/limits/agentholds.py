"""Agents that are stopped: under which key a ledger has them, and what their clients are told."""

import shlex
from typing import Final
from urllib.parse import unquote

from llmtrace.limits.loops import digest_of
from llmtrace.limits.refusals import NO_RETRY, Refused, instant, whole_seconds
from llmtrace.storage.ledger import Hold
from llmtrace.storage.ledger_checks import MAX_KEY

ON_HOLD: Final = "agent_on_hold"


def hold_key(tenant: str, agent: str) -> str:
    """Return the key under which an agent is held in a ledger."""
    key = f"agent|{_escaped(tenant)}|{_escaped(agent)}"
    if len(key) > MAX_KEY or not key.isprintable():
        return f"agent||{digest_of([tenant, agent])}"
    return key


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace("|", "%7C")


def held_agent(key: str) -> tuple[str, str] | None:
    """Return tenant and agent of a key, None if it is another's."""
    kind, _, names = key.partition("|")
    tenant, bar, agent = names.partition("|")
    return (unquote(tenant), unquote(agent)) if kind == "agent" and bar else None


def release_command(agent: str) -> str:
    """Return what a person types to let an agent go on."""
    return f"llmtrace agents release {shlex.quote(agent)}"


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
            f"what it does, then let it go on with: {release_command(agent)}.{ends}"
        ),
        details={
            "agent": agent,
            "reason": hold.reason,
            "since": instant(hold.since),
            "until": instant(hold.until),
        },
        headers=headers,
    )
