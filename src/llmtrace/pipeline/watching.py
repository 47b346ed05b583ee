"""Lets the runaway guard see every call: before it is sent, and when it has ended."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from llmtrace.domain.findings import Finding, Verdict
from llmtrace.domain.traces import Trace
from llmtrace.limits.agentholds import refusal
from llmtrace.limits.callfacts import call_facts
from llmtrace.limits.desk import LedgerDesk
from llmtrace.limits.refusals import Refused
from llmtrace.limits.runaway import RunawayGuard
from llmtrace.pipeline.call import Call
from llmtrace.pipeline.judgements import ORDER, kept, worst
from llmtrace.providers.base import Json
from llmtrace.storage.ledger import Ledger

MOST_ENDED: Final = 10_000
"""Calls that have ended and wait to be counted, while no ledger can be reached."""


class Watch:
    """Watches the calls of one worker. Lives in the event loop.

    Where the guard asks a ledger (``desk``) it is asked beside the loop.
    """

    def __init__(
        self,
        guard: RunawayGuard,
        desk: LedgerDesk | None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._guard = guard
        self._desk = desk
        self._now = now
        self._ended: deque[tuple[Trace, float]] = deque()
        self._is_due = False  # the desk has been asked to have them counted

    async def before(self, call: Call, body: Json) -> Refused | None:
        """Note a call that is about to be sent; return why its agent is stopped, if it is."""
        known = call.known
        facts = call_facts(
            id=call.id,
            tenant=known["tenant"],
            agent=known["agent"],
            view=call.view,
            body=body,
            conversation=known.get("conversation", ""),
            operation=known["operation"],
        )
        if self._desk is None or self._guard.knows(facts.tenant, facts.agent):
            verdict = self._guard.observe(facts)
        else:
            verdict = await asyncio.to_thread(self._guard.observe, facts)
        if verdict.findings:
            _add(call, verdict.findings)
        hold = verdict.hold
        if hold is None:
            return None
        left = None if hold.until is None else (hold.until - self._now()).total_seconds()
        return refusal(hold, agent=known["agent"], seconds_left=left)

    def after(self, trace: Trace) -> None:
        """Count a call that has ended."""
        if self._desk is None:
            self._guard.after(trace)
            return
        if len(self._ended) >= MOST_ENDED:
            self._desk.count("ended_calls_uncounted")
            return
        self._ended.append((trace, self._guard.now()))
        if not self._is_due:
            self._is_due = True  # before it is asked for: it may be done at once
            if not self._desk.soon(self._count):
                self._is_due = False

    def _count(self, _ledger: Ledger) -> None:
        """Count all calls that have ended by now: in one errand, for each is a trip by itself."""
        self._is_due = False  # what ends from here on asks for another
        while self._ended:
            trace, ended = self._ended.popleft()
            self._guard.after(trace, ended=ended)


def _add(call: Call, found: Sequence[Finding]) -> None:
    verdict = max(call.known.get("verdict", Verdict.ALLOW), worst(found), key=ORDER.__getitem__)
    findings = kept([*call.findings, *found])
    call.findings = list(findings)
    call.know(findings=findings, verdict=verdict)
