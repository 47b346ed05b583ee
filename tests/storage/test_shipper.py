import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.traces import Body, Outcome, Record, Trace
from llmtrace.storage.base import StorageUnavailable, TraceNotFound, TraceQuery
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.shipper import GaveUp, Retry, Shipper
from llmtrace.storage.spool import SpoolWriter
from llmtrace.storage.spool_deadletter import DeadLetters
from llmtrace.storage.spool_lane import Limits
from llmtrace.testing.faults import FaultyIO
from llmtrace.testing.records import NOON, a_record, a_trace, numbered_id

ALL = TraceQuery(limit=100_000)
SECRET = "what the prompt said"


class Sink(MemoryTraceRepository):
    """A store that counts its calls and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[int] = []
        self.outages = 0
        self.poison: frozenset[str] = frozenset()
        self.lose_answers = 0

    def put(self, records: Sequence[Record]) -> None:
        self.puts.append(len(records))
        if self.outages:
            self.outages -= 1
            raise StorageUnavailable("store: it is locked")
        if self.poison & {record.trace.trace_id for record in records}:
            raise ValueError(SECRET)
        super().put(records)
        if self.lose_answers:
            self.lose_answers -= 1
            raise ConnectionResetError("the answer got lost")

    @property
    def ids(self) -> Sequence[str]:
        return [trace.trace_id for trace in self.query(ALL)][::-1]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = SpoolWriter(tmp_path, "w1", segment_bytes=64 << 10, min_free_bytes=0)
    made.open()
    yield made
    made.close()


def shipper(root: Path, sink: Sink, **options: Any) -> Shipper:
    settings: dict[str, Any] = {"jitter": lambda low, high: 0.0}
    return Shipper(root, sink, **(settings | options))


def pending(number: int) -> Trace:
    return a_trace(number, outcome=Outcome.PENDING)


def call(writer: SpoolWriter, *numbers: int) -> None:
    for number in numbers:
        record = a_record(number)
        writer.start_and_sent(pending(number), record.request)
        writer.end(replace(record, request=None))


def expected(*numbers: int) -> Sequence[str]:
    return [numbered_id(number) for number in numbers]


def test_what_was_spooled_is_stored_as_it_was(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    call(writer, *range(5))
    assert shipper(tmp_path, sink).drain() == 5
    assert list(sink.export(ALL)) == [a_record(number) for number in range(5)]


def test_batches_are_bounded_and_all_workers_have_their_turn(tmp_path: Path, sink: Sink) -> None:
    writers = [SpoolWriter(tmp_path, f"w{n}", min_free_bytes=0) for n in range(3)]
    for n, writer in enumerate(writers):
        call(writer, *range(1000 * n, 1000 * n + 25))
    made = shipper(tmp_path, sink, limits=Limits(records=10))
    assert made.ship()
    assert sink.puts == [10, 10, 10]
    made.drain()
    assert len(sink.ids) == 75
    assert max(sink.puts) == 10
    for writer in writers:
        writer.close()


def test_shipping_again_changes_nothing(tmp_path: Path, sink: Sink, writer: SpoolWriter) -> None:
    call(writer, *range(5))
    writer.start(pending(9))
    shipper(tmp_path, sink, limits=Limits(pending_after=0.0)).drain()
    before = list(sink.export(ALL))
    (writer.directory / "ledger.json").unlink()
    shipper(tmp_path, sink, limits=Limits(pending_after=0.0)).drain()
    assert list(sink.export(ALL)) == before


def test_a_running_call_shows_and_its_end_replaces_it(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    made = shipper(tmp_path, sink, limits=Limits(pending_after=0.0))
    writer.start_and_sent(pending(1), Body(content=b"question"))
    made.drain()
    assert sink.get(numbered_id(1)).outcome is Outcome.PENDING
    writer.end(replace(a_record(1), request=None))
    made.drain()
    assert sink.get(numbered_id(1)) == a_trace(1)
    assert sink.body(numbered_id(1), "request") == Body(content=b"question")


@pytest.mark.parametrize("shipped_before", [False, True])
@pytest.mark.parametrize("sent", [False, True])
def test_a_dead_workers_open_calls_are_interrupted(
    tmp_path: Path, sink: Sink, writer: SpoolWriter, shipped_before: bool, sent: bool
) -> None:
    writer.start(pending(1), Body(content=b"question"))
    if sent:
        writer.sent(numbered_id(1))
    made = shipper(tmp_path, sink, limits=Limits(pending_after=0.0 if shipped_before else 60.0))
    made.drain()
    assert (len(sink.ids) == 1) is shipped_before
    writer.close()
    for each in (made, shipper(tmp_path, sink)):
        each.drain()
        trace = sink.get(numbered_id(1))
        assert (trace.outcome, trace.error_code) == (Outcome.INTERRUPTED, "gateway_died")
        assert ("not_sent" in trace.attributes) is not sent
        assert sink.body(numbered_id(1), "request") == Body(content=b"question")
    assert not writer.directory.exists()


def test_an_open_call_that_was_purged_meanwhile_is_no_trouble(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    made = shipper(tmp_path, sink, limits=Limits(pending_after=0.0))
    writer.start(pending(1))
    made.drain()
    sink.purge(before=NOON + timedelta(days=1))
    writer.close()
    made.drain()
    assert sink.ids == []
    assert not writer.directory.exists()


def test_an_outage_loses_nothing_and_waits_longer_each_time(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    bounds: list[float] = []

    def jitter(low: float, high: float) -> float:
        assert low == 0.0
        bounds.append(high)
        return 0.0

    sink.outages = 9
    call(writer, *range(5))
    made = shipper(tmp_path, sink, jitter=jitter)
    assert made.drain() == 5
    assert bounds == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert made.counters.retries_total == 9
    assert "it is locked" in made.counters.last_error


def test_a_lost_answer_makes_no_duplicate(tmp_path: Path, sink: Sink, writer: SpoolWriter) -> None:
    sink.lose_answers = 3
    call(writer, *range(5))
    shipper(tmp_path, sink).drain()
    assert sink.ids == expected(*range(5))


def test_nothing_is_deleted_while_the_store_is_away(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    sink.outages = 10**9
    call(writer, *range(500))
    made = shipper(tmp_path, sink, retry=Retry(give_up_after=0.0))
    before = sum(path.stat().st_size for path in writer.directory.glob("*.seg"))
    with pytest.raises(GaveUp):
        made.drain()
    assert made.backlog_bytes() == before
    sink.outages = 0
    made.drain()
    assert len(sink.ids) == 500
    assert made.backlog_bytes() == 0
    assert len(list(writer.directory.glob("*.seg"))) == 1


def test_draining_goes_on_behind_a_batch_that_was_given_up(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    sink.outages = 1
    call(writer, 1)
    made = shipper(tmp_path, sink, retry=Retry(give_up_after=0.0))
    with pytest.raises(GaveUp):
        made.drain()
    call(writer, 2)
    writer.close()
    made.drain()
    assert sink.ids == expected(1, 2)
    assert not writer.directory.exists()


def test_a_wait_ends_when_it_is_told_to_stop(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    sink.outages = 10**9
    call(writer, 1)
    stop = threading.Event()
    made = Shipper(tmp_path, sink, stop=stop, jitter=lambda low, high: 3600.0, on_failure=stop.set)
    made.run()
    assert sink.puts == [1]


@pytest.mark.parametrize("bad", [(0,), (999,), (17, 500, 501), tuple(range(40))])
def test_a_poisoned_record_goes_alone(
    tmp_path: Path,
    sink: Sink,
    writer: SpoolWriter,
    bad: tuple[int, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink.poison = frozenset(expected(*bad))
    call(writer, *range(1000))
    made = shipper(tmp_path, sink)
    with caplog.at_level(logging.DEBUG):
        assert made.drain() == 1000 - len(bad)
    assert sink.ids == expected(*(n for n in range(1000) if n not in bad))
    letters = list(made.dead_letters)
    assert [letter.record() for letter in letters] == [a_record(number) for number in bad]
    assert all(letter.reason == f"ValueError: {SECRET}" for letter in letters)
    assert made.counters.dead_letters_total == len(bad)
    assert SECRET not in caplog.text
    assert SECRET not in made.counters.last_error


def test_with_too_many_dead_letters_it_waits_and_loses_none(
    tmp_path: Path, sink: Sink, writer: SpoolWriter
) -> None:
    sink.poison = frozenset(expected(*range(10)))
    call(writer, *range(10))
    letters = DeadLetters(tmp_path, max_files=8)
    made = shipper(tmp_path, sink, dead_letters=letters, retry=Retry(give_up_after=0.0))
    with pytest.raises(GaveUp):
        made.drain()
    assert letters.count() == 4
    assert "refuses too much" in made.counters.last_error
    sink.poison = frozenset()
    made.drain()
    assert len(set(sink.ids) | {letter.trace_id for letter in letters}) == 10


def test_a_record_that_cannot_be_read_is_a_dead_letter(
    tmp_path: Path, sink: Sink, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtrace.storage.spool.encode_record", lambda record: b"of tomorrow")
    writer.end(a_record(1))
    monkeypatch.undo()
    call(writer, 2)
    made = shipper(tmp_path, sink)
    made.drain()
    assert sink.ids == expected(2)
    (letter,) = made.dead_letters
    assert letter.trace_id == numbered_id(1)
    assert letter.path.read_bytes() == b"of tomorrow"


def test_it_follows_workers_that_come_and_go(tmp_path: Path, sink: Sink) -> None:
    made = shipper(tmp_path / "spool", sink)
    assert made.drain() == 0
    for number in range(3):
        writer = SpoolWriter(tmp_path / "spool", "w1", min_free_bytes=0)
        call(writer, number)
        made.drain()
        writer.close()
        made.drain()
        assert not writer.directory.exists()
    assert sink.ids == expected(0, 1, 2)


def test_one_workers_fault_holds_no_other(tmp_path: Path, sink: Sink, writer: SpoolWriter) -> None:
    call(writer, 1)
    bad = tmp_path / "w0-1-bad"
    bad.mkdir()
    (bad / "00000001-00000001.seg").mkdir()
    made = shipper(tmp_path, sink)
    made.drain()
    assert sink.ids == expected(1)
    assert made.counters.errors_total == 1
    assert "w0-1-bad" in made.counters.last_error


def test_lag_is_the_age_of_what_waits(tmp_path: Path, sink: Sink) -> None:
    at = NOON.timestamp()
    writer = SpoolWriter(tmp_path, "w1", min_free_bytes=0, now_ns=lambda: int(at * 1e9))
    made = shipper(tmp_path, sink, now=lambda: NOON + timedelta(seconds=90))
    assert made.lag_seconds() == 0.0
    call(writer, 1)
    made.drain()
    assert made.lag_seconds() == 0.0
    call(writer, 2)
    assert made.lag_seconds() == pytest.approx(90)
    writer.close()


def test_unknown_errors_are_the_stores_and_not_the_records(
    tmp_path: Path, sink: Sink, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(writer, 1)
    real: Callable[[Sequence[Record]], None] = sink.put
    failures = iter([RuntimeError("?"), MemoryError()])

    def put(records: Sequence[Record]) -> None:
        if (error := next(failures, None)) is not None:
            raise error
        real(records)

    monkeypatch.setattr(sink, "put", put)
    made = shipper(tmp_path, sink)
    made.drain()
    assert sink.ids == expected(1)
    assert made.counters.dead_letters_total == 0


def test_at_any_failure_of_the_disk_all_is_shipped_and_nothing_told_twice(tmp_path: Path) -> None:
    """Fails each system call of the way from spool to store in turn."""
    for number in range(1, 400):
        root = tmp_path / str(number)
        writer = SpoolWriter(root, "w1", segment_bytes=1500, min_free_bytes=0)
        sink = Sink()
        sink.poison = frozenset(expected(3))
        io = FaultyIO(fail_at=number)
        made = shipper(root, sink, io=io)
        call(writer, 0, 1, 2, 3)
        writer.start_and_sent(pending(4))
        for _ in range(3):
            made.drain()
        call(writer, 5)
        writer.close()
        for _ in range(3):
            made.drain()
        assert sink.ids == expected(0, 1, 2, 4, 5), (number, io.failed)
        assert sink.get(numbered_id(4)).outcome is Outcome.INTERRUPTED
        assert [letter.trace_id for letter in DeadLetters(root)] == expected(3)
        assert not writer.directory.exists(), (number, io.failed)
        if not io.failed:
            return
    pytest.fail("there was a failure at every number")


def test_a_store_that_knows_no_trace_says_so(sink: Sink) -> None:
    with pytest.raises(TraceNotFound):
        sink.get("none")
