"""What a worker left open is settled by its trace, once, whoever looks and however often."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtrace.domain.traces import NOT_SENT, Outcome, Record, Trace
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.limits.charging import CHARGED
from llmtrace.limits.recovery import Recovery
from llmtrace.limits.replay import ReplayFile
from llmtrace.storage.ledger import Admission, LedgerUnavailable, Node, Settlement
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.sqlite_ledger import SqliteLedger

NODE = Node(key="day", unit="usd", limit=100, ends=None)
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
DONE = Trace(
    trace_id="a",
    started_at=START,
    tenant="default",
    agent="x",
    outcome=Outcome.OK,
    status=200,
    usage=Usage(input_tokens=1, output_tokens=2),
    usage_source=UsageSource.PROVIDER,
    cost_nano_usd=7,
)
LOST = replace(DONE, outcome=Outcome.INTERRUPTED, usage=Usage(), cost_nano_usd=None)


class Now:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> int:
        return int(self.at.timestamp() * 1_000_000)


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def ledger(tmp_path: Path, now: Now) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger.at(tmp_path / "limits.sqlite", clock=now)
    yield ledger
    ledger.close()


@pytest.fixture
def traces() -> MemoryTraceRepository:
    return MemoryTraceRepository()


def reserve(ledger: SqliteLedger, *, strict: bool = True, owner: str = "w") -> None:
    asked = Admission(
        id="a", tenant="t", amounts={"usd": 40}, nodes=(NODE,), strict=strict, owner=owner
    )
    ledger.admit(asked)


def sums(ledger: SqliteLedger) -> tuple[int, int]:
    (standing,) = ledger.standings("t", ["day"]).values()
    return standing.spent, standing.reserved


def recovery(ledger: SqliteLedger, *gone: str) -> Recovery:
    return Recovery(ledger, is_gone=lambda owner: owner in gone)


@pytest.mark.parametrize(
    ("trace", "strict", "gone", "spent"),
    [
        pytest.param(DONE, True, False, 7, id="by-the-end-of-a-call-whoever-lives"),
        pytest.param(LOST, True, True, 40, id="strict-charges-what-was-interrupted"),
        pytest.param(LOST, False, True, 0, id="estimate-gives-back-what-was-interrupted"),
        pytest.param(
            replace(LOST, attributes={NOT_SENT: "true"}), True, True, 0, id="what-was-never-sent"
        ),
        pytest.param(
            replace(LOST, outcome=Outcome.PROVIDER_ERROR, status=500), True, True, 0, id="failed"
        ),
        pytest.param(None, True, True, 0, id="what-left-no-trace-was-never-sent"),
    ],
)
def test_an_open_reservation_is_settled_by_its_trace(
    ledger: SqliteLedger,
    traces: MemoryTraceRepository,
    now: Now,
    trace: Trace | None,
    strict: bool,
    gone: bool,
    spent: int,
) -> None:
    reserve(ledger, strict=strict)
    if trace is not None:
        traces.put([Record(trace=trace)])
    now.at += timedelta(seconds=6)
    at_work = recovery(ledger, *(["w"] if gone else []))
    assert at_work.run(traces) == 1
    assert sums(ledger) == (spent, 0)
    assert at_work.run(traces) == 0
    assert sums(ledger) == (spent, 0)


@pytest.mark.parametrize("trace", [None, replace(LOST, outcome=Outcome.PENDING)])
def test_a_call_that_may_go_on_is_left_alone_until_its_lease_is_over(
    ledger: SqliteLedger, traces: MemoryTraceRepository, now: Now, trace: Trace | None
) -> None:
    reserve(ledger)
    if trace is not None:
        traces.put([Record(trace=trace)])
    now.at += timedelta(seconds=899)
    assert recovery(ledger).run(traces) == 0
    now.at += timedelta(seconds=2)
    assert recovery(ledger).run(traces) == 1
    assert sums(ledger) == (40, 0)


def test_what_is_told_after_all_corrects_what_was_charged(
    ledger: SqliteLedger, traces: MemoryTraceRepository, now: Now
) -> None:
    reserve(ledger)
    now.at += timedelta(seconds=901)
    recovery(ledger).run(traces)
    ledger.settle([Settlement(id="a", tenant="t", kind="settle", amounts={"usd": 3})])
    assert sums(ledger) == (3, 0)


def test_a_young_reservation_is_left_alone_even_if_its_worker_seems_gone(
    ledger: SqliteLedger, traces: MemoryTraceRepository, now: Now
) -> None:
    reserve(ledger)
    now.at += timedelta(seconds=4)
    assert recovery(ledger, "w").run(traces) == 0


def test_the_trace_tells_what_was_charged_for_an_interrupted_call(
    ledger: SqliteLedger, traces: MemoryTraceRepository, now: Now
) -> None:
    reserve(ledger)
    traces.put([Record(trace=LOST)])
    now.at += timedelta(seconds=6)
    recovery(ledger, "w").run(traces)
    assert traces.get("a").attributes == {CHARGED: "40"}
    assert traces.get("a").outcome is Outcome.INTERRUPTED


def test_what_a_dead_worker_let_through_unbooked_is_booked(
    ledger: SqliteLedger, traces: MemoryTraceRepository, tmp_path: Path
) -> None:
    file = ReplayFile(tmp_path / "w.unbooked")
    asked = Admission(id="a", tenant="t", amounts={"usd": 40}, nodes=(NODE,))
    file.admitted(asked)
    file.settled(Settlement(id="a", tenant="t", kind="settle", amounts={"usd": 300}))
    at_work = Recovery(ledger, is_gone=lambda _owner: False, unbooked=tmp_path)
    at_work.run(traces)
    assert sums(ledger) == (0, 0)  # its worker lives
    file.close()
    at_work.run(traces)
    assert sums(ledger) == (300, 0)
    assert list(tmp_path.glob("*.unbooked")) == []


@pytest.mark.parametrize("fails", ["open", "settle"])
def test_a_ledger_that_cannot_be_reached_is_asked_again_next_time(
    ledger: SqliteLedger,
    traces: MemoryTraceRepository,
    now: Now,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    def down(*_args: object, **_more: object) -> Callable[[], None]:
        raise LedgerUnavailable("not now")

    reserve(ledger)
    traces.put([Record(trace=DONE)])
    now.at += timedelta(seconds=6)
    at_work = recovery(ledger)
    monkeypatch.setattr(ledger, fails, down)
    assert at_work.run(traces) == 0
    assert at_work.status.failures == 1
    monkeypatch.undo()
    assert at_work.run(traces) == 1
    assert sums(ledger) == (7, 0)
