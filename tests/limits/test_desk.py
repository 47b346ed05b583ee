"""What a worker asks of a ledger reaches it once, in order, and outlives its failures."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from llmtrace.limits.desk import LedgerDesk
from llmtrace.limits.waiting import NotAsked
from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    BadAmount,
    Denied,
    LedgerUnavailable,
    Node,
    Settled,
    Settlement,
    State,
)

NODE = Node(key="budget", unit="usd", limit=10, ends=None)


async def ask(desk: LedgerDesk, asked: Admission) -> Admitted | Denied | None:
    return await desk.admit(lambda: asked)


def admission(call: str, **values: Any) -> Admission:
    return Admission(id=call, tenant="t", amounts={"usd": 4}, nodes=(NODE,), **values)


def settlement(call: str, usd: int = 1) -> Settlement:
    return Settlement(id=call, tenant="t", kind="settle", amounts={"usd": usd})


@dataclass
class FakeLedger:
    """Notes what it is asked, in order; fails while ``down``, waits while ``slow``.

    With ``prompt`` it does at once what it can do so.
    """

    done: list[tuple[str, Any]] = field(default_factory=list)
    down: bool = False
    fault: Callable[[], Exception] = lambda: LedgerUnavailable("not now")
    slow: threading.Event | None = None
    failures: int = 0
    prompt: bool = False
    at_once: int = 0
    exchanges: int = 0

    def admit(self, asked: Admission) -> Admitted | Denied:
        if self.slow is not None:
            self.slow.wait(5)
        self._try()
        self.done.append(("admit", asked.id))
        if asked.nodes and asked.nodes[0].limit == 0:
            return Denied(reason="exhausted", requested=4, node=asked.nodes[0])
        return Admitted(id=asked.id)

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        self._try()
        self.done += [(one.kind, one.id) for one in settlements]
        return [Settled(id=one.id, state=State.SETTLED, first=True) for one in settlements]

    def exchange(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied]:
        self.exchanges += 1
        self.settle(settlements)
        return [self.admit(asked) for asked in admissions]

    def exchange_now(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied] | None:
        if not self.prompt:
            return None
        self.at_once += 1
        return self.exchange(settlements, admissions)

    def extend(self, ids: Sequence[tuple[str, str]], *, lease_seconds: float) -> None:
        self._try()
        self.done += [("extend", call) for _tenant, call in ids]

    def close(self) -> None:
        self.done.append(("close", ""))

    def _try(self) -> None:
        if self.down:
            self.failures += 1
            raise self.fault()


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@asynccontextmanager
async def at_desk(ledger: FakeLedger, **options: Any) -> AsyncIterator[LedgerDesk]:
    desk = LedgerDesk(ledger, **{"pause_seconds": 0.01, **options})  # type: ignore[arg-type]  # as far as it is used
    try:
        yield desk
    finally:
        await desk.close(0.2)


async def until(reached: Callable[[], bool]) -> None:
    ends = time.monotonic() + 5
    while not reached():
        assert time.monotonic() < ends, "waited in vain"
        await asyncio.sleep(0.002)


async def test_what_was_settled_is_in_the_ledger_before_the_next_call_is_admitted(
    ledger: FakeLedger,
) -> None:
    async with at_desk(ledger) as desk:
        assert isinstance(await ask(desk, admission("a")), Admitted)
        desk.settle(settlement("a"))
        await ask(desk, admission("b"))
    assert ledger.done[:3] == [("admit", "a"), ("settle", "a"), ("admit", "b")]


async def test_what_is_left_is_settled_when_the_desk_closes(ledger: FakeLedger) -> None:
    async with at_desk(ledger) as desk:
        for number in range(300):
            desk.settle(settlement(f"c{number}"))
        assert await desk.close()
    assert [call for _kind, call in ledger.done[:-1]][:300] == [f"c{n}" for n in range(300)]


async def test_a_denial_is_an_answer(ledger: FakeLedger) -> None:
    closed = Node(key="budget", unit="usd", limit=0, ends=None)
    asked = Admission(id="a", tenant="t", amounts={"usd": 4}, nodes=(closed,))
    async with at_desk(ledger) as desk:
        assert isinstance(await ask(desk, asked), Denied)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(lambda: LedgerUnavailable("locked"), LedgerUnavailable, id="unavailable"),
        pytest.param(lambda: BadAmount("usd"), BadAmount, id="bad-amount"),
        pytest.param(lambda: RuntimeError("bug"), LedgerUnavailable, id="a-fault-inside"),
    ],
)
async def test_what_goes_wrong_in_the_ledger_is_told_to_the_call(
    ledger: FakeLedger, fault: Callable[[], Exception], told: type[Exception]
) -> None:
    ledger.down, ledger.fault = True, fault
    async with at_desk(ledger) as desk:
        with pytest.raises(told):
            await ask(desk, admission("a"))
        ledger.down = False


async def test_a_ledger_that_failed_is_left_alone_for_a_while(ledger: FakeLedger) -> None:
    ledger.down = True
    async with at_desk(ledger, pause_seconds=60) as desk:
        with pytest.raises(LedgerUnavailable):
            await ask(desk, admission("a"))
        with pytest.raises(NotAsked):
            await ask(desk, admission("b"))
        assert ledger.failures == 1


async def test_a_ledger_that_is_back_is_asked_again(ledger: FakeLedger) -> None:
    ledger.down = True
    async with at_desk(ledger) as desk:
        with pytest.raises(LedgerUnavailable):
            await ask(desk, admission("a"))
        ledger.down = False
        await asyncio.sleep(0.02)
        assert isinstance(await ask(desk, admission("b")), Admitted)


async def test_a_settlement_that_fails_is_tried_until_it_succeeds(ledger: FakeLedger) -> None:
    events: list[str] = []
    async with at_desk(ledger, on_event=lambda name, _label: events.append(name)) as desk:
        ledger.down = True
        desk.settle(settlement("a"))
        desk.settle(settlement("b"))
        await until(lambda: ledger.failures >= 3)
        ledger.down = False
        await until(lambda: ("settle", "b") in ledger.done)
    assert [call for kind, call in ledger.done if kind == "settle"] == ["a", "b"]
    assert "ledger_unavailable" in events


async def test_one_bad_settlement_does_not_hold_up_the_others(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger.settle

    def picky(settlements: Sequence[Settlement]) -> Sequence[Settled]:
        if any(one.id == "bad" for one in settlements):
            raise ValueError("no such thing")
        return real(settlements)

    monkeypatch.setattr(ledger, "settle", picky)
    async with at_desk(ledger) as desk:
        for call in ("a", "bad", "b"):
            desk.settle(settlement(call))
        await until(lambda: ("settle", "b") in ledger.done)
        assert desk.status.lost == 1
    assert [call for kind, call in ledger.done if kind == "settle"] == ["a", "b"]


async def test_settlements_beyond_the_bound_are_counted_and_left_to_the_recovery(
    ledger: FakeLedger,
) -> None:
    ledger.down = True
    async with at_desk(ledger, most_unsettled=5, pause_seconds=60) as desk:
        desk.settle(settlement("first"))
        await until(lambda: ledger.failures == 1)
        for number in range(10):
            desk.settle(settlement(f"c{number}"))
        assert desk.status.lost == 6


async def test_a_call_does_not_wait_for_a_slow_ledger_for_ever(ledger: FakeLedger) -> None:
    ledger.slow = threading.Event()
    async with at_desk(ledger, patience_seconds=0.05) as desk:
        with pytest.raises(LedgerUnavailable, match=r"0\.05 s"):
            await ask(desk, admission("a"))
        desk.settle(Settlement(id="a", tenant="t", kind="release"))
        ledger.slow.set()
        await until(lambda: ("release", "a") in ledger.done)


async def test_a_call_whose_client_left_while_it_waited_is_given_back(ledger: FakeLedger) -> None:
    ledger.slow = threading.Event()
    async with at_desk(ledger) as desk:
        waiting = asyncio.create_task(ask(desk, admission("a")))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        ledger.slow.set()
        await until(lambda: ("release", "a") in ledger.done)


async def test_leases_of_long_calls_are_extended_until_they_are_settled(
    ledger: FakeLedger,
) -> None:
    async with at_desk(ledger, heartbeat_seconds=0.02) as desk:
        await ask(desk, admission("long"))
        await until(lambda: ledger.done.count(("extend", "long")) >= 2)
        desk.settle(settlement("long"))
        await until(lambda: ("settle", "long") in ledger.done)
        ledger.done.clear()
        await asyncio.sleep(0.06)
        assert ("extend", "long") not in ledger.done


class Remembering:
    """A replay in memory."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []

    def admitted(self, asked: Admission) -> bool:
        self.noted.append(("admitted", asked.id))
        return True

    def settled(self, one: Settlement) -> None:
        self.noted.append(("settled", one.id))

    def booked(self, call: str) -> None:
        self.noted.append(("booked", call))

    def close(self) -> None:
        self.noted.append(("close", ""))


async def test_a_call_that_went_on_without_the_ledger_is_booked_when_it_is_back(
    ledger: FakeLedger,
) -> None:
    ledger.down, replay = True, Remembering()
    async with at_desk(ledger, replay=replay) as desk:
        asked = admission("a")
        with pytest.raises(LedgerUnavailable):
            await ask(desk, asked)
        assert desk.admit_unbooked(asked)
        desk.book(asked, settlement("a", 9))
        await until(lambda: ledger.failures >= 2)
        assert replay.noted == [("admitted", "a"), ("settled", "a")]
        ledger.down = False
        await until(lambda: ("booked", "a") in replay.noted)
    assert ledger.done[:2] == [("admit", "a"), ("settle", "a")]


async def test_calls_that_come_at_once_are_admitted_in_one_transaction_in_the_loop(
    ledger: FakeLedger,
) -> None:
    ledger.prompt = True
    async with at_desk(ledger) as desk:
        await ask(desk, admission("open"))
        desk.settle(settlement("before"))
        answers = await asyncio.gather(*(ask(desk, admission(call)) for call in "abc"))
        assert all(isinstance(answer, Admitted) for answer in answers)
        assert (ledger.exchanges, ledger.at_once) == (2, 2)
    assert ledger.done[1:5] == [
        ("settle", "before"),
        ("admit", "a"),
        ("admit", "b"),
        ("admit", "c"),
    ]


async def test_a_call_that_is_alone_waits_for_no_round_of_the_loop(ledger: FakeLedger) -> None:
    ledger.prompt = True
    async with at_desk(ledger) as desk:
        asked = ask(desk, admission("a"))
        with pytest.raises(StopIteration) as done:
            asked.send(None)
        assert isinstance(done.value.value, Admitted)


async def test_a_crowd_does_not_hold_the_loop_for_long(ledger: FakeLedger) -> None:
    ledger.prompt = True
    async with at_desk(ledger) as desk:
        await asyncio.gather(*(ask(desk, admission(f"c{n}")) for n in range(150)))
        assert ledger.at_once == 4, "the first, when it was alone, and 64 at most at a time"
    assert [call for _kind, call in ledger.done[:150]] == [f"c{n}" for n in range(150)]


async def test_settlements_that_no_call_takes_along_are_done_in_a_moment(
    ledger: FakeLedger,
) -> None:
    ledger.prompt = True
    async with at_desk(ledger) as desk:
        desk.settle(settlement("a"))
        desk.settle(settlement("b"))
        await until(lambda: ledger.at_once == 1)
    assert ledger.done[:2] == [("settle", "a"), ("settle", "b")]


async def test_a_failure_in_the_loop_is_told_and_what_waits_is_kept(ledger: FakeLedger) -> None:
    ledger.prompt = ledger.down = True
    async with at_desk(ledger) as desk:
        desk.settle(settlement("before"))
        with pytest.raises(LedgerUnavailable, match="not now"):
            await ask(desk, admission("a"))
        with pytest.raises(NotAsked):
            await ask(desk, admission("b"))
        ledger.down = False
        await until(lambda: ("settle", "before") in ledger.done)


async def test_a_bad_call_does_not_hold_up_those_that_came_with_it(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger.admit

    def picky(asked: Admission) -> Admitted | Denied:
        if asked.id == "bad":
            raise BadAmount("usd")
        return real(asked)

    monkeypatch.setattr(ledger, "admit", picky)
    ledger.prompt = True
    async with at_desk(ledger) as desk:
        calls = (ask(desk, admission(call)) for call in ("a", "bad", "b"))
        first, bad, last = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, Admitted)
        assert isinstance(bad, BadAmount)
        assert isinstance(last, Admitted)


async def test_no_call_overtakes_those_that_wait_for_the_ledger(ledger: FakeLedger) -> None:
    ledger.slow = threading.Event()
    async with at_desk(ledger) as desk:
        waiting = asyncio.create_task(ask(desk, admission("first")))
        await asyncio.sleep(0.02)
        ledger.prompt = True
        later = asyncio.create_task(ask(desk, admission("second")))
        await asyncio.sleep(0.02)
        assert ledger.at_once == 0
        ledger.slow.set()
        await asyncio.gather(waiting, later)
    assert ledger.done[:2] == [("admit", "first"), ("admit", "second")]


async def test_a_call_whose_client_left_at_once_is_not_asked_for(ledger: FakeLedger) -> None:
    ledger.prompt = True
    async with at_desk(ledger) as desk:
        await ask(desk, admission("before"))
        gone = asyncio.create_task(ask(desk, admission("gone")))
        asyncio.get_running_loop().call_soon(gone.cancel)
        await asyncio.wait([gone])
        await ask(desk, admission("next"))
    assert "gone" not in [call for _kind, call in ledger.done]
