"""Keeps what is read of connections from running ahead of what handles it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from mitmproxy.proxy import commands
from mitmproxy.proxy.events import Event, HookCompleted
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.layers.http._hooks import HttpResponseHeadersHook
from mitmproxy.proxy.server import ConnectionIO

logger = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024


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


class Rounds:
    """Has events that wait handled in the next round of the loop, all in one step of it."""

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def add(self, turn: Callable[[], None]) -> None:
        """Note a connection's turn."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._run)
        self._due.append(turn)

    def _run(self) -> None:
        due, self._due = self._due, []
        for turn in due:
            try:
                turn()
            except Exception:
                logger.exception("a connection's turn failed; those of the others go on")


def begins_stream(event: Event) -> bool:
    """Whether the head of an answer has been looked at that is passed on while it comes."""
    command = event.command if isinstance(event, HookCompleted) else None
    if not isinstance(command, HttpResponseHeadersHook) or command.flow.response is None:
        return False
    return bool(command.flow.response.stream)


class Waits(commands.Command):
    """A layer begins to wait for its server connection, or has waited for it.

    ``full``: it has put aside as much as it may already.
    """

    def __init__(self, layer: Layer, *, begins: bool, full: bool = False) -> None:
        self.layer = layer
        self.begins = begins
        self.full = full


class Ended(commands.Command):
    """A stream of a connection has ended; its layer is asked nothing any more."""

    def __init__(self, stream: HttpStream) -> None:
        self.stream = stream

    def let_go(self) -> None:
        """Free the layer's memory now.

        It has itself in its list of layers and as the owner of the functions of its states, so
        that all of a call, bodies included, would wait for the garbage collector to find it.
        """
        self.stream.context.layers.clear()
        self.stream.client_state = self.stream.server_state = _nothing


def _nothing(_event: Event) -> CommandGenerator[None]:
    yield from ()


class Unsent(Pace):
    """Holds a client's reader up while layers put aside what it sends, for want of a connection.

    A layer that waits may have ``most`` events put aside; so others on the connection go on.
    """

    def __init__(self, most: int) -> None:
        super().__init__(self._is_too_much)
        self._most = most
        self._layers: set[Layer] = set()
        self._full: set[Layer] = set()

    def note(self, command: Waits) -> None:
        """Note which layers wait."""
        layers = self._full if command.full else self._layers
        if command.begins:
            layers.add(command.layer)
        else:
            layers.discard(command.layer)

    def forget(self) -> None:
        """Ask no layer any more."""
        self._layers.clear()
        self._full.clear()

    def _is_too_much(self) -> bool:
        return bool(self._full) or any(
            len(layer._paused_event_queue) > self._most for layer in self._layers
        )


def read_in_pieces(io: ConnectionIO) -> None:
    """Read no more at once than mitmproxy takes.

    asyncio reads up to 256 KiB. A buffer of that size is memory of its own for each read, asked of
    the system and given back.
    """
    if isinstance(io.writer, asyncio.StreamWriter):
        vars(io.writer.transport)["max_size"] = READ_BYTES


def is_held_up(io: ConnectionIO) -> bool:
    """Whether what was written has not all been taken by the system, or never will be."""
    if not isinstance(io.writer, asyncio.StreamWriter):
        return False
    transport = io.writer.transport
    return transport.is_closing() or transport.get_write_buffer_size() > 0
