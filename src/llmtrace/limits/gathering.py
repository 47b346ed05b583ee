"""Calls that come to a ledger's desk together are asked for together: in one transaction.

A transaction costs more than what it does for a call, above all in a busy loop, where little of
SQLite's code and pages is in the processor's caches.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from llmtrace.limits.waiting import AT_ONCE, Fresh

MOST_ROUNDS: Final = 4
"""Rounds of the loop that calls wait for others at most."""


class Gathering:
    """Holds calls for the rest of the round of the loop in which they came.

    Where more than one came in a round, those after it wait longer: for as many rounds as bring
    another, up to ``MOST_ROUNDS``. A client that is alone waits for nobody.
    """

    def __init__(self, ask: Callable[[Sequence[Fresh]], None]) -> None:
        """Take what asks for calls: it is given ``AT_ONCE`` at most."""
        self._ask = ask
        self._fresh: list[Fresh] = []
        self._crowded = False

    def __len__(self) -> int:
        """Return how many wait here."""
        return len(self._fresh)

    @property
    def is_alone(self) -> bool:
        """Whether nobody waits here, and nobody came along with the last who did."""
        return not (self._fresh or self._crowded)

    def join(self, call: Fresh, loop: asyncio.AbstractEventLoop) -> None:
        """Let a call wait for the others."""
        if not self._fresh:
            loop.call_soon(self._look, loop, 0, 0)
        self._fresh.append(call)

    def _look(self, loop: asyncio.AbstractEventLoop, before: int, rounds: int) -> None:
        came = len(self._fresh)
        if self._crowded and before < came < AT_ONCE and rounds < MOST_ROUNDS:
            loop.call_soon(self._look, loop, came, rounds + 1)
            return
        self._crowded = came > 1
        taken, self._fresh = self._fresh[:AT_ONCE], self._fresh[AT_ONCE:]
        if self._fresh:
            loop.call_soon(self._look, loop, len(self._fresh), rounds)
        self._ask(taken)
