import errno
import os
from pathlib import Path

import pytest

from llmtrace.storage.spool_io import OS_IO


def test_directories_are_listed_by_name_with_sizes(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"12")
    OS_IO.mkdir(tmp_path / "a")
    found = OS_IO.listdir(tmp_path)
    assert [(info.name, info.is_dir) for info in found] == [("a", True), ("b", False)]
    assert found[1].size == 2
    assert OS_IO.listdir(tmp_path / "none") == []


def test_directories_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    OS_IO.mkdir(tmp_path / "a" / "b")
    OS_IO.mkdir(tmp_path / "a" / "b")
    OS_IO.close(OS_IO.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_lock_is_one_openings_and_ends_with_it(tmp_path: Path) -> None:
    first, second = (OS_IO.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert OS_IO.lock(first)
    assert not OS_IO.lock(second)
    OS_IO.close(first)
    assert OS_IO.lock(second)
    OS_IO.close(second)


def test_files_are_read_where_asked_cut_and_deleted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = OS_IO.open(path, os.O_RDWR | os.O_CREAT)
    assert OS_IO.write(fd, b"abcdef") == 6
    OS_IO.sync(fd)
    assert OS_IO.read(fd, 2, 3) == b"de"
    OS_IO.truncate(path, 2)
    assert OS_IO.read(fd, 9, 0) == b"ab"
    OS_IO.close(fd)
    OS_IO.rename(path, tmp_path / "other")
    OS_IO.unlink(tmp_path / "other")
    OS_IO.unlink(tmp_path / "other")
    assert OS_IO.listdir(tmp_path) == []


def test_a_full_disk_is_an_oserror() -> None:
    fd = OS_IO.open(Path("/dev/full"), os.O_WRONLY)
    with pytest.raises(OSError, match="No space") as caught:
        OS_IO.write(fd, b"x")
    OS_IO.close(fd)
    assert caught.value.errno == errno.ENOSPC


def test_free_space_is_known_and_a_directory_can_be_deleted(tmp_path: Path) -> None:
    assert OS_IO.free_bytes(tmp_path) > 0
    OS_IO.mkdir(tmp_path / "gone")
    OS_IO.rmdir(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
