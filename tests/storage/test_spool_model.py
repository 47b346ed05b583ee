"""Any order of appending, dying, tearing, flipping and shipping, against a model."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmtrace.domain.traces import Outcome, Record
from llmtrace.storage.base import StorageUnavailable, TraceQuery
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.shipper import GaveUp, Retry, Shipper
from llmtrace.storage.spool import SpoolWriter
from llmtrace.storage.spool_files import segments, worker_directories
from llmtrace.storage.spool_format import Decoder, Entry
from llmtrace.storage.spool_lane import Limits
from llmtrace.storage.spool_payload import id_text
from llmtrace.testing.records import a_record, numbered_id

ALL = TraceQuery(limit=100_000)


class Sink(MemoryTraceRepository):
    """A store that can be away."""

    away = False

    def put(self, records: object) -> None:
        if self.away:
            raise StorageUnavailable("away")
        super().put(records)  # type: ignore[arg-type]  # what came in


class SpoolMachine(RuleBasedStateMachine):
    """``started`` and ``ended`` are what a caller was told is written; ``unsure`` are the calls
    whose bytes a rule has harmed, of which anything may be left."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="spool-model-"))
        self.sink = Sink()
        self.writers = [self.new_writer()]
        self.shipper = self.new_shipper()
        self.open: list[int] = []
        self.started: set[int] = set()
        self.ended: set[int] = set()
        self.unsure: set[str] = set()
        self.count = 0

    def new_writer(self) -> SpoolWriter:
        writer = SpoolWriter(
            self.root, "w1", segment_bytes=1500, min_free_bytes=0, fsync_interval_ms=60_000
        )
        writer.open()
        return writer

    def new_shipper(self) -> Shipper:
        return Shipper(
            self.root,
            self.sink,
            limits=Limits(records=3, pending_after=0.0),
            retry=Retry(give_up_after=0.0),
        )

    def record(self, number: int) -> Record:
        return a_record(number)

    @rule(sent=st.booleans())
    def start(self, sent: bool) -> None:
        record = self.record(self.count)
        begin = self.writers[-1].start_and_sent if sent else self.writers[-1].start
        assert begin(replace(record.trace, outcome=Outcome.PENDING), record.request)
        self.open.append(self.count)
        self.started.add(self.count)
        self.count += 1

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 99))
    def end(self, which: int) -> None:
        number = self.open.pop(which % len(self.open))
        self.writers[-1].sent(numbered_id(number))
        assert self.writers[-1].end(replace(self.record(number), request=None))
        self.ended.add(number)

    @rule()
    def end_without_start(self) -> None:
        assert self.writers[-1].end(self.record(self.count))
        self.ended.add(self.count)
        self.count += 1

    @rule()
    def die_and_start_again(self) -> None:
        self.writers[-1].close()
        self.writers.append(self.new_writer())
        self.open.clear()

    @rule(cut=st.integers(0, 2000))
    def die_in_a_power_cut(self, cut: int) -> None:
        """The last segment loses bytes at its end, whatever was told of them."""
        writer = self.writers[-1]
        self.die_and_start_again()
        if not (found := segments(writer.directory)):
            return
        path = writer.directory / found[-1].name
        size = max(0, found[-1].size - cut)
        self.unsure |= {key for key, entry in self.entries(path) if entry.end > size}
        os.truncate(path, size)

    @rule(garbage=st.binary(min_size=1, max_size=43))
    def die_within_a_write(self, garbage: bytes) -> None:
        writer = self.writers[-1]
        self.die_and_start_again()
        if found := segments(writer.directory):
            with (writer.directory / found[-1].name).open("ab") as file:
                file.write(garbage)

    @rule(which=st.integers(0, 99), at=st.integers(0, 9999), bit=st.integers(0, 7))
    def flip_a_bit(self, which: int, at: int, bit: int) -> None:
        paths = [
            writer.directory / segment.name
            for writer in self.writers
            for segment in segments(writer.directory)
            if segment.size
        ]
        if not paths:
            return
        path = paths[which % len(paths)]
        content = bytearray(path.read_bytes())
        at %= len(content)
        self.unsure |= {key for key, each in self.entries(path) if each.begin <= at < each.end}
        content[at] ^= 1 << bit
        with path.open("r+b") as file:
            file.seek(at)
            file.write(content[at : at + 1])

    @rule(away=st.booleans())
    def reach_the_store(self, away: bool) -> None:
        self.sink.away = away

    @rule()
    def ship(self) -> None:
        try:
            self.shipper.ship()
        except GaveUp:
            assert self.sink.away

    @rule()
    def restart_the_shipper(self) -> None:
        self.shipper.close()
        self.shipper = self.new_shipper()

    @rule()
    def lose_a_ledger(self) -> None:
        """Reading starts over; what was deleted by then is in the store, if only as pending."""
        self.shipper.close()
        for path in self.root.glob("*/ledger.json"):
            path.unlink()
        self.unsure |= {numbered_id(number) for number in self.started - self.ended}
        self.shipper = self.new_shipper()

    @invariant()
    def nothing_is_there_twice(self) -> None:
        ids = [trace.trace_id for trace in self.sink.query(ALL)]
        assert len(ids) == len(set(ids))

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            shutil.rmtree(self.root)

    def finish(self) -> None:
        self.sink.away = False
        self.writers[-1].close()
        self.shipper.drain()
        assert worker_directories(self.root) == []
        assert self.shipper.counters.errors_total == 0
        for number in range(self.count):
            key = numbered_id(number)
            if key in self.unsure:
                continue
            wanted = self.record(number).trace
            trace = self.sink.get(key)
            if number in self.ended:
                assert trace == wanted
            else:
                assert trace.outcome is Outcome.INTERRUPTED
            assert self.sink.body(key, "request") == self.record(number).request

    def entries(self, path: Path) -> Iterator[tuple[str, Entry]]:
        decoder = Decoder(int(path.stem.partition("-")[2], 16))
        for event in (*decoder.receive(path.read_bytes()), *decoder.finish()):
            if isinstance(event, Entry):
                yield id_text(event.trace_id), event


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
