"""Runs one program in the foreground as if it had been started itself.

The child stays in our process group, so pipes, job control and the terminal work as ever, and
Ctrl-C reaches it from the terminal; what is sent to us alone is passed on.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
_PASSED_ON: Final = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT")
_FROM_TERMINAL: Final = ("SIGINT", "SIGQUIT")


class CannotStart(OSError):
    """The program could not be started. ``code`` is what a shell would exit with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run_child(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run ``command`` to its end and return its exit code, 128 + n where signal n ended it.

    Standard streams and other open files are the child's as they are ours.

    Raises:
        CannotStart: There is no such program, or it cannot be run.
    """
    child: list[subprocess.Popen[bytes]] = []
    early: list[int] = []
    with _passing_on(child, early):
        child.append(_start(command, environ))
        for number in early:
            child[0].send_signal(number)
        code = child[0].wait()
    return code if code >= 0 else 128 - code


def _start(command: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        # files that the caller opened for it (a shell's <(…), make's job server) stay open
        return subprocess.Popen(command, env=dict(environ), close_fds=False)  # noqa: S603
    except FileNotFoundError as error:
        raise CannotStart(f"{command[0]}: no such program on the PATH", NOT_FOUND) from error
    except OSError as error:
        raise CannotStart(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE) from error


@contextmanager
def _passing_on(child: list[subprocess.Popen[bytes]], early: list[int]) -> Iterator[None]:
    """Hand signals to the child while it runs; what comes before it exists is kept for it."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if signal.Signals(number).name in _FROM_TERMINAL and _terminal_sent_it():
            return  # the terminal has sent it to the whole group, the child included
        if child:
            child[0].send_signal(number)
        else:
            early.append(number)

    before = {}
    for name in (*_PASSED_ON, *_FROM_TERMINAL):
        number = getattr(signal, name, None)
        # what was ignored when we were started (nohup) is to be ignored by the child too
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _terminal_sent_it() -> bool:
    """Whether a terminal has our process group in front, and so signals it as a whole."""
    if sys.platform == "win32":
        return True  # consoles signal every process attached to them
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
