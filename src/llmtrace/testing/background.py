"""Servers of the test kit run in a thread with an event loop of their own."""

import asyncio
import contextlib
import secrets
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

LOOPBACK: Final = "127.0.0.1"
_SECONDS: Final = 10
_LOWEST_PORT, _HIGHEST_PORT = 10_000, 32_000


class Background(ABC):
    """A server that runs in a thread from ``start`` to ``stop``; also a context manager.

    Subclasses bind their ports in ``_open`` and close what they hold in ``_close``; both run in
    the thread's loop.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: OSError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def _open(self) -> list[asyncio.Server]:
        """Return the servers, listening."""

    def start(self) -> None:
        """Return once all ports are open.

        Raises:
            OSError: A port could not be had, or the thread did not start.
        """
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(ready)), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        if not ready.wait(_SECONDS):
            raise OSError(f"{type(self).__name__} did not start within {_SECONDS} s")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Close everything and end the thread."""
        if self._stop is not None:
            self._in_loop(self._stop.set)
        if self._thread is not None:
            self._thread.join(_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _in_loop(self, action: Callable[[], object]) -> None:
        """Run ``action`` in the thread's loop, soon; nothing happens once that has ended."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it closed between the two
                loop.call_soon_threadsafe(action)

    def _spawn(self, work: Awaitable[None]) -> None:
        """Do ``work`` in a task that ends with the server."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _main(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            servers = await self._open()
        except OSError as error:
            self._failure = error
            return
        finally:
            ready.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def port_of(server: asyncio.Server) -> int:
    """Return the port that a server got."""
    return int(server.sockets[0].getsockname()[1])


def free_port() -> int:
    """Return a port on loopback that nobody listens on, and that the system gives to nobody.

    It lies below those that connections get by themselves (``ip_local_port_range`` begins at
    32,768 where nobody changed it), so that none of them takes it before who asked can listen.

    Raises:
        OSError: A hundred ports, drawn by chance, were all taken.
    """
    for _ in range(100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = _LOWEST_PORT + secrets.randbelow(_HIGHEST_PORT - _LOWEST_PORT)
            probe.bind((LOOPBACK, port))
            return port
    raise OSError(f"no free port between {_LOWEST_PORT} and {_HIGHEST_PORT}")
