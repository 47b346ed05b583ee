from pathlib import Path

import pytest

from llmtrace.storage.spool_files import (
    WRITER_LOCK,
    Segment,
    is_alive,
    read_file,
    segments,
    spooled_bytes,
    take_lock,
    worker_directories,
    write_file,
)
from llmtrace.storage.spool_io import OS_IO
from llmtrace.testing.faults import FaultyIO


def test_segments_are_found_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    made = [Segment(number=number, seed=7, size=3) for number in (2, 10, 1, 100_000_000)]
    for segment in made:
        (tmp_path / segment.name).write_bytes(b"abc")
    for name in ("ledger.json", "00000001.seg", "00000003-0000000g.seg", "00000004-00000007.seg.x"):
        (tmp_path / name).write_bytes(b"abc")
    assert segments(tmp_path) == sorted(made)
    assert segments(tmp_path / "none") == []


def test_workers_are_the_directories_that_are_ready(tmp_path: Path) -> None:
    for name in ("w2-1-a", "w1-1-a", "quarantine", "deadletter", ".new-w3-1-a"):
        (tmp_path / name).mkdir()
    (tmp_path / "recorder.lock").touch()
    assert worker_directories(tmp_path) == [tmp_path / "w1-1-a", tmp_path / "w2-1-a"]


def test_the_size_of_a_spool_is_that_of_its_segments(tmp_path: Path) -> None:
    for name in ("w1", "w2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / Segment(number=1, seed=1).name).write_bytes(b"abc")
        (tmp_path / name / "ledger.json").write_bytes(b"abc")
    assert spooled_bytes(tmp_path) == 6


def test_a_file_is_replaced_as_a_whole_at_any_failure(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    failures = 0
    for number in range(1, 50):
        io = FaultyIO(fail_at=number)
        try:
            write_file(path, b"the new one", io=io)
        except OSError:
            failures += 1
        assert read_file(path, limit=99) in (b"old", b"the new one")
        if not io.failed:
            break
        write_file(path, b"old")
    assert failures >= 7
    assert read_file(path, limit=99) == b"the new one"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"12345")
    assert read_file(tmp_path / "file", limit=5) == b"12345"
    with pytest.raises(ValueError, match="over 4 bytes"):
        read_file(tmp_path / "file", limit=4)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", limit=4)


def test_a_writer_lives_while_it_holds_its_lock(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    fd = take_lock(tmp_path / WRITER_LOCK)
    assert fd is not None
    assert is_alive(tmp_path)
    assert take_lock(tmp_path / WRITER_LOCK) is None
    OS_IO.close(fd)
    assert not is_alive(tmp_path)


def test_a_write_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    class Stuck(FaultyIO):
        def write(self, fd: int, data: bytes) -> int:
            return 0

    with pytest.raises(OSError, match="nothing could be written"):
        write_file(tmp_path / "file", b"x", io=Stuck())
