import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from llmtrace.domain.findings import Verdict
from llmtrace.limits.agentholds import hold_key
from llmtrace.limits.desk import LedgerDesk
from llmtrace.limits.runaway import GuardSettings, RunawayGuard
from llmtrace.limits.tally import MemoryTally
from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.credentials import Credentials
from llmtrace.pipeline.identity import Caller
from llmtrace.pipeline.requests import new_call
from llmtrace.pipeline.watching import Watch
from llmtrace.providers.base import Json, Route
from llmtrace.providers.clients import ClientIdentity
from llmtrace.storage.ledger import Ledger

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BODY: Json = {"model": "m", "messages": [{"role": "user", "content": "again"}]}


class Desk:
    """Does what is asked of it when told to."""

    def __init__(self) -> None:
        self.errands: list[Callable[[Any], object]] = []
        self.counted: list[str] = []
        self.takes = True

    def soon(self, errand: Callable[[Ledger], object]) -> bool:
        if self.takes:
            self.errands.append(errand)
        return self.takes

    def count(self, name: str) -> None:
        self.counted.append(name)

    def work(self) -> None:
        for errand in self.errands:
            errand(None)
        self.errands.clear()


class Slow(MemoryTally):
    """Notes in which thread it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda: NOON)
        self.asked_in_loop: list[bool] = []

    def held(self, keys: Any) -> Any:
        try:
            asyncio.get_running_loop()
            self.asked_in_loop.append(True)
        except RuntimeError:
            self.asked_in_loop.append(False)
        return super().held(keys)


def new() -> Call:
    head = RequestHead(
        method="POST",
        host="api.openai.com",
        port=443,
        path="/v1/chat/completions",
        headers=(),
        peer="127.0.0.1",
        mode="forward",
        started_at=NOON,
        started=0.0,
    )
    caller = Caller(tenant="acme", agent="builder", run="", client=ClientIdentity())
    route = Route(provider="openai", dialect="openai.chat", operation="chat")
    call = new_call(head, {}, caller, route, Credentials(()))
    call.view = call.dialect.request(BODY, route)
    return call


async def ask(watch: Watch) -> tuple[Call, Any]:
    call = new()
    refused = await watch.before(call, BODY)
    if refused is None:
        watch.after(replace(call.trace, status=200))
    return call, refused


@pytest.fixture
def tally() -> Slow:
    return Slow()


def watch_of(tally: MemoryTally, desk: Desk | None, **settings: Any) -> Watch:
    guard = RunawayGuard(GuardSettings(**settings), tally)
    return Watch(guard, cast("LedgerDesk | None", desk), now=lambda: NOON)


async def test_a_warning_is_a_finding_of_the_next_call(tally: Slow) -> None:
    watch = watch_of(tally, None, repeats_soft=3)
    calls = [(await ask(watch))[0] for _ in range(5)]
    kinds = [[finding.kind for finding in call.trace.findings] for call in calls]
    assert kinds == [[], [], [], ["runaway.repeated_call"], []]
    assert calls[3].trace.verdict is Verdict.FLAG
    assert tally.asked_in_loop == []


async def test_an_agent_that_is_stopped_is_told_so(tally: Slow) -> None:
    desk = Desk()
    watch = watch_of(tally, desk, stops=True, repeats_soft=2, repeats_hard=3, hold_seconds=60)
    for _ in range(3):
        assert (await ask(watch))[1] is None
        desk.work()
    call, refused = await ask(watch)
    assert (refused.status, refused.code) == (429, "agent_on_hold")
    assert refused.headers["retry-after"] == "60"
    assert call.trace.verdict is Verdict.BLOCK


async def test_the_event_loop_never_waits_for_the_ledger(tally: Slow) -> None:
    desk = Desk()
    watch = watch_of(tally, desk, stops=True)
    for _ in range(5):
        await ask(watch)
    assert tally.asked_in_loop == [False]


async def test_calls_that_have_ended_are_counted_in_one_errand(tally: Slow) -> None:
    desk = Desk()
    watch = watch_of(tally, desk, stops=True, repeats_soft=2, repeats_hard=4)
    for _ in range(3):
        await ask(watch)
    assert len(desk.errands) == 1
    desk.work()
    await ask(watch)
    assert len(desk.errands) == 1
    desk.work()
    assert (await ask(watch))[1].code == "agent_on_hold"


async def test_an_errand_that_was_dropped_is_asked_for_with_the_next_call(tally: Slow) -> None:
    desk = Desk()
    watch = watch_of(tally, desk, stops=True, repeats_soft=2, repeats_hard=3)
    desk.takes = False
    await ask(watch)
    desk.takes = True
    for _ in range(2):
        await ask(watch)
    desk.work()
    assert (await ask(watch))[1].code == "agent_on_hold"


async def test_calls_that_nobody_counts_are_bounded(
    tally: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtrace.pipeline.watching.MOST_ENDED", 2)
    desk = Desk()
    watch = watch_of(tally, desk, stops=True)
    for _ in range(3):
        await ask(watch)
    assert desk.counted == ["ended_calls_uncounted"]


async def test_a_hold_without_end_says_nothing_of_waiting(tally: Slow) -> None:
    tally.hold(hold_key("acme", "builder"), "it spent too much", until=None)
    _, refused = await ask(watch_of(tally, Desk(), stops=True))
    assert "retry-after" not in refused.headers
    assert "it spent too much" in refused.message


async def test_a_hold_that_is_over_stops_nobody(tally: Slow) -> None:
    tally.hold(hold_key("acme", "builder"), "x", until=NOON - timedelta(seconds=1))
    assert (await ask(watch_of(tally, Desk(), stops=True)))[1] is None
