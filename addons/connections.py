"""One client connection: its hooks, its provider connections, what it still has open."""

import asyncio
import collections
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal

from mitmproxy import flow, http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events, layer, server_hooks
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionIO

from llmtrace.addons.hooks import HookTable, arguments
from llmtrace.addons.limits import Limits

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
type Dial = Callable[[str, int], Awaitable[Streams]]
"""Opens a TCP connection to a host and port. Raises OSError with a reason fit for the client."""


async def dial_anywhere(host: str, port: int) -> Streams:
    """Open a connection without asking whether it may be opened."""
    return await asyncio.open_connection(host, port)


OPENS = frozenset({"requestheaders"})
CLOSES = frozenset({"response", "error", "websocket_end"})
PROVIDER_IDLE = "the provider sent nothing for too long"
REFUSED_GREETING = "No TLS context was provided"
"""How mitmproxy calls it an error that a greeting was refused; the refusal is counted."""


class PlainHooksNow:
    """Stands before a connection's layers, and runs hooks that need not wait on the spot.

    mitmproxy makes a task for every hook, also for those that nobody handles: a fifth of what
    a new connection costs. The layers see the same events in the same order.
    """

    def __init__(self, top: layer.Layer, run_now: Callable[[commands.StartHook], bool]) -> None:
        self._top = top
        self._run_now = run_now

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Pass an event on, and the completion of each hook that was run here after it."""
        pending = collections.deque([event])
        while pending:
            for command in self._top.handle_event(pending.popleft()):
                if isinstance(command, commands.StartHook) and self._run_now(command):
                    if command.blocking:
                        pending.append(events.HookCompleted(command))
                else:
                    yield command


class GatewayConnection(ProxyConnectionHandler):
    """mitmproxy's handler of a client connection, with its bounds set and its log kept quiet.

    mitmproxy logs parts of heads and bodies below WARNING, credentials included; those lines
    are dropped here. Provider connections are opened through ``dial``, which checks the
    address that it connects to; their ``address`` keeps the name, so that they are reused.
    """

    def configure(self, *, hooks: HookTable, limits: Limits, dial: Dial) -> None:
        """Set what the base class has no argument for. To be called before it is served."""
        self.max_conns = collections.defaultdict(
            lambda: asyncio.Semaphore(limits.upstream_connections)
        )
        self._hooks = hooks
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

    def hang_up(self) -> None:
        """Close the client's connection, and with it those to providers."""
        io = self.transports.get(self.client)
        if io and io.handler:
            io.handler.cancel("gateway shuts down")

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Run a hook's handlers, with the idle timer stopped."""
        with self.timeout_watchdog.disarm():
            (data,) = arguments(hook)
            self._note_begin(hook, data)
            await self._hooks.trigger_event(hook)
            self._note_end(hook, data)
            if isinstance(data, flow.Flow) and data.intercepted:
                await data.wait_for_resume()

    def _run_now(self, hook: commands.StartHook) -> bool:
        """Run a hook's handlers at once if none of them waits."""
        (data,) = arguments(hook)
        if isinstance(data, flow.Flow) and data.intercepted:
            return False
        self._note_begin(hook, data)
        done = self._hooks.trigger_now(hook)
        if done:
            self._note_end(hook, data)
        return done

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
        self.layer = PlainHooksNow(top, self._run_now)  # type: ignore[assignment]  # all of it that is used

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

    async def handle_connection(self, connection: Connection) -> None:
        """Read from a connection until it ends, and close it whatever happens.

        mitmproxy leaves a connection open, and its layers uninformed, when it is cancelled
        while its bytes wait for another event to be handled.
        """
        try:
            await super().handle_connection(connection)
        except asyncio.CancelledError:
            io = self.transports.get(connection)
            if io and io.writer:
                connection.state = ConnectionState.CLOSED
                try:
                    await self.server_event(events.ConnectionClosed(connection))
                finally:
                    io.writer.close()
                    self.transports.pop(connection, None)
            raise

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
        self.transports[server] = ConnectionIO(
            handler=asyncio.current_task(), reader=reader, writer=writer
        )

    async def _carry(
        self, command: commands.OpenConnection, data: server_hooks.ServerConnectionHookData
    ) -> None:
        await self.handle_hook(server_hooks.ServerConnectedHook(data))
        await self._answer(command, None)
        try:
            await self.handle_connection(command.connection)
        finally:
            command.connection.timestamp_end = time.time()
            await self.handle_hook(server_hooks.ServerDisconnectedHook(data))
