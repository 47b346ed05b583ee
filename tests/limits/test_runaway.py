"""What the guard takes for running in circles, and what it must leave alone."""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.limits.agentholds import hold_key
from llmtrace.limits.callfacts import CallFacts
from llmtrace.limits.loops import NO_LOOP, Loop
from llmtrace.limits.runaway import GuardSettings, GuardVerdict, RunawayGuard
from llmtrace.limits.tally import MemoryTally
from llmtrace.storage.ledger import Hold, LedgerFull, LedgerUnavailable
from llmtrace.testing.records import a_trace

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
STOPS = GuardSettings(stops=True)
USD = 1_000_000_000


class Bench:
    """Guards over one tally, and a clock that moves by hand. Counts what they tell of."""

    def __init__(self, settings: GuardSettings = STOPS, workers: int = 1) -> None:
        self.seconds = 0.0
        self.events: list[str] = []
        self.number = 0
        self.settings = settings
        self.tally = MemoryTally(lambda: START + timedelta(seconds=self.seconds))
        self.guards = [self.worker() for _ in range(workers)]

    def worker(self) -> RunawayGuard:
        return RunawayGuard(
            self.settings,
            self.tally,
            on_event=lambda name, label: self.events.append(f"{name}.{label}"),
            clock=lambda: self.seconds,
        )

    def ask(self, request: str, *, worker: int = 0, **facts: Any) -> tuple[CallFacts, GuardVerdict]:
        self.number += 1
        values: dict[str, Any] = {"tenant": "acme", "agent": "builder", "request": request} | facts
        asked = CallFacts(id=f"call-{self.number}", **values)
        return asked, self.guards[worker].observe(asked)

    def answer(self, asked: CallFacts, *, worker: int = 0, **changes: Any) -> None:
        values: dict[str, Any] = {
            "status": 200,
            "cost_nano_usd": 1_000,
            "usage": Usage(input_tokens=5_000),
        }
        trace = a_trace(**(values | changes))
        named = replace(trace, trace_id=asked.id, tenant=asked.tenant, agent=asked.agent)
        self.guards[worker].after(named)

    def call(
        self, request: str, *, seconds: float = 3.0, worker: int = 0, **facts: Any
    ) -> GuardVerdict:
        """A call that is answered if it is let through."""
        answer = facts.pop("answer", {})
        asked, verdict = self.ask(request, worker=worker, **facts)
        self.seconds += seconds
        if verdict.hold is None:
            self.answer(asked, worker=worker, **answer)
        return verdict

    def release(self, agent: str = "builder") -> None:
        assert self.tally.release(hold_key("acme", agent))
        self.seconds += 2

    @property
    def quiet(self) -> bool:
        return not self.events


def stopped_at(verdicts: Iterable[GuardVerdict]) -> int:
    """How many calls went through before one did not; -1 if all did."""
    return next((n for n, verdict in enumerate(verdicts) if verdict.hold is not None), -1)


def kinds(verdict: GuardVerdict) -> list[str]:
    return [finding.kind for finding in verdict.findings]


# --- the same call ---


def test_the_same_call_is_told_of_and_then_stopped() -> None:
    bench = Bench()
    verdicts = [bench.call("r") for _ in range(31)]
    assert stopped_at(verdicts) == 30
    assert kinds(verdicts[10]) == ["runaway.repeated_call"]
    assert [n for n, verdict in enumerate(verdicts) if verdict.findings] == [10, 30]
    hold = verdicts[30].hold
    assert hold is not None
    assert hold.reason == "it made the same call 30 times within 10 minutes"
    assert bench.events == ["runaway.runaway.repeated_call", "runaway.stopped", "runaway.refused"]


def test_a_warning_is_all_where_nothing_is_to_be_stopped() -> None:
    bench = Bench(GuardSettings())
    verdicts = [bench.call("r") for _ in range(100)]
    assert stopped_at(verdicts) == -1
    assert {"runaway.runaway.repeated_call"} == set(bench.events)


def test_a_log_line_names_the_agent_and_the_way_out(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    for _ in range(31):
        bench.call("secret words")
    assert "llmtrace agents release builder" in caplog.text
    assert "secret words" not in caplog.text


def test_an_agent_that_is_released_may_go_as_far_again() -> None:
    bench = Bench(replace(STOPS, window_seconds=86_400))
    assert stopped_at(bench.call("r") for _ in range(40)) == 30
    bench.release()
    assert stopped_at(bench.call("r") for _ in range(40)) == 30


def test_a_hold_may_end_by_itself() -> None:
    bench = Bench(replace(STOPS, hold_seconds=60, window_seconds=86_400))
    assert stopped_at(bench.call("r") for _ in range(40)) == 30
    bench.seconds += 59
    assert bench.call("s").hold is None


def test_only_the_agent_is_stopped() -> None:
    bench = Bench()
    assert stopped_at(bench.call("r") for _ in range(40)) == 30
    assert bench.call("r", agent="other").hold is None
    assert bench.call("r", tenant="other").hold is None


def test_workers_count_together_and_a_hold_outlasts_them() -> None:
    bench = Bench(workers=4)
    assert 30 <= stopped_at(bench.call("r", worker=n % 4) for n in range(60)) <= 34
    bench.seconds += 2
    assert all(guard.held("acme", "builder") for guard in [*bench.guards, bench.worker()])
    bench.release()
    assert not any(guard.held("acme", "builder") for guard in [*bench.guards, bench.worker()])


def test_a_new_window_begins_anew() -> None:
    bench = Bench()
    assert stopped_at(bench.call("r", seconds=25) for _ in range(200)) == -1


def test_calls_under_way_are_let_end() -> None:
    bench = Bench()
    asked, _ = bench.ask("slow")
    assert stopped_at(bench.call("r") for _ in range(40)) == 30
    bench.answer(asked)


# --- tool loops ---

LOOP = Loop(times=0, period=1, tool="Bash", step="s")


def circling(bench: Bench, calls: int, period: int = 1, **facts: Any) -> list[GuardVerdict]:
    verdicts = []
    for n in range(1, calls + 1):
        loop = replace(LOOP, times=n // period, period=period) if n >= 2 * period else NO_LOOP
        verdicts.append(bench.call(f"turn {bench.number}", loop=loop, **facts))
    return verdicts


@pytest.mark.parametrize("period", [1, 2, 3])
def test_tools_that_run_in_circles_are_stopped(period: int) -> None:
    bench = Bench(replace(STOPS, loop_hard=8))
    verdicts = circling(bench, 12 * period, period, conversation="c")
    assert 8 * period - 1 <= stopped_at(verdicts) <= 9 * period
    assert ["runaway.tool_loop"] in [kinds(verdict) for verdict in verdicts]


def test_a_loop_in_the_past_counts_no_more() -> None:
    bench = Bench(replace(STOPS, loop_hard=8))
    for _ in range(20):
        assert stopped_at(circling(bench, 4, conversation="c")) == -1


def test_loops_of_other_conversations_are_others() -> None:
    bench = Bench(replace(STOPS, loop_hard=8))
    for n in range(6):
        assert stopped_at(circling(bench, 7, conversation=f"{n}")) == -1


def test_a_tool_name_in_the_reason_is_plain() -> None:
    bench = Bench(replace(STOPS, loop_hard=4))
    for n in range(1, 9):
        bench.call(f"{n}", conversation="c", loop=replace(LOOP, times=n, tool="a\nb\x1b[31m" * 99))
    hold = bench.tally.held([hold_key("acme", "builder")])[hold_key("acme", "builder")]
    assert hold.reason.isprintable()
    assert len(hold.reason) < 200


# --- spending ---


def spending(bench: Bench, *windows: float) -> list[GuardVerdict]:
    """What an agent spends in windows, in USD, by ten calls in each."""
    verdicts = []
    for usd in windows:
        for _ in range(10):
            answer = {"cost_nano_usd": int(usd * USD / 10)}
            verdicts.append(bench.call(f"{bench.number}", seconds=60, answer=answer))
    return verdicts


def test_spending_far_beyond_the_usual_is_told_of_and_then_stopped() -> None:
    bench = Bench()
    assert stopped_at(spending(bench, *[2] * 8)) == -1
    assert bench.quiet
    verdicts = spending(bench, 40)
    assert stopped_at(verdicts) in (5, 6)
    assert ["runaway.spending"] in [kinds(verdict) for verdict in verdicts]
    hold = bench.tally.held([hold_key("acme", "builder")])[hold_key("acme", "builder")]
    assert re.fullmatch(
        r"it spent \$20\.\d\d within 10 minutes, and mostly spends \$1\.98", hold.reason
    )


@pytest.mark.parametrize(
    "windows",
    [
        pytest.param([0.1, 0.1, 40], id="an-agent-that-starts"),
        pytest.param([1, 2, 3, 1, 6, 2, 4, 8], id="more-and-less"),
        pytest.param([*[0.02] * 8, 4], id="below-the-least"),
        pytest.param([*[5] * 8, 40], id="eight-times-as-much"),
    ],
)
def test_ordinary_spending_stops_nobody(windows: list[float]) -> None:
    assert stopped_at(spending(Bench(), *windows)) == -1


def test_small_sums_are_gathered_before_the_ledger_is_asked() -> None:
    bench = Bench()
    trips: list[int] = []
    bump = bench.tally.bump

    def counted(key: str, *, by: int = 1, window_seconds: int) -> int:
        trips.append(by)
        return bump(key, by=by, window_seconds=window_seconds)

    bench.tally.bump = counted  # type: ignore[method-assign]  # counts trips
    for n in range(1_000):
        bench.call(f"{n}", seconds=0.01)
    assert len(trips) <= 12


# --- what may go wrong ---


class Away(MemoryTally):
    """A ledger that cannot be reached."""

    error: Exception = LedgerUnavailable("away")

    def held(self, keys: Sequence[str]) -> dict[str, Hold]:
        raise self.error

    def bump(self, key: str, *, by: int = 1, window_seconds: int) -> int:
        raise self.error


def test_a_ledger_out_of_reach_stops_nobody() -> None:
    bench = Bench()
    bench.tally = Away()
    bench.guards = [bench.worker()]
    assert stopped_at(bench.call("r") for _ in range(100)) == -1
    assert set(bench.events) == {"runaway.unavailable"}


def test_who_was_stopped_stays_stopped_while_the_ledger_is_away() -> None:
    bench = Bench()
    assert stopped_at(bench.call("r") for _ in range(40)) == 30
    bench.tally.held = Away().held  # type: ignore[method-assign]  # breaks it
    bench.seconds += 100
    assert bench.call("r").hold is not None


def test_too_many_holds_are_told_of() -> None:
    bench = Bench()

    def full(key: str, reason: str, *, until: datetime | None = None) -> None:
        raise LedgerFull("10000 keys are held")

    bench.tally.hold = full  # type: ignore[method-assign]  # breaks it
    assert stopped_at(bench.call("r") for _ in range(40)) == -1
    assert "runaway.full" in bench.events


def test_calls_that_are_counted_late_follow_each_other_as_they_did() -> None:
    bench = Bench()
    late = []
    for n in range(40):
        asked = CallFacts(id=f"{n}", tenant="acme", agent="builder", request="r")
        bench.guards[0].observe(asked)
        bench.seconds += 1
        trace = replace(a_trace(), trace_id=f"{n}", tenant="acme", agent="builder")
        late.append((trace, bench.guards[0].now()))
    for trace, ended in late:
        bench.guards[0].after(trace, ended=ended)
    assert bench.guards[0].held("acme", "builder") is not None


def test_threads_may_share_a_guard() -> None:
    bench = Bench()
    errors: list[Exception] = []

    def work(name: str) -> None:
        try:
            for n in range(200):
                facts = CallFacts(id=f"{name}-{n}", tenant="t", agent=name, request=f"{n % 7}")
                bench.guards[0].observe(facts)
                bench.guards[0].after(replace(a_trace(), trace_id=facts.id))
        except (KeyError, RuntimeError) as error:  # what maps raise that others change
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"a{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


# --- what counts as answered ---


def test_a_long_answer_that_the_client_left_counts_as_answered() -> None:
    bench = Bench()
    left: dict[str, Any] = {"outcome": Outcome.CLIENT_LEFT}
    assert stopped_at(bench.call("r", answer=left) for _ in range(40)) == 30


@pytest.mark.parametrize(
    ("answer", "stopped"),
    [
        pytest.param({"usage": Usage(), "usage_source": UsageSource.NONE}, 30, id="unknown"),
        pytest.param({"usage": Usage(), "cost_nano_usd": None}, -1, id="nothing"),
        pytest.param({"usage": Usage(input_tokens=199), "cost_nano_usd": None}, -1, id="little"),
        pytest.param({"usage": Usage(input_tokens=200), "cost_nano_usd": None}, 30, id="enough"),
    ],
)
def test_what_used_next_to_nothing_does_not_count(answer: dict[str, Any], stopped: int) -> None:
    bench = Bench()
    assert stopped_at(bench.call("r", answer=answer) for _ in range(40)) == stopped
