"""Holds calls to their limits: sets aside what a call may cost, and settles what it did."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from llmtrace.domain.parts import Path
from llmtrace.domain.traces import Record
from llmtrace.limits.charging import CHARGED, Charge, charge_of
from llmtrace.limits.desk import LedgerDesk
from llmtrace.pipeline.call import Call
from llmtrace.pipeline.counters import Counters
from llmtrace.providers.base import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """Why a call is turned away, and what its client is told."""

    status: int
    code: str
    message: str
    details: Mapping[str, Json] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Admits(Protocol):
    async def __call__(self, call: Call, body: Json) -> Turned | None: ...


class Admissions:
    """Admits the calls of one worker, and settles them."""

    def __init__(self, desk: LedgerDesk, counters: Counters, admits: Admits) -> None:
        self._desk = desk
        self._counters = counters
        self._admits = admits

    async def admit(
        self, call: Call, content: bytes, body: Json, *, within: Path = (), act: bool = True
    ) -> Turned | None:
        """Admit a call that is about to be sent, or say why it must not."""
        return await self._admits(call, body)

    def charged(self, call: Call, record: Record) -> Record:
        """Return a call's END record with what it is charged, where that is not its cost."""
        charge = self._charge(call)
        if charge is None or charge.usd == (record.trace.cost_nano_usd or 0):
            return record
        call.note(CHARGED, str(charge.usd))
        return replace(record, trace=call.trace)

    def settle(self, call: Call) -> None:
        """Settle a call that has ended. Once; where nothing is set aside, nothing."""
        held, charge = call.held, self._charge(call)
        call.held = None
        if held is None or charge is None:
            return
        self._desk.settle(charge.settlement(held.admission.id, held.admission.tenant))

    def _charge(self, call: Call) -> Charge | None:
        if call.held is None:
            return None
        admission = call.held.admission
        return charge_of(call.trace, admission.amounts, strict=admission.strict)
