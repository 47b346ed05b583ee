"""What a call is charged when it has ended: one rule for the worker and for the recovery.

The rule reads the trace alone, so that whoever settles a call, now or after a crash, comes to
the same sum.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from llmtrace.domain.traces import NOT_SENT, Outcome, Trace
from llmtrace.domain.usage import UsageSource
from llmtrace.domain.values import dataclass
from llmtrace.storage.ledger import LARGEST, Admission, Settlement, SettlementKind

CHARGED: Final = "charged_nano_usd"
"""Attribute of a trace that was charged another sum than its cost."""

BROKEN_OFF: Final = frozenset({Outcome.BROKEN, Outcome.TIMEOUT, Outcome.CLIENT_LEFT})
NEVER_SENT: Final = frozenset({Outcome.REFUSED, Outcome.CONNECT_FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is set aside for a call that was let through.

    ``booked`` is False where no ledger could be reached, and the call went on all the same.
    """

    admission: Admission
    booked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What becomes of a reservation.

    ``expire_*`` are provisional: what the call came to may be told later, once.
    """

    kind: SettlementKind
    usd: int = 0
    """Nano-USD."""
    tokens: int = 0
    overrun: bool = False
    """Whether it came to more than was set aside."""
    told_later: bool = False
    """Whether another call will tell what it came to."""

    def settlement(self, id: str, tenant: str) -> Settlement:
        """Return it as a ledger takes it."""
        amounts = {"usd": self.usd, "tokens": self.tokens} if self.kind == "settle" else {}
        return Settlement(id=id, tenant=tenant, kind=self.kind, amounts=amounts)


def charge_of(trace: Trace, reserved: Mapping[str, int], *, strict: bool) -> Charge | None:
    """Return what a call is charged, None while it has not ended.

    Args:
        trace: As it was recorded when the call ended.
        reserved: What was set aside, by unit.
        strict: Whether what cannot be told is charged as it was set aside.
    """
    if trace.outcome is Outcome.PENDING:
        return None
    if trace.outcome in NEVER_SENT or trace.attributes.get(NOT_SENT):
        return Charge(kind="release")
    if trace.outcome is Outcome.PROVIDER_ERROR and _unbilled(trace):
        return Charge(kind="release")
    if trace.outcome is Outcome.INTERRUPTED:
        return _unknown(reserved, strict)
    if _comes_later(trace):
        return replace(_unknown(reserved, strict), told_later=True)
    if strict and _unanswered(trace):
        return _unknown(reserved, strict)
    return _told(trace, reserved, strict)


def _told(trace: Trace, reserved: Mapping[str, int], strict: bool) -> Charge:
    usd, tokens = trace.cost_nano_usd, trace.usage.total_tokens
    most = reserved.get("usd", 0)
    if trace.usage_source is UsageSource.NONE:
        usd, tokens = most, reserved.get("tokens", 0)
    elif usd is None:
        usd = most
    if strict and trace.usage_source is not UsageSource.PROVIDER:
        usd = min(usd, most)
    return Charge(
        kind="settle", usd=min(usd, LARGEST), tokens=min(tokens, LARGEST), overrun=usd > most
    )


def _unknown(reserved: Mapping[str, int], strict: bool) -> Charge:
    if not strict:
        return Charge(kind="expire_release")
    return Charge(
        kind="expire_charge", usd=reserved.get("usd", 0), tokens=reserved.get("tokens", 0)
    )


def _unbilled(trace: Trace) -> bool:
    """Whether a provider that failed has not begun to answer, as far as it says."""
    if trace.status is not None and trace.status >= 400:
        return True
    told = trace.usage_source is UsageSource.PROVIDER
    return not told and not trace.usage.output_tokens


def _unanswered(trace: Trace) -> bool:
    """Whether it was sent, and no word of an answer came: nobody knows what the provider did."""
    return trace.outcome in BROKEN_OFF and not trace.coverage.answer_bytes


def _comes_later(trace: Trace) -> bool:
    """Whether the answer only said that there will be one."""
    begun = trace.response_id and not trace.stream and not trace.stop_reason
    return bool(begun) and trace.usage_source is UsageSource.NONE
