from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llmtrace.domain.traces import Body, Outcome
from llmtrace.storage.spool import SpoolWriter
from llmtrace.storage.spool_lane import Batch, Lane, Limits
from llmtrace.testing.faults import FaultyIO
from llmtrace.testing.records import a_record, a_trace, numbered_id


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = SpoolWriter(tmp_path, "w1", segment_bytes=8 << 10, min_free_bytes=0)
    made.open()
    yield made
    made.close()


def start(writer: SpoolWriter, number: int) -> None:
    writer.start_and_sent(a_trace(number, outcome=Outcome.PENDING), Body(content=b"question"))


def end(writer: SpoolWriter, *numbers: int, size: int = 1) -> None:
    for number in numbers:
        writer.end(replace(a_record(number), request=None, answer=Body(content=b"a" * size)))


def ids(batch: Batch) -> Sequence[str]:
    return [record.trace.trace_id for record in batch.records]


def outcomes(batch: Batch) -> Sequence[Outcome]:
    return [record.trace.outcome for record in batch.records]


def test_batches_have_so_many_records(writer: SpoolWriter) -> None:
    end(writer, *range(25))
    lane = Lane(writer.directory, limits=Limits(records=10))
    found: list[str] = []
    sizes: list[int] = []
    while len(batch := lane.batch()):
        found += ids(batch)
        sizes.append(len(batch))
        lane.acknowledge()
    assert found == [numbered_id(number) for number in range(25)]
    assert sizes == [10, 10, 5]


def test_batches_have_so_many_bytes_as_they_are_unpacked(writer: SpoolWriter) -> None:
    end(writer, *range(10), size=100_000)
    lane = Lane(writer.directory, limits=Limits(bytes=250_000))
    assert len(lane.batch()) == 3
    assert lane.full


def test_a_batch_stays_until_it_is_acknowledged(writer: SpoolWriter) -> None:
    end(writer, 1)
    lane = Lane(writer.directory)
    first = lane.batch()
    end(writer, 2)
    assert lane.batch() is first
    assert ids(first) == [numbered_id(1)]
    lane.acknowledge()
    assert ids(lane.batch()) == [numbered_id(2)]


def test_a_new_lane_begins_with_what_was_not_acknowledged(writer: SpoolWriter) -> None:
    start(writer, 0)
    end(writer, *range(1, 30))
    lane = Lane(writer.directory, limits=Limits(records=7))
    lane.batch()
    lane.acknowledge()
    lane.batch()
    again = Lane(writer.directory)
    end(writer, 0)
    batch = again.batch()
    assert set(ids(batch)) >= {numbered_id(n) for n in (0, *range(8, 30))}
    assert batch.records[-1].request == Body(content=b"question")


def test_a_long_calls_start_does_not_hold_its_segment(writer: SpoolWriter) -> None:
    start(writer, 0)
    lane = Lane(writer.directory, limits=Limits(pending_after=0.0))
    assert outcomes(lane.batch()) == [Outcome.PENDING]
    lane.acknowledge()
    end(writer, *range(1, 60))
    lane.batch()
    lane.acknowledge()
    assert len([p for p in writer.directory.iterdir() if p.suffix == ".seg"]) == 1
    writer.close()
    (lost,) = Lane(writer.directory).batch().lost
    assert (lost.trace_id, lost.sent) == (numbered_id(0), True)


def test_a_dead_workers_lane_ends(writer: SpoolWriter) -> None:
    start(writer, 0)
    lane = Lane(writer.directory)
    assert len(lane.batch()) == 0
    lane.acknowledge()
    writer.close()
    assert outcomes(lane.batch()) == [Outcome.INTERRUPTED]
    assert not lane.done
    lane.acknowledge()
    assert lane.done


def test_a_living_workers_lane_does_not_end(writer: SpoolWriter) -> None:
    end(writer, 0)
    lane = Lane(writer.directory)
    lane.batch()
    lane.acknowledge()
    lane.batch()
    assert not lane.done


def test_what_was_read_before_a_fault_is_shipped(writer: SpoolWriter) -> None:
    end(writer, *range(60))
    seen: list[str] = []
    io = FaultyIO()
    lane = Lane(writer.directory, io=io)
    for ahead in range(1, 60):
        io.fail_at = io.calls + ahead
        try:
            batch = lane.batch()
        except OSError:
            continue
        io.fail_at = 0
        seen += ids(batch)
        lane.acknowledge()
    assert len(io.failed) > 5
    assert seen == [numbered_id(number) for number in range(60)]
