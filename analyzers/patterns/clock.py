"""The processor time that one rule may take for one view."""

import time
from collections.abc import Callable

import regex


class Unfinished(Exception):
    """A rule cannot be taken to its end on a text; ``reason`` is timeout or too_many."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Clock:
    """Counts the processor time that confirming takes; not that of compiling, done once."""

    __slots__ = ("_left", "_most")

    def __init__(self, seconds: float) -> None:
        self._left = self._most = seconds

    def search(
        self, pattern: "regex.Pattern[str]", text: str, low: int, high: int
    ) -> "regex.Match[str] | None":
        """Search a stretch of a text. Raises: Unfinished."""
        if self._left <= 0:
            raise Unfinished("timeout")
        began = time.thread_time()
        try:
            return pattern.search(text, low, high, timeout=self._most, concurrent=True)
        except TimeoutError as error:
            raise Unfinished("timeout") from error
        finally:
            self._left -= time.thread_time() - began

    def of[T](self, ask: Callable[[], T]) -> T:
        """Ask something. Raises: Unfinished."""
        if self._left <= 0:
            raise Unfinished("timeout")
        began = time.thread_time()
        try:
            return ask()
        finally:
            self._left -= time.thread_time() - began
