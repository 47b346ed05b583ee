import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llmtrace.certs import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    target = tmp_path / "home" / "ca"
    files.make_private_directory(target)
    files.make_private_directory(target)
    assert mode(target) == 0o700


def test_a_file_in_the_way_of_a_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("")
    with pytest.raises(NotADirectoryError, match="expected a directory"):
        files.make_private_directory(tmp_path / "ca")


def test_a_write_replaces_the_whole_file_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    files.write_atomic(path, b"old and longer")
    files.write_atomic(path, b"new", mode=0o644)
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o644
    assert os.listdir(tmp_path) == ["key.pem"]


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    files.write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["key.pem"]


def test_an_equal_file_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    assert files.write_if_changed(path, b"x", mode=0o644)
    assert not files.write_if_changed(path, b"x", mode=0o644)
    assert files.write_if_changed(path, b"y", mode=0o644)


def test_a_mode_within_the_wanted_one_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.touch(mode=0o400)
    assert not files.repair_mode(path, 0o600)
    path.chmod(0o640)
    assert files.repair_mode(path, 0o600)
    assert mode(path) == 0o600


def test_a_mode_that_cannot_be_changed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    path.touch(mode=0o644)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "chmod", read_only)
    with pytest.raises(PermissionError, match=r"mode is 0644, expected 0600.*Read-only"):
        files.repair_mode(path, 0o600)


def test_a_file_over_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(b"x" * 11)
    assert files.read_bounded(path, 11) == b"x" * 11
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        files.read_bounded(path, 10)


HOLD = """
import sys
from pathlib import Path
from llmtrace.certs import files
with files.only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_keeps_another_process_out_and_dies_with_its_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen(  # noqa: S603  this interpreter
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(TimeoutError, match="another process"),
            files.only_one(tmp_path, wait_seconds=0.05),
        ):
            pass
        holder.kill()
    with files.only_one(tmp_path, wait_seconds=5):
        pass


def test_what_a_crashed_writer_left_is_cleared_under_the_lock(tmp_path: Path) -> None:
    (tmp_path / ".key.pem.abc.partial").write_text("half a key")
    (tmp_path / "other").write_text("kept")
    with files.only_one(tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == [".lock", "other"]
