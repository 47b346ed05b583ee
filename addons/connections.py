"""One client connection: its hooks, its provider connections, what it still has open."""

import asyncio
import collections
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Literal

from mitmproxy import flow, http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer, server_hooks
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionIO

from llmtrace.addons.hooks import HookTable, arguments
from llmtrace.addons.lanes import Lane
from llmtrace.addons.limits import Limits
from llmtrace.addons.outbox import Outbox
from llmtrace.addons.pacing import (
    Ended,
    Pace,
    Rounds,
    Unsent,
    Waits,
    begins_stream,
    is_held_up,
    read_in_pieces,
)

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
type Dial = Callable[[str, int], Awaitable[Streams]]
"""Opens a TCP connection to a host and port. Raises OSError with a reason fit for the client."""


async def dial_anywhere(host: str, port: int) -> Streams:
    """Open a connection without asking whether it may be opened."""
    return await asyncio.open_connection(host, port)


OPENS = frozenset({"requestheaders"})
CLOSES = frozenset({"response", "error", "websocket_end"})
HOLDS_UP = frozenset({"requestheaders", "websocket_message"})
"""While one of these runs, what else comes is only put aside."""
MOST_WAITING = 8
"""Events that wait to be handled; a reader goes on once there are no more."""
PROVIDER_IDLE = "the provider sent nothing for too long"
REFUSED_GREETING = "No TLS context was provided"
"""How mitmproxy calls it an error that a greeting was refused; the refusal is counted."""


_RUNNING: set[asyncio.Task[None]] = set()
"""The loop itself keeps no task from being collected."""


def _begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task and run it as far as it goes without waiting."""
    task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
    if not task.done():
        _RUNNING.add(task)
        task.add_done_callback(_RUNNING.discard)
    return task


class GatewayConnection(ProxyConnectionHandler):
    """mitmproxy's handler of a client connection, with its bounds set and its log kept quiet.

    mitmproxy logs parts of heads and bodies below WARNING, credentials included; those lines
    are dropped here. Provider connections are opened through ``dial``, which checks the
    address that it connects to; their ``address`` keeps the name, so that they are reused.
    """

    def configure(self, *, hooks: HookTable, limits: Limits, dial: Dial, rounds: Rounds) -> None:
        """Set what the base class has no argument for. To be called before it is served."""
        for io in self.transports.values():
            read_in_pieces(io)
        self._outbox = Outbox(self.transports)
        self._events: collections.deque[events.Event] = collections.deque()
        self._handling = self._scheduled = False
        self._holding_up = self._hooks_running = 0
        self._over = False
        self._ended: list[Ended] = []
        self._pace = Pace(lambda: self._holding_up > 0 or len(self._events) > MOST_WAITING)
        self._unsent = Unsent(MOST_WAITING)
        self.max_conns = collections.defaultdict(
            lambda: asyncio.Semaphore(limits.upstream_connections)
        )
        self._hooks = hooks
        self._rounds = rounds
        self._dial = dial
        self._connect_seconds = limits.connect_seconds
        self._open_flows: set[str] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._open_flows)

    @property
    def quiet_seconds(self) -> float:
        """How long nothing has happened on it."""
        return time.time() - self.timeout_watchdog.last_activity

    async def on_timeout(self) -> None:
        """Close what has been idle for too long: the provider that lets a call wait, if any.

        The client is then answered, and the call's error hook runs with ``PROVIDER_IDLE`` as
        its server connection's error.
        """
        providers = [
            (connection, io.handler)
            for connection, io in self.transports.items()
            if connection is not self.client and io.handler
        ]
        if not self.busy or not providers:
            await super().on_timeout()
            return
        for connection, handler in providers:
            connection.error = PROVIDER_IDLE
            handler.cancel(PROVIDER_IDLE)
        self.timeout_watchdog.register_activity()
        self._watch = asyncio.create_task(self.timeout_watchdog.watch())

    async def handle_client(self) -> None:
        """Serve the connection to its end."""
        try:
            await super().handle_client()
        finally:
            if self._watch:
                self._watch.cancel()
            self._over = True
            self._let_go()

    def _let_go(self) -> None:
        """Free what the layers hold, once no hook runs any more that tells them of its end."""
        if self._over and not (self._hooks_running or self._events or self._handling):
            self._lane.let_go()
            self._unsent.forget()

    def hang_up(self) -> None:
        """Close the client's connection, and with it those to providers."""
        io = self.transports.get(self.client)
        if io and io.handler:
            io.handler.cancel("gateway shuts down")

    # --- events -----------------------------------------------------------------------------

    async def server_event(self, event: events.Event) -> None:
        """Have the layers handle an event, and do what they say.

        A hook may end, and with it an event come, while another is being handled: that one waits
        for its turn. mitmproxy has a lock for this; with a queue, a hook costs one round of the
        loop less, and no future.
        """
        self._take(event)

    def _take(self, event: events.Event) -> None:
        """Handle an event now, or in its turn.

        What is in its turn is handled in the next round of the loop, with the same stage of all
        other connections: code that has just run is in the processor's cache, and the rest of a
        call is not.
        """
        if not self._handling and not self._events:
            self._handle(event)
            self._begin_streams()
            return
        self._events.append(event)
        self._schedule()

    def _begin_streams(self) -> None:
        """Go on at once with answers that stream: somebody waits for their first word."""
        while self._events and begins_stream(self._events[0]):
            self._handle(self._events.popleft())

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._rounds.add(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._events:
            self._handle(self._events.popleft())
            self._begin_streams()
        if self._events:
            self._schedule()
        self._let_go()

    def _handle(self, event: events.Event) -> None:
        self._handling = True
        self.timeout_watchdog.register_activity()
        try:
            for command in self.layer.handle_event(event):
                self._do(command)
        except Exception:  # noqa: BLE001  # logged, as mitmproxy does: the connection goes on
            self.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
        finally:
            self._handling = False
            self._outbox.flush()
            while self._ended:
                self._ended.pop().let_go()
            self._note_handled(event)

    def _note_handled(self, event: events.Event) -> None:
        if isinstance(event, events.HookCompleted):
            self._holding_up -= event.command.name in HOLDS_UP
        self._pace.caught_up()
        self._unsent.caught_up()

    def _do(self, command: commands.Command) -> None:
        """Do what a layer says, as ``ConnectionHandler.server_event`` does."""
        if isinstance(command, commands.SendData):
            self._outbox.put(command.connection, command.data)
        elif isinstance(command, commands.StartHook):
            _begin(self.hook_task(command))
        elif isinstance(command, commands.OpenConnection) and self._over:
            self._events.append(events.OpenConnectionCompleted(command, "the client is gone"))
            self._schedule()
        elif isinstance(command, commands.OpenConnection):
            io = self.transports[command.connection] = ConnectionIO()
            io.handler = _begin(self.open_connection(command))
        elif isinstance(command, commands.CloseConnection):
            if command.connection in self.transports:
                self._outbox.flush()
                half = isinstance(command, commands.CloseTcpConnection) and command.half_close
                self.close_connection(command.connection, half)
        elif isinstance(command, commands.RequestWakeup):
            if self._over:  # nobody would end it
                return
            self.wakeup_timer.add(_begin(self.wakeup(command)))
        elif isinstance(command, Waits):
            self._unsent.note(command)
        elif isinstance(command, Ended):
            self._ended.append(command)
        elif isinstance(command, commands.Log):
            self.log(command.message, command.level)
        else:
            raise TypeError(f"a layer said {type(command).__name__}")

    async def hook_task(self, hook: commands.StartHook) -> None:
        """Run a hook, and tell the layers that it has ended."""
        self._holding_up += hook.name in HOLDS_UP
        self._hooks_running += 1
        try:
            await self.handle_hook(hook)
        finally:
            self._hooks_running -= 1
        if hook.blocking:
            self._take(events.HookCompleted(hook))
        self._let_go()

    async def drain_writers(self) -> None:
        """Wait until more may be read: what was is handled, and what is to be written has gone."""
        io = self.transports.get(self.client)
        if io and io.handler is asyncio.current_task():  # a handshake needs what the server says
            await self._unsent.kept()
        await self._pace.kept()
        if any(map(is_held_up, self.transports.values())):
            await super().drain_writers()  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Run a hook's handlers, with the idle timer stopped."""
        args = arguments(hook)
        (data,) = args
        self._note_begin(hook, data)
        timer = self.timeout_watchdog
        timer.can_timeout.clear()  # as its ``disarm``, which is a generator
        timer.blocker += 1
        try:
            await self._hooks.call_all(hook, args)
            self._note_end(hook, data)
            if isinstance(data, flow.Flow) and data.intercepted:
                await data.wait_for_resume()
        finally:
            timer.blocker -= 1
            if not timer.blocker:
                timer.register_activity()
                timer.can_timeout.set()

    def _run_now(self, hook: commands.StartHook) -> bool:
        """Run a hook's handlers at once if none of them waits."""
        if not self._hooks.is_plain(hook):
            return False
        args = arguments(hook)
        (data,) = args
        if isinstance(data, flow.Flow) and data.intercepted:
            return False
        self._note_begin(hook, data)
        self._hooks.call_now(hook, args)
        self._note_end(hook, data)
        return True

    def _note_begin(self, hook: commands.StartHook, data: object) -> None:
        if hook.name in OPENS and isinstance(data, http.HTTPFlow):
            self._open_flows.add(data.id)

    def _note_end(self, hook: commands.StartHook, data: object) -> None:
        if hook.name not in CLOSES or not isinstance(data, http.HTTPFlow):
            return
        if not (hook.name == "response" and data.websocket):  # a WebSocket goes on
            self._open_flows.discard(data.id)

    def serve_with(self, top: layer.Layer) -> None:
        """Set the layer that the client's bytes go to."""
        self._lane = Lane(top, self._run_now)
        self.layer = self._lane  # type: ignore[assignment]  # all of it that is used

    def log(
        self,
        message: str,
        level: int = logging.INFO,
        exc_info: Literal[True]
        | tuple[type[BaseException], BaseException, TracebackType | None]
        | None = None,
    ) -> None:
        """Pass warnings and errors on; what is below may quote the client's bytes."""
        if level >= logging.WARNING and not message.startswith(REFUSED_GREETING):
            super().log(message, level, exc_info)

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Open a provider connection for a layer, tell it how that went, and read from it."""
        server = command.connection
        if not server.address:
            await self._answer(command, "no destination is known")
            return
        data = server_hooks.ServerConnectionHookData(client=self.client, server=server)
        await self.handle_hook(server_hooks.ServerConnectHook(data))
        if server.error:
            await self.handle_hook(server_hooks.ServerConnectErrorHook(data))
            await self._answer(command, server.error)
            return
        async with self.max_conns[server.address]:
            try:
                await self._connect(command)
            except (OSError, asyncio.CancelledError) as error:
                server.error = str(error) or "connection cancelled"
                await self.handle_hook(server_hooks.ServerConnectErrorHook(data))
                await self._answer(command, server.error)
                if isinstance(error, asyncio.CancelledError):
                    raise
                return
            await self._carry(command, data)

    async def _answer(self, command: commands.OpenConnection, error: str | None) -> None:
        await self.server_event(events.OpenConnectionCompleted(command, error))

    async def _connect(self, command: commands.OpenConnection) -> None:
        server = command.connection
        host, port = server.address[:2]  # type: ignore[index]  # checked by the caller
        server.timestamp_start = time.time()
        try:
            async with asyncio.timeout(self._connect_seconds):
                reader, writer = await self._dial(host, port)
        except TimeoutError as error:
            raise OSError(
                f"no connection to {host}:{port} within {self._connect_seconds:g} s"
            ) from error
        server.timestamp_tcp_setup = time.time()
        server.state = ConnectionState.OPEN
        server.peername = writer.get_extra_info("peername")
        server.sockname = writer.get_extra_info("sockname")
        io = ConnectionIO(handler=asyncio.current_task(), reader=reader, writer=writer)
        read_in_pieces(io)
        self.transports[server] = io

    async def _carry(
        self, command: commands.OpenConnection, data: server_hooks.ServerConnectionHookData
    ) -> None:
        await self.handle_hook(server_hooks.ServerConnectedHook(data))
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._connect_seconds, self._check_tls, command.connection)
        await self._answer(command, None)
        try:
            await self.handle_connection(command.connection)
        finally:
            timer.cancel()
            command.connection.timestamp_end = time.time()
            await self.handle_hook(server_hooks.ServerDisconnectedHook(data))

    def _check_tls(self, server: Connection) -> None:
        """Close a provider connection whose TLS handshake has not ended by now."""
        io = self.transports.get(server)
        if server.tls and not server.timestamp_tls_setup and io and io.handler:
            io.handler.cancel("the TLS handshake took too long")
