"""Any order of admitting, settling, expiring, dying and setting clocks, against a model."""

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmtrace.storage.ledger import (
    ENDS_AS,
    KEEP_EXPIRED,
    KEEP_SETTLED,
    MAX_STEP_BACK,
    Admission,
    Admitted,
    Denied,
    Ledger,
    Node,
    Pace,
    Settlement,
    SettlementKind,
    State,
)
from llmtrace.testing import redis
from llmtrace.testing.ledgers import LEDGERS, NEED_REDIS, NOON, SetClock

NAMES: Final = [name for name in LEDGERS if name not in NEED_REDIS or redis.installed()]
ENDS = NOON + timedelta(days=30)
NODES: Final = [
    Node(key="tenant", unit="usd", limit=1000, ends=ENDS),
    Node(key="team", unit="usd", limit=700, ends=None),
    Node(key="agent", unit="usd", limit=400, ends=ENDS),
    Node(key="counted", unit="calls", limit=None, ends=ENDS),
    Node(key="tokens", unit="tokens", limit=2000, ends=ENDS),
]
PACES: Final = [
    Pace(key="rps", unit="calls", emission_ns=1_000_000_000, burst=5),
    Pace(key="tpm", unit="tokens", emission_ns=10_000_000, burst=900),
]
KINDS: Final[list[SettlementKind]] = [*ENDS_AS, "settle"]
IDS = st.sampled_from([f"call-{number}" for number in range(12)])
AMOUNTS = st.fixed_dictionaries(
    {"usd": st.integers(0, 300), "tokens": st.integers(0, 400), "calls": st.just(1)}
)


@dataclass
class Kept:
    """A call as the model knows it. ``forgotten`` is when its end is forgotten."""

    asked: Admission
    lease: float
    state: State = State.OPEN
    charged: dict[str, int] = field(default_factory=dict)
    forgotten: float = float("inf")


@dataclass
class Model:
    """What must be true: sums over all calls there ever were, rather than running totals.

    Times are in seconds.
    """

    now: float = 0.0
    calls: dict[str, Kept] = field(default_factory=dict)
    past: list[Kept] = field(default_factory=list)
    free_at: dict[str, float] = field(default_factory=dict)

    def known(self, id: str) -> Kept | None:
        kept = self.calls.get(id)
        if kept is not None and kept.forgotten <= self.now:
            self.past.append(self.calls.pop(id))
            return None
        return kept

    def sums(self, node: Node) -> tuple[int, int]:
        mine = [
            kept
            for kept in (*self.past, *self.calls.values())
            if node.key in {each.key for each in kept.asked.nodes}
        ]
        spent = sum(kept.charged.get(node.unit, 0) for kept in mine)
        reserved = sum(k.asked.amounts[node.unit] for k in mine if k.state is State.OPEN)
        return spent, reserved

    def fits(self, asked: Admission) -> bool:
        budgets = all(
            node.limit is None
            or (node.limit and sum(self.sums(node)) + asked.amounts[node.unit] <= node.limit)
            for node in asked.nodes
        )
        return budgets and all(self.waits(p, asked.amounts[p.unit]) <= 0 for p in asked.paces)

    def waits(self, pace: Pace, amount: int) -> int:
        """Nanoseconds until so many may go; by the theoretical arrival time of the GCRA."""
        if not amount:
            return 0
        if amount > pace.burst:
            return 10**18
        held = round(max(0.0, self.free_at.get(pace.key, 0.0) - self.now) * 1e9)
        return held + (amount - pace.burst) * pace.emission_ns

    def take(self, pace: Pace, amount: int) -> None:
        begins = max(self.now, self.free_at.get(pace.key, 0.0))
        self.free_at[pace.key] = max(self.now, round(begins + amount * pace.emission_ns / 1e9, 6))


class LedgerMachine(RuleBasedStateMachine):
    """All ledgers do what the model says, and give the same answers."""

    names = NAMES
    ledgers: dict[str, Ledger]

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ledger-model-"))
        self.clock = SetClock()
        self.model = Model()
        self.limits = {node.key: node for node in NODES}
        self.ledgers = {name: self.opened(name) for name in self.names}

    def opened(self, name: str) -> Ledger:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return LEDGERS[name](folder, self.clock)

    def teardown(self) -> None:
        for ledger in self.ledgers.values():
            ledger.close()
        shutil.rmtree(self.root)

    def same[T](self, answers: dict[str, T]) -> T:
        first = answers[self.names[0]]
        assert all(answer == first for answer in answers.values()), answers
        return first

    def admit(self, asked: Admission) -> Admitted | Denied:
        return self.same({name: ledger.admit(asked) for name, ledger in self.ledgers.items()})

    @initialize()
    def nothing_yet(self) -> None:
        for ledger in self.ledgers.values():
            assert ledger.open() == []
        self.tick()

    @rule(
        id=IDS,
        amounts=AMOUNTS,
        nodes=st.sets(st.sampled_from([node.key for node in NODES])),
        paces=st.sets(st.sampled_from(range(len(PACES)))),
        lease=st.sampled_from([1.0, 60.0, 900.0]),
    )
    def reserve(
        self, id: str, amounts: dict[str, int], nodes: set[str], paces: set[int], lease: float
    ) -> None:
        asked = Admission(
            id=id,
            tenant="acme",
            amounts=amounts,
            nodes=tuple(self.limits[key] for key in sorted(nodes)),
            paces=tuple(PACES[index] for index in sorted(paces)),
            lease_seconds=lease,
        )
        known, fits = self.model.known(id), self.model.fits(asked)
        answer = self.admit(asked)
        if known is not None:
            assert isinstance(answer, Admitted)
            assert (answer.duplicate, answer.state) == (True, known.state)
            return
        assert isinstance(answer, Admitted) == fits, answer
        if fits:
            self.model.calls[id] = Kept(asked, self.model.now + lease)
            for pace in asked.paces:
                self.model.take(pace, amounts[pace.unit])
            for node in asked.nodes:  # never over the limit at an admission
                assert node.limit is None or sum(self.model.sums(node)) <= node.limit

    @rule(
        id=IDS,
        kind=st.sampled_from(KINDS),
        used=st.fixed_dictionaries(
            {}, optional={"usd": st.integers(0, 350), "tokens": st.integers(0, 500)}
        ),
    )
    def settle(self, id: str, kind: SettlementKind, used: dict[str, int]) -> None:
        self.settle_one(id, kind, used)

    def settle_one(self, id: str, kind: SettlementKind, used: dict[str, int]) -> None:
        kept = self.model.known(id)
        settlement = Settlement(id=id, tenant="acme", kind=kind, amounts=used)
        (answer,) = self.same(
            {name: ledger.settle([settlement]) for name, ledger in self.ledgers.items()}
        )
        if kept is None:
            assert answer.state is (State.RELEASED if kind == "release" else State.UNKNOWN)
            if kind == "release":
                nothing = Admission(id=id, tenant="acme", amounts={})
                self.model.calls[id] = Kept(nothing, 0.0)
                self.end(self.model.calls[id], kind, {})
            return
        moves = kept.state is State.OPEN or (
            kept.state.startswith("expired") and not kind.startswith("expire")
        )
        assert answer.first == moves
        if moves:
            self.end(kept, kind, used)
        assert (answer.state, answer.charged) == (kept.state, kept.charged)

    def end(self, kept: Kept, kind: SettlementKind, used: dict[str, int]) -> None:
        amounts = kept.asked.amounts
        taken = dict(amounts) if kept.state is State.OPEN else kept.charged
        charged = dict.fromkeys(amounts, 0)
        if kind == "settle":
            charged = {unit: used.get(unit, amount) for unit, amount in amounts.items()}
        elif kind == "expire_charge":
            charged = dict(amounts)
        for pace in kept.asked.paces:
            if pace.unit == "tokens":
                self.model.take(pace, charged["tokens"] - taken["tokens"])
        kept.charged, kept.state = charged, ENDS_AS[kind]
        keep = KEEP_EXPIRED if kind.startswith("expire") else KEEP_SETTLED
        kept.forgotten = self.model.now + keep.total_seconds()

    @rule(charge=st.booleans())
    def reap(self, charge: bool) -> None:
        late = {id for id, k in self.model.calls.items() if k.state is State.OPEN}
        late = {id for id in late if self.model.calls[id].lease <= self.model.now}
        found = self.same({name: ledger.expired() for name, ledger in self.ledgers.items()})
        assert {entry.id for entry in found} == late
        for id in late:
            self.settle_one(id, "expire_charge" if charge else "expire_release", {})

    @rule(id=IDS, seconds=st.sampled_from([1.0, 600.0]))
    def extend(self, id: str, seconds: float) -> None:
        for ledger in self.ledgers.values():
            ledger.extend([("acme", id)], lease_seconds=seconds)
        kept = self.model.known(id)
        if kept is not None:
            kept.lease = max(kept.lease, self.model.now + seconds)

    @rule(
        node=st.sampled_from([node for node in NODES if node.limit]),
        limit=st.sampled_from([0, 100, 500, 2000, None]),
    )
    def change_limit(self, node: Node, limit: int | None) -> None:
        self.limits[node.key] = replace(node, limit=limit)

    @rule(seconds=st.sampled_from([0.001, 1.0, 70.0, 900.0, 86_400.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.clock.step(seconds)
        self.tick()

    @rule(seconds=st.sampled_from([0.5, 90.0, MAX_STEP_BACK.total_seconds()]))
    def clock_is_set_back(self, seconds: float) -> None:
        self.clock.step(-max(0.0, min(seconds, MAX_STEP_BACK.total_seconds() - self.behind())))

    def behind(self) -> float:
        """How far the clock is behind the time that all have seen."""
        return self.model.now - self.shown()

    def shown(self) -> float:
        return (self.clock.now - SetClock().now) / 1e6

    def tick(self) -> None:
        """Let all see the time: one that was not asked meanwhile would not know of it."""
        self.model.now = max(self.model.now, self.shown())
        for ledger in self.ledgers.values():
            assert ledger.now() == NOON + timedelta(seconds=self.model.now)

    @precondition(lambda self: not self.behind())
    @rule()
    def restart(self) -> None:
        for name, ledger in self.ledgers.items():
            assert ledger.now() == NOON + timedelta(seconds=self.model.now)
            ledger.close()
            self.ledgers[name] = self.opened(name)

    @invariant()
    def every_sum_is_that_of_its_calls(self) -> None:
        keys = [node.key for node in NODES]
        for name, ledger in self.ledgers.items():
            found = ledger.standings("acme", keys)
            for node in NODES:
                standing = found[node.key]
                assert (standing.spent, standing.reserved) == self.model.sums(node), name

    @invariant()
    def every_open_call_is_known(self) -> None:
        opened = {id for id, kept in self.model.calls.items() if kept.state is State.OPEN}
        for name, ledger in self.ledgers.items():
            assert {entry.id for entry in ledger.open()} == opened, name


CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

TestLedgers = LedgerMachine.TestCase
TestLedgers.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=CHECKS
)


class LongMachine(LedgerMachine):
    """The same for longer, without the cluster, which runs the same scripts."""

    names = [name for name in NAMES if name != "redis-cluster"]  # noqa: RUF012 - a constant


TestLedgersForLong = pytest.mark.slow(pytest.mark.timeout(900)(LongMachine.TestCase))
TestLedgersForLong.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=CHECKS
)
