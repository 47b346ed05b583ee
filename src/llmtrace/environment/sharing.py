"""Who uses the gateway that a run started: it goes on as long as anybody does.

Two files in the home are locked (``flock``), and a lock ends with its process, however that
ends. ``gateway.turn`` is held while a gateway is looked for, started or ended, by one process at
a time; ``gateway.users`` is shared by all runs, and whoever gets it alone may end the gateway.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from llmtrace.environment.gateway import GatewayHandle
from llmtrace.environment.home import Home

TURN: Final = "gateway.turn"
USERS: Final = "gateway.users"


class Sharing:
    """One run's part in the gateway of its installation."""

    def __init__(self, at: Home) -> None:
        self._home = at.path
        self._turn = at.path / TURN
        self._users = at.path / USERS
        self._part: int | None = None

    def begin(self, find: Callable[[], GatewayHandle | None]) -> GatewayHandle | None:
        """Use what ``find`` returns: a gateway that it started, None for one that runs.

        Raises:
            OSError: The home cannot be written to.
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _held(self._turn, fcntl.LOCK_EX):
            self._part = _locked(self._users, fcntl.LOCK_SH)
            try:
                return find()
            except BaseException:
                self._leave()
                raise

    def end(self, handle: GatewayHandle | None) -> bool:
        """Use it no longer; return whether it was ours and has been stopped.

        One that others use still is left to itself: it stops when the last of them has ended.
        """
        if handle is None:
            self._leave()
            return False
        with _held(self._turn, fcntl.LOCK_EX):
            self._leave()
            try:
                with _held(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    handle.stop()
            except BlockingIOError:
                handle.leave()
                return False
        return True

    def _leave(self) -> None:
        if self._part is not None:
            os.close(self._part)
            self._part = None


def await_users(at: Home) -> None:
    """Return when no run uses the gateway of an installation. Raises: OSError."""
    with _held(at.path / USERS, fcntl.LOCK_EX):
        return


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    fd = _locked(path, how)
    try:
        yield
    finally:
        os.close(fd)


def _locked(path: Path, how: int) -> int:
    """Lock a file, made if need be. Raises: OSError, BlockingIOError where it would not wait."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, how)
    except BaseException:
        os.close(fd)
        raise
    return fd
