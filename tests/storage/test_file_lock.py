import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from llmtrace.storage.file_lock import FileLock

HOLDS_IT = """
import sys, time
from pathlib import Path
from llmtrace.storage.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]), timeout=1)
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file-lock"


@pytest.fixture
def lock(path: Path) -> Iterator[FileLock]:
    opened = FileLock(path, timeout=0.02)
    yield opened
    opened.close()


def test_one_holds_it_at_a_time(lock: FileLock, path: Path) -> None:
    other = FileLock(path, timeout=0.001)
    lock.acquire()
    with pytest.raises(TimeoutError, match="held by a process"):
        other.acquire()
    lock.release()
    other.acquire()
    with pytest.raises(TimeoutError, match="held by a process"):
        lock.acquire()
    other.release()
    other.close()


def test_who_does_not_wait_takes_it_only_where_it_is_free(lock: FileLock, path: Path) -> None:
    other = FileLock(path, timeout=0.001)
    assert lock.acquire_now()
    assert not lock.acquire_now()
    assert not other.acquire_now()
    lock.release()
    assert other.acquire_now()
    other.release()
    other.close()
    with pytest.raises(ValueError, match="closed"):
        other.acquire_now()


def test_threads_wait_for_each_other(lock: FileLock) -> None:
    lock.acquire()
    refused: list[bool] = []

    def other() -> None:
        with suppress(TimeoutError):
            lock.acquire()
            return
        refused.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(5)
    assert refused == [True]
    lock.release()


def test_the_lock_of_a_killed_process_is_free(lock: FileLock, path: Path) -> None:
    command = [sys.executable, "-c", HOLDS_IT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:  # noqa: S603 - ours
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError):
            lock.acquire()
        holder.kill()
    lock.acquire()
    lock.release()


FORKS = """
import os, sys
from pathlib import Path
from llmtrace.storage.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]), timeout=1.0)
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
lock.acquire()
"""


def test_a_forked_process_is_told_to_open_its_own(path: Path) -> None:
    program = [sys.executable, "-c", FORKS, str(path)]
    forked = subprocess.run(  # noqa: S603  # our own interpreter
        program, capture_output=True, text=True, check=False, timeout=30
    )
    assert forked.returncode == 1
    assert "opened before a fork" in forked.stderr


def test_a_closed_lock_cannot_be_held(lock: FileLock, path: Path) -> None:
    lock.close()
    lock.close()
    with pytest.raises(ValueError, match="closed"):
        lock.acquire()
    assert path.stat().st_mode & 0o777 == 0o600
