"""What a call is told that may not go: status, code, a message for a person, and the figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from llmtrace.providers.money import NANO

type Detail = str | int | float | None

NOT_PRICED: Final = "model_not_priced"
"""The code of a call whose cost has no bound."""
NO_RETRY: Final[Mapping[str, str]] = {"x-should-retry": "false"}
"""What the SDKs of OpenAI and Anthropic heed: without it they send a 429 three times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call that may not go.

    ``details`` are members of the error object beside its message; ``headers`` have lower-case
    names.
    """

    status: int
    code: str
    message: str
    details: Mapping[str, Detail] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def usd(nano: int) -> str:
    """Write a sum of nano-USD as people read it, exactly: ``$20.00``, ``$0.000135``."""
    whole, rest = divmod(abs(nano), NANO)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}${whole}.{digits}"


def dollars(nano: int) -> float:
    """Return nano-USD as a number in JSON: what it prints is exact below $8,388,608.

    There a double's neighbours are closer than a nano-USD, so that the shortest text that means
    it is the sum itself.
    """
    return nano / NANO


def instant(at: datetime | None) -> str | None:
    """Write an instant: ``2026-11-22T00:00:00Z``."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_seconds(seconds: float | None, *, most: int) -> int | None:
    """Return how many seconds to wait at least, as ``Retry-After`` says it; at most ``most``."""
    return None if seconds is None else max(1, min(math.ceil(seconds), most))


def waiting(seconds: int | None, *, retry: bool) -> dict[str, str]:
    """Return the headers that say whether and when to try again."""
    headers = {} if seconds is None else {"retry-after": str(seconds)}
    return headers if retry else {**headers, **NO_RETRY}


def bad_token_cap(where: str, found: str, *, expected: str) -> Refused:
    """Refuse a number of tokens or answers that is none."""
    return Refused(
        status=400,
        code="bad_token_cap",
        message=(
            f"LLMTrace refused this call: {where} is {found}; expected {expected}. "
            "What cannot be read cannot be held to a budget."
        ),
        details={"param": where},
        headers=NO_RETRY,
    )


_ADVICE: Final[Mapping[str, str]] = {
    "prompt": "Send less, or begin a new conversation",
    "completion": "Ask for fewer",
    "total": "Send less, or ask for fewer",
}


def token_cap_exceeded(*, kind: str, limit: int, asked: int, param: str = "") -> Refused:
    """Refuse a call that could have more tokens than one call may.

    Args:
        kind: ``prompt``, ``completion`` or ``total``.
        limit: How many it may have.
        asked: How many it could have.
        param: Where the call should say that it wants no more.
    """
    advice = f"Set {param} to {limit} or less" if param else _ADVICE[kind]
    return Refused(
        status=400,
        code="token_cap_exceeded",
        message=(
            f"LLMTrace refused this call: it could have {asked} {kind} tokens, and one call may "
            f"have {limit}. {advice}; or have the token_cap in LLMTrace's cost_caps raised."
        ),
        details={"kind": kind, "limit_tokens": limit, "requested_tokens": asked},
        headers=NO_RETRY,
    )


def uncapped(where: str, most: int) -> Refused:
    """Refuse a call that sets no most of output tokens, and into which none could be put."""
    return Refused(
        status=400,
        code="token_cap_required",
        message=(
            f"LLMTrace refused this call: it sets no most of output tokens, and none could be put "
            f"into it. Set {where} to {most} or less."
        ),
        details={"param": where, "limit_tokens": most},
        headers=NO_RETRY,
    )


def not_priced(
    *,
    provider: str,
    model: str,
    operation: str,
    reason: str,
    advice: str = "Add the model to LLMTrace's cost_estimation.custom_models",
) -> Refused:
    """Refuse a call whose cost cannot be told beforehand."""
    return Refused(
        status=403,
        code=NOT_PRICED,
        message=(
            f"LLMTrace refused this call: what it costs at most cannot be told, since {reason}. "
            f"{advice}, or set cost_caps.mode: estimate there."
        ),
        details={"provider": provider, "model": model[:200], "operation": operation},
        headers=NO_RETRY,
    )


def store_unavailable() -> Refused:
    """Refuse a call because nobody can tell what is spent."""
    return Refused(
        status=503,
        code="budget_store_unavailable",
        message=(
            "LLMTrace refused this call: what is spent cannot be looked up at the moment. Try "
            "again; cost_caps' on_store_unavailable: allow lets calls pass meanwhile."
        ),
        headers={"retry-after": "2"},
    )
