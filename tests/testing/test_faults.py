import errno
import os
from pathlib import Path

import pytest

from llmtrace.storage.spool_io import SpoolIO
from llmtrace.testing.faults import FALLIBLE, FaultyIO


def test_all_calls_of_the_protocol_can_fail() -> None:
    calls = {name for name in vars(SpoolIO) if not name.startswith("_")}
    assert calls == FALLIBLE


def test_the_call_with_the_number_fails_and_no_other(tmp_path: Path) -> None:
    io = FaultyIO(fail_at=2, code=errno.ENOSPC)
    io.mkdir(tmp_path / "one")
    with pytest.raises(OSError, match="injected into mkdir") as caught:
        io.mkdir(tmp_path / "two")
    io.mkdir(tmp_path / "three")
    assert caught.value.errno == errno.ENOSPC
    assert [info.name for info in io.listdir(tmp_path)] == ["one", "three"]
    assert io.failed == ["mkdir"]


def test_a_write_can_come_out_short(tmp_path: Path) -> None:
    io = FaultyIO(broken=frozenset({"write"}), short_writes=True)
    fd = io.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    assert io.write(fd, b"123456") == 3
    io.close(fd)
    assert (tmp_path / "file").read_bytes() == b"123"


def test_a_failing_close_closes_all_the_same(tmp_path: Path) -> None:
    io = FaultyIO(broken=frozenset({"close"}))
    fd = io.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="close"):
        io.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(fd)


def test_free_space_is_what_the_test_says(tmp_path: Path) -> None:
    assert FaultyIO(free=5).free_bytes(tmp_path) == 5
    assert FaultyIO().free_bytes(tmp_path) > 0
