"""Ends what passes unread once the key that let it in is good no more.

Calls that are read need a key each. A tunnel that is not read, and a WebSocket whose messages
are not, are let in once: whose they are is looked at again here, as long as they are open.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from mitmproxy import connection

from llmtrace.addons.door import Door
from llmtrace.addons.limits import Count, discard
from llmtrace.pipeline.keyring import FRESH_SECONDS
from llmtrace.storage.keys import Presented

AT_ONCE: Final = 50
"""Keys that are looked up before others have their turn."""

type _Shown = tuple[tuple[Presented, ...], Presented | None]


class Evictions:
    """Hangs up on whoever was let in with a key that is revoked, rotated or expired by now.

    Args:
        door: Knows whose tunnel it is, and whom it would let in now.
        unread: Who has a tunnel that is not read.
        hang_up: Closes a client's connection.
        count: Told of each that was closed.
        seconds: How often it is looked.
    """

    name = "llmtrace_evictions"

    def __init__(
        self,
        door: Door,
        unread: Iterable[connection.Client],
        hang_up: Callable[[connection.Client], None],
        *,
        count: Count = discard,
        seconds: float = FRESH_SECONDS,
    ) -> None:
        self._door = door
        self._unread = unread
        self._hang_up = hang_up
        self._count = count
        self._seconds = seconds
        self._sockets: WeakKeyDictionary[connection.Client, _Shown] = WeakKeyDictionary()
        self._task: asyncio.Task[None] | None = None

    def watch(
        self, client: connection.Client, keys: Sequence[Presented], proxy_key: Presented | None
    ) -> None:
        """Look after a WebSocket that is not read from now on."""
        self._sockets[client] = (tuple(keys), proxy_key)

    def running(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    def done(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look()

    async def look(self) -> None:
        """Look once at everybody who was let in with a key."""
        by_key: dict[_Shown, list[connection.Client]] = {}
        for client, shown in self._inside():
            by_key.setdefault(shown, []).append(client)
        for number, (shown, clients) in enumerate(by_key.items(), 1):
            if not self._door.still_lets_in(*shown):
                for client in clients:
                    self._count("evicted")
                    self._hang_up(client)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _inside(self) -> Iterator[tuple[connection.Client, _Shown]]:
        everybody: list[tuple[connection.Client, _Shown]] = list(self._sockets.items())
        everybody += [(client, ((), self._door.key_of(client))) for client in list(self._unread)]
        for client, (keys, proxy_key) in everybody:
            if client.connected and (keys or proxy_key is not None):
                yield client, (keys, proxy_key)
