import fcntl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmtrace.environment.home import Home
from llmtrace.environment.sharing import TURN, Sharing, await_users


@dataclass
class Handle:
    """A gateway that counts what becomes of it."""

    stopped: int = 0
    left: int = 0
    proxy_url: str = "http://127.0.0.1:9"

    def degraded(self) -> Sequence[str]:
        return ()

    def stop(self) -> None:
        self.stopped += 1

    def leave(self) -> None:
        self.left += 1


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_gateway_that_nobody_else_uses_is_stopped(home: Home) -> None:
    handle, sharing = Handle(), Sharing(home)
    assert sharing.begin(lambda: handle) is handle
    assert sharing.end(handle)
    assert (handle.stopped, handle.left) == (1, 0)


def test_a_gateway_that_another_run_uses_is_left_to_it(home: Home) -> None:
    handle, first, second = Handle(), Sharing(home), Sharing(home)
    first.begin(lambda: handle)
    assert second.begin(lambda: None) is None
    assert not first.end(handle)
    assert (handle.stopped, handle.left) == (0, 1)
    ended = threading.Thread(target=await_users, args=[home])
    ended.start()
    assert ended.is_alive()
    assert not second.end(None)
    ended.join(10)
    assert not ended.is_alive()


def test_a_run_that_ends_first_leaves_the_gateway_to_its_own(home: Home) -> None:
    handle, first, second = Handle(), Sharing(home), Sharing(home)
    first.begin(lambda: handle)
    second.begin(lambda: None)
    second.end(None)
    assert first.end(handle)
    assert (handle.stopped, handle.left) == (1, 0)


def test_one_looks_for_a_gateway_at_a_time(home: Home) -> None:
    def find() -> None:
        with (home.path / TURN).open() as turn, pytest.raises(BlockingIOError):
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)

    sharing = Sharing(home)
    sharing.begin(find)
    with (home.path / TURN).open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    sharing.end(None)


def test_a_run_whose_gateway_does_not_start_uses_none(home: Home) -> None:
    def broken() -> None:
        raise OSError("port is taken")

    with pytest.raises(OSError, match="port is taken"):
        Sharing(home).begin(broken)
    await_users(home)
