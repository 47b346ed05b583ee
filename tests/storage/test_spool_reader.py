import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from llmtrace.storage.spool_append import Appender
from llmtrace.storage.spool_files import LEDGER, QUARANTINE, segments
from llmtrace.storage.spool_format import HEADER_SIZE, Flag, Kind
from llmtrace.storage.spool_io import OS_IO
from llmtrace.storage.spool_ledger import Position
from llmtrace.storage.spool_reader import Located, SpoolReader
from llmtrace.testing.faults import FaultyIO

SIZE = HEADER_SIZE + 100


class Writer:
    """Appends numbered records of 144 bytes, seven to a segment."""

    def __init__(self, root: Path) -> None:
        self.appender = Appender(root, "w1", segment_bytes=7 * SIZE, interval=3600, io=OS_IO)
        self.written = 0

    @property
    def directory(self) -> Path:
        return self.appender.directory

    def write(self, count: int) -> None:
        for _ in range(count):
            payload = self.written.to_bytes(4, "big") + bytes(96)
            self.appender.append(
                Kind.END, bytes(16), time_ns=self.written, payload=payload, flags=Flag.NONE
            )
            self.written += 1

    def die(self) -> None:
        self.appender.close()

    def path(self, number: int) -> Path:
        return self.directory / segments(self.directory)[number - 1].name


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path)
    made.write(1)
    yield made
    made.die()


def numbers(found: Sequence[Located]) -> Sequence[int]:
    return [located.entry.time_ns for located in found]


def read_all(reader: SpoolReader) -> Sequence[int]:
    found: list[int] = []
    while new := reader.read():
        found += numbers(new)
    return found


def test_a_growing_file_is_followed_over_segments(writer: Writer) -> None:
    reader = SpoolReader(writer.directory)
    assert read_all(reader) == [0]
    for count in (1, 5, 1, 20, 0, 3):
        first = writer.written
        writer.write(count)
        assert read_all(reader) == list(range(first, first + count))
    assert not reader.finished
    writer.die()
    assert read_all(reader) == []
    assert reader.finished


def test_a_segment_made_ahead_does_not_end_the_one_before(writer: Writer) -> None:
    reader = SpoolReader(writer.directory)
    (writer.directory / "00000002-00000001.seg").touch()
    assert read_all(reader) == [0]
    writer.write(1)
    assert read_all(reader) == [1]


def test_what_is_appended_just_before_a_roll_is_not_passed_over(writer: Writer) -> None:
    class Meanwhile(FaultyIO):
        """The writer goes on at the very moment when the reader has found nothing more."""

        def read(self, fd: int, size: int, offset: int) -> bytes:
            data = super().read(fd, size, offset)
            if not data and writer.written < 8:
                writer.write(10)
            return data

    assert read_all(SpoolReader(writer.directory, io=Meanwhile())) == list(range(11))


def test_what_was_acknowledged_is_not_read_again(writer: Writer) -> None:
    writer.write(19)
    reader = SpoolReader(writer.directory)
    found = reader.read()
    reader.acknowledge(found[9].end, {})
    reader.close()
    assert [segment.number for segment in segments(writer.directory)] == [2, 3]
    again = SpoolReader(writer.directory)
    assert read_all(again) == list(range(10, 20))
    assert again.backlog_bytes() == 10 * SIZE


def test_little_is_read_at_once(writer: Writer) -> None:
    writer.write(30)
    reader = SpoolReader(writer.directory)
    assert len(reader.read(max_bytes=SIZE)) == 1
    assert len(reader.read(max_bytes=SIZE // 2)) == 0  # half a record is there, more is waiting
    assert numbers(reader.read(max_bytes=SIZE)) == [1]


def test_a_torn_tail_is_counted_once_and_cut_off(writer: Writer) -> None:
    writer.write(2)
    writer.die()
    os.truncate(writer.path(1), 3 * SIZE - 1)
    counted = []
    for _ in range(2):
        reader = SpoolReader(writer.directory)
        assert read_all(reader) == [0, 1]
        reader.close()
        counted.append(reader.counters.torn_total)
    assert counted == [1, 0]
    assert writer.path(1).stat().st_size == 2 * SIZE


def test_a_live_writers_unfinished_record_is_waited_for(writer: Writer) -> None:
    writer.write(1)
    whole = writer.path(1).read_bytes()
    os.truncate(writer.path(1), len(whole) - 5)
    reader = SpoolReader(writer.directory)
    assert read_all(reader) == [0]
    writer.path(1).write_bytes(whole)
    assert read_all(reader) == [1]
    assert reader.counters.torn_total == 0


def test_a_damaged_spot_is_passed_over_counted_and_kept(writer: Writer) -> None:
    writer.write(20)
    path = writer.path(2)
    data = bytearray(path.read_bytes())
    data[SIZE + 70] ^= 1
    path.write_bytes(data)
    reader = SpoolReader(writer.directory)
    assert read_all(reader) == [n for n in range(21) if n != 8]
    assert reader.counters.corrupt_total == 1
    reader.acknowledge(Position(segment=2, offset=7 * SIZE), {})
    reader.close()
    later = SpoolReader(writer.directory)
    later.acknowledge(Position(segment=3), {})
    quarantine = writer.directory.parent / QUARANTINE
    assert [each.read_bytes() for each in quarantine.iterdir()] == [bytes(data)]
    assert later.counters.quarantined_total == 1


def test_the_quarantine_is_bounded(writer: Writer) -> None:
    writer.write(40)
    for number in range(1, 6):
        data = bytearray(writer.path(number).read_bytes())
        data[70] ^= 1
        writer.path(number).write_bytes(data)
    reader = SpoolReader(writer.directory, max_quarantine_bytes=2 * 7 * SIZE)
    read_all(reader)
    reader.acknowledge(reader.position, {})
    quarantine = writer.directory.parent / QUARANTINE
    assert len(list(quarantine.iterdir())) == 2
    assert reader.counters.quarantined_total == 5


def test_a_file_that_a_power_cut_shortened_is_read_from_its_end(writer: Writer) -> None:
    writer.write(4)
    reader = SpoolReader(writer.directory)
    read_all(reader)
    reader.acknowledge(reader.position, {})
    reader.close()
    writer.die()
    os.truncate(writer.path(1), 2 * SIZE)
    assert read_all(SpoolReader(writer.directory)) == []


def test_a_dead_writers_directory_goes_when_all_is_acknowledged(writer: Writer) -> None:
    writer.write(9)
    writer.die()
    reader = SpoolReader(writer.directory)
    read_all(reader)
    reader.acknowledge(reader.position, {})
    assert (writer.directory / LEDGER).exists()
    assert reader.backlog_bytes() == 0
    reader.remove()
    assert not writer.directory.exists()


def test_at_any_failure_nothing_is_lost_or_told_twice(writer: Writer) -> None:
    writer.write(30)
    writer.die()
    for number in range(1, 200):
        io = FaultyIO()
        reader = SpoolReader(writer.directory, io=io)
        io.fail_at = io.calls + number
        found: list[int] = []
        while not reader.finished:
            try:
                found += numbers(reader.read(max_bytes=1000))
            except OSError:
                # To acknowledge now would not pass over what was read and not yet returned.
                segment, place = divmod(len(found), 7)
                assert reader.position <= Position(segment=segment + 1, offset=place * SIZE)
        reader.close()
        assert found == list(range(31)), (number, io.failed)
        if not io.failed:
            return
    pytest.fail("there was a failure at every number")


def test_open_calls_are_remembered(writer: Writer) -> None:
    reader = SpoolReader(writer.directory)
    reader.acknowledge(Position(), {"some-call": False})
    assert SpoolReader(writer.directory).ledger.open_calls == {"some-call": False}
