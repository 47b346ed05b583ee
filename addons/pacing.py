"""Keeps what is read of connections from running ahead of what handles it."""

import asyncio
from collections.abc import Callable


class Pace:
    """Holds readers up while what they have read waits to be handled.

    mitmproxy's layers put aside whatever comes while a hook runs, without a bound, and so does a
    queue of events: a peer that sends faster than it is served would fill the memory.
    """

    def __init__(self, is_behind: Callable[[], bool]) -> None:
        self._is_behind = is_behind
        self._held: list[asyncio.Future[None]] = []

    async def kept(self) -> None:
        """Wait until more may be read."""
        while self._is_behind():
            held = asyncio.get_running_loop().create_future()
            self._held.append(held)
            await held

    def caught_up(self) -> None:
        """Let readers go on, if nothing speaks against it any more."""
        if not self._held or self._is_behind():
            return
        held, self._held = self._held, []
        for reader in held:
            if not reader.done():  # else it was cancelled
                reader.set_result(None)
