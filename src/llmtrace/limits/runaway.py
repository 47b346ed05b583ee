"""Watches agents that run in circles: a warning first, then a stop that a person releases.

Three things are counted, and only of calls that the provider answered, so that retries after
errors are none of them:

* the same call again, after the one before was answered: calls side by side count as one;
* the same tool calls with the same results, round after round of one conversation;
* what an agent spends in a window, against what it mostly does in those in which it is at work.

Counts are of windows that begin at whole multiples of their length, and a stop comes when one
reaches its limit, twice its limit, and so on: whoever releases an agent lets it go as far again.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.traces import Trace
from llmtrace.domain.usage import UsageSource
from llmtrace.domain.values import dataclass
from llmtrace.limits.agentholds import hold_key, release_command
from llmtrace.limits.callfacts import CallFacts
from llmtrace.limits.chains import Chains, Recent
from llmtrace.limits.loops import MAX_STEPS, Loop, digest_of
from llmtrace.limits.tally import Tally
from llmtrace.providers.money import NANO
from llmtrace.storage.ledger import Hold, LedgerFull, LedgerUnavailable

logger = logging.getLogger(__name__)

REPEATED: Final = "runaway.repeated_call"
TOOL_LOOP: Final = "runaway.tool_loop"
SPENDING: Final = "runaway.spending"

LEAST_TOKENS: Final = 200
"""Calls with fewer burn nothing: a check whether the model is there, sent every few seconds."""
LEAST_WINDOWS: Final = 6
"""Windows in which an agent has been at work before it can be said what it mostly spends."""
NORM_SECONDS: Final = 28 * 86_400
"""How far back is looked for that, at most."""
FLUSH_SECONDS: Final = 5.0
HELD_SECONDS: Final = 1.0
"""How long it may take until another worker's hold, or a release, is seen."""
MOST_CALLS: Final = 10_000
MOST_AGENTS: Final = 10_000
MOST_FINDINGS: Final = 8

type OnEvent = Callable[[str, str], None]
"""Told of what is to be counted: a name and a label. May be called in any thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """When an agent is warned about and when it is stopped; see ``runaway`` in the configuration.

    ``stops`` is False where warnings are all. Money is in nano-USD.
    """

    stops: bool = False
    repeats_soft: int = 10
    repeats_hard: int = 30
    loop_hard: int = 20
    velocity_factor: float = 10.0
    velocity_least: int = 5_000_000_000
    window_seconds: int = 600
    hold_seconds: int = 0
    """0 is until somebody releases it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardVerdict:
    """What the guard says of a call: findings for its trace, and why it must not go, if so."""

    hold: Hold | None = None
    findings: tuple[Finding, ...] = ()


NOTHING: Final = GuardVerdict()


@dataclass(frozen=True, slots=True)
class _Call:
    """A call under way, and when it began (monotonic, seconds)."""

    facts: CallFacts
    began: float


@dataclass(slots=True)
class _Spending:
    pending: int = 0
    since: float = 0.0


class RunawayGuard:
    """Watches the agents of one worker. Safe to share between threads.

    ``tally`` is the ledger, so that all workers count together and a stop outlasts them, or a
    ``MemoryTally`` where there is none. With a ledger both ``observe`` and ``after`` may wait for
    it; where it is out of reach nobody is stopped anew.
    """

    def __init__(
        self,
        settings: GuardSettings,
        tally: Tally,
        *,
        on_event: OnEvent = lambda _name, _label: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._tally = tally
        self._on_event = on_event
        self._clock = clock
        self._lock = threading.Lock()
        self._chains = Chains()
        self._calls = Recent[str, _Call](MOST_CALLS)
        self._rounds = Recent[str, float](MOST_CALLS)
        self._seen = Recent[str, tuple[int, bool]](MOST_CALLS)
        self._spending = Recent[str, _Spending](MOST_AGENTS)
        self._held = Recent[str, tuple[Hold | None, float]](MOST_AGENTS)
        self._told = Recent[str, tuple[Finding, ...]](MOST_AGENTS)

    # --- before a call ----------------------------------------------------------------------

    def observe(self, facts: CallFacts) -> GuardVerdict:
        """Take note of a call that is about to be sent; say whether its agent is stopped.

        With a hold the call must not be sent, and ``after`` need not be called.
        """
        hold = self.held(facts.tenant, facts.agent)
        key = hold_key(facts.tenant, facts.agent)
        with self._lock:
            findings = self._told.pop(key, ())
            if hold is None and facts.request:
                self._calls.put(facts.id, _Call(facts, self._clock()))
        if hold is None and not findings:
            return NOTHING
        if hold is not None:
            self._on_event("runaway", "refused")
        return GuardVerdict(hold=hold, findings=findings)

    def knows(self, tenant: str, agent: str) -> bool:
        """Whether ``held`` answers, and ``observe`` too, without asking the ledger."""
        if not self.settings.stops:
            return True
        with self._lock:
            known = self._held.get(hold_key(tenant, agent))
        return known is not None and self._clock() < known[1]

    def held(self, tenant: str, agent: str) -> Hold | None:
        """Return why an agent is stopped, None if it is not, as known for a second at most."""
        if not self.settings.stops:
            return None
        key = hold_key(tenant, agent)
        with self._lock:
            known = self._held.get(key)
        if known is not None and self._clock() < known[1]:
            return known[0]
        try:
            hold = self._tally.held([key]).get(key)
        except LedgerUnavailable:
            self._on_event("runaway", "unavailable")
            hold = known[0] if known is not None else None
        with self._lock:
            self._held.put(key, (hold, self._clock() + HELD_SECONDS))
        return hold

    # --- after a call -----------------------------------------------------------------------

    def now(self) -> float:
        """Return the time by which calls are told to follow each other (monotonic, seconds)."""
        return self._clock()

    def after(self, trace: Trace, *, ended: float | None = None) -> None:
        """Count a call by its END trace; ``ended`` is when it did, if that was not just now."""
        with self._lock:
            call = self._calls.pop(trace.trace_id, None)
        try:
            if call is not None and _answered(trace):
                self._count(call, trace, self.now() if ended is None else ended)
            if trace.cost_nano_usd:
                self._spend(trace)
        except LedgerUnavailable:
            self._on_event("runaway", "unavailable")
        except LedgerFull as error:
            logger.error("runaway: %s", error)
            self._on_event("runaway", "full")

    def _count(self, call: _Call, trace: Trace, ended: float) -> None:
        chained = self._chains.follow(call.facts, trace)
        is_told = trace.usage_source is not UsageSource.NONE
        if is_told and trace.usage.total_tokens < LEAST_TOKENS:
            return
        if self._is_round(call, ended):
            self._same(call.facts)
        loop = chained if call.facts.previous else call.facts.loop
        if loop.times >= 2:
            self._loop(call.facts, loop)

    def _is_round(self, call: _Call, ended: float) -> bool:
        """Whether the call began after the same one was answered: those side by side are one."""
        mark = f"{_key(call.facts)}|{call.facts.request}"
        with self._lock:
            follows = call.began >= self._rounds.get(mark, float("-inf"))
            if follows:
                self._rounds.put(mark, ended)
        return follows

    def _same(self, facts: CallFacts) -> None:
        settings = self.settings
        count, by = self._repeated(f"same|{_key(facts)}|{facts.request}")
        self._weigh(
            facts,
            _Reached(REPEATED, count, by, settings.repeats_soft, settings.repeats_hard),
            f"it made the same call {count} times within {self._window}",
        )

    def _loop(self, facts: CallFacts, loop: Loop) -> None:
        hard = self.settings.loop_hard
        step = digest_of([facts.conversation, loop.step])
        count = self._bump(f"loop|{_key(facts)}|{step}", 1)
        rounds = count // loop.period + 1  # the first one came before there was anything to see
        said = (
            f"it called {_word(loop.tool)} with the same arguments and results"
            if loop.period == 1
            else f"it went through the same {loop.period} tool calls with the same results"
        )
        in_a_row = loop.times >= min(rounds, MAX_STEPS // loop.period)
        if in_a_row and count % loop.period == 0:
            self._weigh(
                facts,
                _Reached(TOOL_LOOP, rounds, 1, max(2, hard // 2), hard),
                f"{said} {rounds} times, one after the other, within {self._window}",
            )

    def _repeated(self, key: str) -> tuple[int, int]:
        """Count a mark; return the count and by how much it rose.

        A mark that this worker has not met is kept to itself until it comes again: nearly all
        never do, and cost no trip to the ledger.
        """
        window = int(self._tally.now().timestamp()) // self.settings.window_seconds
        with self._lock:
            before, told = self._seen.get(key, (-1, False))
            known = before == window
            self._seen.put(key, (window, known))
        if not known:
            return 1, 1
        by = 1 if told else 2
        return self._bump(key, by), by

    def _bump(self, key: str, by: int) -> int:
        window = self.settings.window_seconds
        return self._tally.bump(f"runaway|{_short(key)}", by=by, window_seconds=window)

    def _spend(self, trace: Trace) -> None:
        """Add to what an agent spends, and weigh it against what it mostly does."""
        settings, now = self.settings, self._clock()
        key = hold_key(trace.tenant, trace.agent)
        with self._lock:
            spending = self._spending.get(key) or _Spending(since=now - FLUSH_SECONDS)
            spending.pending += trace.cost_nano_usd or 0
            self._spending.put(key, spending)
            late = now - spending.since >= FLUSH_SECONDS
            if not late and spending.pending * 20 < settings.velocity_least:
                return
            by, spending.pending, spending.since = spending.pending, 0, now
        spent = self._bump(f"spent|{key}", by)
        total = self._long(f"total|{key}", by)
        windows = self._long(f"windows|{key}", 1 if spent == by else 0)
        if windows <= LEAST_WINDOWS:
            return
        norm = max(0, total - spent) / (windows - 1)
        hard = max(settings.velocity_least, int(settings.velocity_factor * norm))
        soft = max(settings.velocity_least, int(settings.velocity_factor * norm / 2))
        self._weigh(
            CallFacts(id="", tenant=trace.tenant, agent=trace.agent),
            _Reached(SPENDING, spent, by, min(soft, hard - 1), hard),
            f"it spent {_cents(spent)} within {self._window}, and mostly spends {_cents(norm)}",
        )

    def _long(self, key: str, by: int) -> int:
        return self._tally.bump(f"runaway|{_short(key)}", by=by, window_seconds=NORM_SECONDS)

    def _weigh(self, facts: CallFacts, reached: "_Reached", said: str) -> None:
        """Warn or stop where a count has just reached a limit."""
        if reached.is_hard and self.settings.stops:
            self._stop(facts, reached, said)
        elif reached.is_soft or (reached.is_hard and not self.settings.stops):
            self._on_event("runaway", reached.kind)
            logger.warning("agent %r of %r: %s", facts.agent, facts.tenant, said)
            self._tell(facts, reached.kind, Severity.MEDIUM, Verdict.FLAG)

    def _stop(self, facts: CallFacts, reached: "_Reached", reason: str) -> None:
        seconds = self.settings.hold_seconds
        until = self._tally.now() + timedelta(seconds=seconds) if seconds else None
        key = hold_key(facts.tenant, facts.agent)
        self._tally.hold(key, reason, until=until)
        self._on_event("runaway", "stopped")
        logger.error(
            "agent %r of %r is stopped: %s; to let it go on: %s",
            facts.agent,
            facts.tenant,
            reason,
            release_command(facts.agent),
        )
        self._tell(facts, reached.kind, Severity.HIGH, Verdict.BLOCK)
        hold = Hold(key=key, reason=reason, since=self._tally.now(), until=until)
        with self._lock:
            self._held.put(key, (hold, self._clock() + HELD_SECONDS))

    def _tell(self, facts: CallFacts, kind: str, severity: Severity, verdict: Verdict) -> None:
        """Keep a finding for the agent's next call: this one's trace is written by now."""
        finding = Finding(
            kind=kind,
            severity=severity,
            confidence=0.9,
            location="request",
            start=0,
            end=1,
            detector="runaway",
            verdict=verdict,
            rule="runaway",
        )
        key = hold_key(facts.tenant, facts.agent)
        with self._lock:
            told = (*self._told.get(key, ()), finding)
            self._told.put(key, told[-MOST_FINDINGS:])

    @property
    def _window(self) -> str:
        minutes = self.settings.window_seconds / 60
        return f"{minutes:g} minutes"


@dataclass(frozen=True, slots=True)
class _Reached:
    """A count that rose by ``by``, and its two limits. Each is told of when it is reached."""

    kind: str
    count: int
    by: int
    soft: int
    hard: int

    @property
    def is_hard(self) -> bool:
        """Whether the hard limit, or a multiple of it, was reached just now."""
        return self.count // self.hard > max(0, self.count - self.by) // self.hard

    @property
    def is_soft(self) -> bool:
        """Whether the soft limit was reached just now."""
        return self.count - self.by < self.soft <= self.count


def _key(facts: CallFacts) -> str:
    return hold_key(facts.tenant, facts.agent)


def _cents(nano_usd: float) -> str:
    return f"${nano_usd / NANO:.2f}"


def _answered(trace: Trace) -> bool:
    return trace.status is not None and (trace.status == 101 or 200 <= trace.status < 300)


def _short(key: str) -> str:
    return key if len(key) <= 280 else f"{key[:200]}|{digest_of(key)}"


def _word(name: str) -> str:
    """Reduce a tool's name to what may stand in a log."""
    plain = "".join(c if c.isalnum() or c in "_-.:" else "_" for c in name[:64])
    return plain or "a tool"
