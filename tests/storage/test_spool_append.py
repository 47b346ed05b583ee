import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from llmtrace.storage.spool_append import Appender
from llmtrace.storage.spool_files import WRITER_LOCK, is_alive, segments, worker_directories
from llmtrace.storage.spool_format import HEADER_SIZE, Decoder, Entry, Event, Flag, Kind
from llmtrace.storage.spool_io import OS_IO
from llmtrace.testing.faults import FaultyIO


def opened(root: Path, io: FaultyIO, interval: float = 3600) -> Appender:
    return Appender(root, "w1", segment_bytes=1000, interval=interval, io=io)


def append(appender: Appender, payload: bytes) -> int:
    return appender.append(
        Kind.START, bytes(16), time_ns=1, payload=payload, flags=Flag.NONE, waiter=None
    )


def events(appender: Appender) -> Iterator[Sequence[Event]]:
    for segment in segments(appender.directory):
        decoder = Decoder(segment.seed)
        data = (appender.directory / segment.name).read_bytes()
        yield [*decoder.receive(data), *decoder.finish()]


def payloads(appender: Appender) -> Sequence[bytes]:
    return [e.payload for each in events(appender) for e in each if isinstance(e, Entry)]


@pytest.fixture
def io() -> FaultyIO:
    return FaultyIO()


def test_nothing_is_made_before_it_is_needed(tmp_path: Path, io: FaultyIO) -> None:
    opened(tmp_path / "spool", io).close()
    assert not (tmp_path / "spool").exists()


def test_a_reader_sees_the_directory_only_with_its_lock_held(tmp_path: Path, io: FaultyIO) -> None:
    seen: list[bool] = []

    class Watching(FaultyIO):
        def rename(self, old: Path, new: Path) -> None:
            assert worker_directories(tmp_path) == []
            super().rename(old, new)
            seen.append(is_alive(new))

    appender = opened(tmp_path, Watching())
    appender.prepare()
    assert seen == [True]
    appender.close()
    assert not is_alive(appender.directory)


def test_records_lie_in_segments_of_the_size_asked(tmp_path: Path, io: FaultyIO) -> None:
    appender = opened(tmp_path, io)
    contents = [bytes([n]) * 300 for n in range(10)]
    sizes = [append(appender, content) for content in contents]
    appender.close()
    assert sizes == [HEADER_SIZE + 300] * 10
    assert payloads(appender) == contents
    assert [len(each) for each in events(appender)] == [2] * 5
    assert [segment.number for segment in segments(appender.directory)] == [1, 2, 3, 4, 5]


def test_a_record_larger_than_a_segment_has_one_of_its_own(tmp_path: Path, io: FaultyIO) -> None:
    appender = opened(tmp_path, io)
    contents = [b"a", b"b" * 5000, b"c"]
    for content in contents:
        append(appender, content)
    appender.close()
    assert payloads(appender) == contents
    assert len(segments(appender.directory)) == 3


def test_files_are_for_the_owner_alone(tmp_path: Path, io: FaultyIO) -> None:
    appender = opened(tmp_path / "spool", io)
    append(appender, b"a")
    appender.close()
    assert appender.directory.parent.stat().st_mode & 0o777 == 0o700
    assert appender.directory.stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in appender.directory.iterdir()}
    assert modes == {0o600}


def test_each_record_is_one_write(tmp_path: Path) -> None:
    written: list[bytes] = []

    class Watching(FaultyIO):
        def write(self, fd: int, data: bytes) -> int:
            written.append(data)
            return super().write(fd, data)

    appender = opened(tmp_path, Watching())
    sizes = [append(appender, b"x" * n) for n in (0, 9, 2000)]
    appender.close()
    assert [len(data) for data in written] == sizes


@pytest.mark.parametrize("short", [False, True], ids=["no-byte", "half"])
def test_after_a_failed_write_the_record_goes_to_a_new_segment(
    tmp_path: Path, io: FaultyIO, short: bool
) -> None:
    appender = opened(tmp_path, io)
    append(appender, b"first")
    io.short_writes = short
    io.fail_at = io.calls + 1
    append(appender, b"second")
    append(appender, b"third")
    appender.close()
    assert io.failed == ["write"]
    assert payloads(appender) == [b"first", b"second", b"third"]


def test_a_full_disk_raises_and_recovers_without_a_restart(tmp_path: Path, io: FaultyIO) -> None:
    appender = opened(tmp_path, io)
    append(appender, b"before")
    io.broken, io.code = frozenset({"write"}), errno.ENOSPC
    for _ in range(20):
        with pytest.raises(OSError, match="injected") as caught:
            append(appender, b"lost")
        assert caught.value.errno == errno.ENOSPC
    io.broken = frozenset()
    append(appender, b"after")
    appender.close()
    assert payloads(appender) == [b"before", b"after"]
    assert len(segments(appender.directory)) <= 2


def test_a_disk_that_takes_half_a_record_loses_no_other(tmp_path: Path, io: FaultyIO) -> None:
    appender = opened(tmp_path, io)
    append(appender, b"before")
    io.broken, io.short_writes = frozenset({"write"}), True
    with pytest.raises(OSError, match="bytes written") as caught:
        append(appender, b"lost" * 9)
    assert caught.value.errno == errno.ENOSPC
    io.broken = frozenset()
    append(appender, b"after")
    appender.close()
    assert payloads(appender) == [b"before", b"after"]


def test_nothing_is_appended_behind_half_a_record(tmp_path: Path, io: FaultyIO) -> None:
    appender = opened(tmp_path, io)
    append(appender, b"before")
    for broken in ({"write"}, {"write", "open"}):  # with and without a way to a new segment
        io.broken, io.short_writes = frozenset(broken), True
        with pytest.raises(OSError, match=r"written|open"):
            append(appender, b"lost" * 9)
        io.broken = frozenset()
        append(appender, b"after")
    appender.close()
    assert payloads(appender) == [b"before", b"after", b"after"]
    for each in events(appender):
        assert all(isinstance(event, Entry) for event in each[:-1])


def test_after_a_failed_sync_what_comes_next_goes_elsewhere(tmp_path: Path, io: FaultyIO) -> None:
    appender = opened(tmp_path, io, interval=0.001)
    append(appender, b"before")
    io.broken = frozenset({"sync"})
    while not appender.sync_errors:
        append(appender, b"")
    io.broken = frozenset()
    append(appender, b"after")
    appender.close()
    assert payloads(appender)[0] == b"before"
    assert payloads(appender)[-1] == b"after"
    assert len(segments(appender.directory)) > 1


def test_any_call_may_fail_while_the_directory_is_made(tmp_path: Path) -> None:
    for number in range(1, 30):
        io = FaultyIO(fail_at=number)
        appender = opened(tmp_path / str(number), io)
        try:
            appender.prepare()
        except OSError:
            appender.prepare()
        io.fail_at = 0
        append(appender, b"after")
        assert is_alive(appender.directory)
        appender.close()
        assert payloads(appender) == [b"after"]
        if not io.failed:
            return
    pytest.fail("there was a failure at every number")


def test_a_directory_that_somebody_holds_is_not_taken(tmp_path: Path, io: FaultyIO) -> None:
    unfinished = tmp_path / ".new-w1"
    OS_IO.mkdir(unfinished)
    fd = OS_IO.open(unfinished / WRITER_LOCK, 0o102)
    assert OS_IO.lock(fd)
    with pytest.raises(OSError, match="another process"):
        opened(tmp_path, io).prepare()
    OS_IO.close(fd)
