"""Holds calls to their limits: sets aside what a call may cost, and settles what it did."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from llmtrace.domain.parts import Path, location
from llmtrace.domain.traces import Record
from llmtrace.limits.bounds import Outgoing
from llmtrace.limits.budgets import Payer
from llmtrace.limits.charging import CHARGED, Charge, Held, charge_of
from llmtrace.limits.denials import BudgetWarning, warnings
from llmtrace.limits.desk import LedgerDesk
from llmtrace.limits.limiter import Limiter, Prepared, Who
from llmtrace.limits.rates import ratelimit_headers
from llmtrace.limits.refusals import NOT_PRICED, Refused, store_unavailable, uncapped
from llmtrace.limits.waiting import NotAsked
from llmtrace.pipeline.call import Call
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.resigning import is_fixed
from llmtrace.providers.base import Json
from llmtrace.providers.editing import EditFailed, put_member
from llmtrace.storage.ledger import (
    LARGEST,
    Admission,
    Admitted,
    Denied,
    Ledger,
    LedgerUnavailable,
    Settlement,
)

logger = logging.getLogger(__name__)

PUT: Final = "put_in"
"""Attribute of a trace: the members that the gateway has put into the request."""
UNBOOKED: Final = "unbooked"
"""Attribute of a trace: no ledger could be reached, and the call went on."""
MOST_WARNED: Final = 10_000
USAGE: Final = ("stream_options", "include_usage")
TELLS_USAGE: Final = frozenset(
    {"openai", "deepseek", "groq", "openrouter", "together", "vllm", "xai"}
)
"""Providers of chat streams that tell the usage if they are asked; of others some refuse a
request with a member that they do not know."""


class Admissions:
    """Admits the calls of one worker, and settles them. Lives in the event loop."""

    def __init__(
        self,
        limiter: Limiter,
        desk: LedgerDesk,
        counters: Counters,
        *,
        trusts: Callable[[str], bool] = lambda _peer: False,
        asks_for_usage: bool = True,
    ) -> None:
        """Take what knows the limits, and where they are kept.

        ``trusts`` says whether a peer's headers are believed; with ``asks_for_usage`` chat
        streams are asked for what they used.
        """
        self._trusts = trusts
        self._warned: OrderedDict[str, None] = OrderedDict()
        self._limiter = limiter
        self._desk = desk
        self._counters = counters
        self._asks_for_usage = asks_for_usage

    # --- before it is sent ------------------------------------------------------------------

    async def admit(
        self, call: Call, content: bytes, body: Json, *, within: Path = (), act: bool = True
    ) -> Refused | None:
        """Admit a call that is about to be sent, or say why it must not.

        ``body`` is what stands in ``content`` at ``within``. Without ``act`` nothing can be put
        into it. What is to be forwarded instead is in ``call.forward`` then.
        """
        if not (call.route.billable and call.view.billable):
            return None
        began = time.monotonic()
        editable = act and body is not None and not is_fixed(call)
        outgoing = Outgoing(
            route=call.route,
            view=call.view,
            body=body,
            size=call.request_bytes,
            at=call.head.started_at,
            model=call.known["model"],
            editable=editable,
        )
        asking = _Asking(self, call, outgoing)
        refused = await self._reserve(call, asking)
        call.span("admit", began, time.monotonic())
        if refused is None and editable:
            refused = self._put(call, content, body, asking.allowed(), within)
        return refused

    def prepare(self, call: Call, outgoing: Outgoing) -> Prepared | Refused:
        """Return what is to be asked of the ledger for a call, or why it must not go."""
        who = who_of(call, self._trusts)
        return self._limiter.prepare(who, outgoing, id=call.id, now=self._desk.now())

    def opens(self, call: Call) -> Refused | None:
        """Say why nothing on a connection that is asked for could be admitted; None if it may be.

        On a voice connection the provider begins answers by itself: it must not be opened then.
        """
        if call.route.operation != "realtime":
            return None
        outgoing = Outgoing(
            route=call.route,
            view=call.view,
            body=None,
            size=0,
            at=call.head.started_at,
            model=call.known["model"],
        )
        found = self.prepare(call, outgoing)
        return found if isinstance(found, Refused) and found.code == NOT_PRICED else None

    async def _reserve(self, call: Call, asking: "_Asking") -> Refused | None:
        try:
            answer = await self._desk.admit(asking.admission)
        except LedgerUnavailable as error:
            if asking.admission() is None:
                return asking.refused
            return self._without_ledger(call, asking.allowed(), error)
        if answer is None:
            return asking.refused
        prepared = asking.allowed()
        if isinstance(answer, Denied):
            self._counters.count("denied", answer.reason)
            if call.begun:
                self._book_begun(call, prepared)
            return self._limiter.refuse(prepared, answer, now=self._desk.now())
        self._admitted(call, prepared, answer)
        return None

    def _admitted(self, call: Call, prepared: Prepared, answer: Admitted) -> None:
        call.held = Held(admission=prepared.admission)
        if due := list(warnings(prepared.budgets, answer.standings)):
            self._warn(due)
        call.answer_headers = ratelimit_headers(answer.paces)

    def _give(self, due: Sequence[BudgetWarning]) -> None:
        """Give warnings that nobody has given in this period."""
        for one in due:
            self._counters.count("budget_warnings", one.kind)
            logger.warning("%s", one.message)

    def _warn(self, due: Sequence[BudgetWarning]) -> None:
        """Give those warnings that this worker has not looked at yet, if no other has."""
        fresh = [one for one in due if one.key not in self._warned]
        for one in fresh:
            self._warned[one.key] = None
        while len(self._warned) > MOST_WARNED:
            self._warned.popitem(last=False)
        if fresh:
            self._desk.soon(lambda ledger: _first(ledger, fresh), self._give)

    def _without_ledger(
        self, call: Call, prepared: Prepared, error: LedgerUnavailable
    ) -> Refused | None:
        """Refuse a call of which nobody can tell what is left, or let it go and book it later."""
        admission = prepared.admission
        if prepared.may_go_unbooked and self._desk.admit_unbooked(admission):
            self._counters.count("unbooked_calls")
            call.note(UNBOOKED, "true")
            call.held = Held(admission=admission, booked=False)
            return None
        if call.begun:
            self._book_begun(call, prepared)
        elif not isinstance(error, NotAsked):
            self._desk.settle(Settlement(id=admission.id, tenant=admission.tenant, kind="release"))
        return store_unavailable()

    def _book_begun(self, call: Call, prepared: Prepared) -> None:
        """Book what a call was told that its provider began by itself, and that is cut off now.

        Nobody will tell what it came to: the provider has read it, and hardly begun to write.
        """
        admission, bound = prepared.admission, prepared.bound
        charge = Charge(kind="settle", usd=bound.input_usd, tokens=bound.input_tokens)
        call.note(CHARGED, str(charge.usd))
        self._desk.book(admission, charge.settlement(admission.id, admission.tenant))

    def _put(
        self, call: Call, content: bytes, body: Json, prepared: Prepared, within: Path
    ) -> Refused | None:
        """Put into a request what holds it to its bound, and what makes its stream tell usage.

        One that cannot be held to its bound must not go.
        """
        needed = prepared.bound.put
        members: dict[tuple[str, ...], Json] = dict([needed] if needed else [])
        wants_usage = self._wants_usage(call, body)
        if wants_usage:
            members[USAGE] = True
        if not members:
            return None
        document = body if not within else orjson.loads(content)
        changed = call.forward if call.forward is not None else content
        try:
            for number, (place, value) in enumerate(members.items()):
                path = tuple(str(step) for step in within) + place
                document = orjson.loads(changed) if number else document
                changed = put_member(changed, document, path, value)
        except EditFailed as error:
            self._counters.count("put_failed")
            logger.warning("a request could not be changed: %s", error)
            return uncapped(location(needed[0]), needed[1]) if needed else None
        call.forward = changed
        call.drops_usage = wants_usage
        call.note(PUT, ",".join(".".join(place) for place in members))
        return None

    def _wants_usage(self, call: Call, body: Json) -> bool:
        """Whether a stream is to be asked for the usage that its client did not ask for."""
        known = call.known
        if not (self._asks_for_usage and call.held and known.get("stream")):
            return False
        if known["dialect"] != "openai.chat" or known["provider"] not in TELLS_USAGE:
            return False
        options = body.get("stream_options") if isinstance(body, dict) else None
        return options is None or (isinstance(options, dict) and not options.get("include_usage"))

    # --- when it has ended ------------------------------------------------------------------

    def charged(self, call: Call, record: Record) -> Record:
        """Return a call's END record with what it is charged, where that is not its cost."""
        charge = call.charge = self._charge(call)
        if charge is None or charge.told_later:
            return record
        if charge.usd == (record.trace.cost_nano_usd or 0):
            return record
        call.note(CHARGED, str(charge.usd))
        return replace(record, trace=call.trace)

    def settle(self, call: Call) -> None:
        """Settle a call that has ended. Once; where nothing is set aside, nothing."""
        held, charge = call.held, call.charge or self._charge(call)
        call.held = None
        if held is None:
            self._told(call)
            return
        admission = held.admission
        if charge is None:  # a fault of ours: what is not known is not free
            self._counters.count("settled_unknown")
            charge = Charge(kind="expire_charge")
        if charge.overrun:
            self._counters.count("budget_overrun")
        settlement = charge.settlement(admission.id, admission.tenant)
        if held.booked:
            self._desk.settle(settlement)
        else:
            self._desk.book(admission, settlement)

    def _told(self, call: Call) -> None:
        """Settle an earlier call, if this one fetched its answer and tells what it came to."""
        owed, trace = call.redeems, call.trace
        if owed is None or not owed.id or trace.cost_nano_usd is None:
            return
        charge = Charge(
            kind="settle",
            usd=min(trace.cost_nano_usd, LARGEST),
            tokens=min(trace.usage.total_tokens, LARGEST),
        )
        self._desk.settle(charge.settlement(owed.id, owed.tenant))

    def _charge(self, call: Call) -> Charge | None:
        if call.held is None:
            return None
        admission = call.held.admission
        return charge_of(call.trace, admission.amounts, strict=admission.strict)


def _first(ledger: Ledger, due: Sequence[BudgetWarning]) -> list[BudgetWarning]:
    return [one for one in due if ledger.once(one.key, ends=one.budget.period.end)]


def who_of(call: Call, trusts: Callable[[str], bool]) -> Who:
    """Return who is held to limits for a call; headers only of peers that are trusted."""
    known: Mapping[str, str] = call.known
    payer = Payer(tenant=known["tenant"], agent=known["agent"], key_id=known.get("key_id", ""))
    headers: Mapping[str, str] = {}
    if trusts(call.head.peer):
        headers = {name.lower(): value for name, value in reversed(call.head.headers)}
    return Who(
        payer=payer,
        plan=known.get("plan", ""),
        headers=headers,
    )


class _Asking:
    """What is asked for a call, found out when its turn has come."""

    def __init__(self, admissions: Admissions, call: Call, outgoing: Outgoing) -> None:
        self._admissions = admissions
        self._call = call
        self._outgoing = outgoing
        self._found: Prepared | Refused | None = None

    def admission(self) -> Admission | None:
        """Return what the ledger is asked for; None where the call is refused, or costs nothing."""
        if self._found is None:
            self._found = self._admissions.prepare(self._call, self._outgoing)
        if isinstance(self._found, Refused):
            return None
        asked = self._found.admission
        return asked if asked.nodes or asked.paces else None

    @property
    def refused(self) -> Refused | None:
        """Why the call must not go."""
        return self._found if isinstance(self._found, Refused) else None

    def allowed(self) -> Prepared:
        """Return what was asked for."""
        if not isinstance(self._found, Prepared):
            raise RuntimeError("nothing was asked for")
        return self._found
