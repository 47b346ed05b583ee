"""Our own mitmproxy master: only the addons that a gateway needs, and a drain."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.proxy.mode_servers import ServerInstance
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.utils import asyncio_utils

from llmtrace.addons.connections import Dial, GatewayConnection, dial_anywhere
from llmtrace.addons.hardening import BodyLimit, Guards, Relayed, hardened, unread
from llmtrace.addons.hardening.shortcuts import settle_options
from llmtrace.addons.hooks import HookTable
from llmtrace.addons.limits import Count, Limits, discard
from llmtrace.addons.listening import Bound, Listen, Listeners
from llmtrace.addons.pacing import Rounds

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
QUIET_SECONDS = 0.5
"""A connection without a call is hung up in a drain once this long nothing happened on it."""
LAST_WORDS_SECONDS = 2.0
"""What is left to calls that a drain had to cut, for their records to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterOptions:
    """How a gateway's data plane is set up.

    ``ca_dir`` holds ``mitmproxy-ca.pem``: key, signing certificate and its chain.
    ``reuse_port`` lets several workers accept on the same addresses.
    """

    listens: Sequence[Listen]
    ca_dir: Path
    limits: Limits = field(default_factory=Limits)
    http2: bool = True
    reuse_port: bool = False


class GatewayMaster(Master):
    """Runs the data plane of one worker. Create it inside the running event loop."""

    def __init__(
        self,
        *,
        options: MasterOptions,
        dial: Dial = dial_anywhere,
        count: Count = discard,
        body_limit: BodyLimit | None = None,
        relayed: Relayed = unread,
    ) -> None:
        super().__init__(Options(confdir=str(options.ca_dir)))
        self._legacy_log_events.uninstall()  # it would turn each log line into an event
        self.addons = self._hooks = HookTable(self)
        self._options = options
        self._dial = dial
        self._guards = Guards(
            limits=options.limits, count=count, body_limit=body_limit, relayed=relayed
        )
        self._stack = ExitStack()
        self._ready = asyncio.Event()
        self.proxyserver = Proxyserver()
        self._rounds = Rounds()
        self._instances: dict[str, ServerInstance[ProxyMode]] = {}
        self._listeners = Listeners(
            listens=options.listens,
            serve=self._serve,
            limits=options.limits,
            count=count,
            reuse_port=options.reuse_port,
        )

    @property
    def bound(self) -> tuple[Bound, ...]:
        """Where it listens; empty before it is ready."""
        return self._listeners.bound

    @property
    def open_connections(self) -> int:
        """Client connections that are open."""
        return len(self.proxyserver.connections)

    async def ready(self) -> tuple[Bound, ...]:
        """Wait until it accepts connections, and say where."""
        await self._ready.wait()
        return self.bound

    async def run(self) -> None:
        """Serve until ``shutdown``.

        Raises:
            OSError: An address cannot be listened on.
        """
        with (
            asyncio_utils.install_exception_handler(self._asyncio_exception_handler),
            asyncio_utils.set_eager_task_factory(),
            self._stack,
        ):
            self._stack.enter_context(hardened(self._guards))
            self.should_exit.clear()
            try:
                await self._listeners.start()
                await self.running()
                self._ready.set()
                await self.should_exit.wait()
            finally:
                self._listeners.close()
                await self._hang_up_all()
                await self.done()

    async def drain(self, timeout_seconds: float) -> bool:
        """Stop accepting, let calls end, then shut down.

        Connections without a call are hung up; calls have ``timeout_seconds`` to end, and are
        told to close their connection after their answer. What is left then is cut, which runs
        its ``error`` hook.

        Returns:
            Whether every call ended by itself.
        """
        self._listeners.close()
        self._guards.draining = True
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self.proxyserver.connections and asyncio.get_running_loop().time() < deadline:
            for connection in self._connections():
                if not connection.busy and connection.quiet_seconds >= QUIET_SECONDS:
                    connection.hang_up()
            await asyncio.sleep(POLL_SECONDS)
        clean = not any(connection.busy for connection in self._connections())
        self.should_exit.set()
        return clean

    def hang_up(self, client: Client) -> None:
        """Close a client's connection, and with it those to providers."""
        handler = self.proxyserver.connections.get(client.id)
        if isinstance(handler, GatewayConnection):
            handler.hang_up()

    def _connections(self) -> list[GatewayConnection]:
        return [
            handler
            for handler in self.proxyserver.connections.values()
            if isinstance(handler, GatewayConnection)
        ]

    async def _hang_up_all(self) -> None:
        deadline = asyncio.get_running_loop().time() + LAST_WORDS_SECONDS
        for connection in self._connections():
            connection.hang_up()
        while self.proxyserver.connections:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(POLL_SECONDS / 5)
        if left := len(self.proxyserver.connections):
            logger.warning("%d connections did not close in time", left)

    def _instance(self, mode: str) -> ServerInstance[ProxyMode]:
        if mode not in self._instances:
            self._instances[mode] = ServerInstance.make(mode, self.proxyserver)
        return self._instances[mode]

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mode: str
    ) -> None:
        instance = self._instance(mode)
        handler = GatewayConnection(  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped
            self, reader, writer, ctx.options, instance.mode
        )
        handler.configure(
            hooks=self._hooks, limits=self._options.limits, dial=self._dial, rounds=self._rounds
        )
        handler.serve_with(instance.make_top_layer(handler.layer.context))
        with self.proxyserver.register_connection(handler.client.id, handler):
            await handler.handle_client()


def build_master(
    *,
    options: MasterOptions,
    addons: Sequence[object],
    dial: Dial = dial_anywhere,
    count: Count = discard,
    body_limit: BodyLimit | None = None,
    relayed: Relayed = unread,
) -> GatewayMaster:
    """Build a master with its options set. To be called inside the running event loop.

    ``addons`` come before mitmproxy's own, so that what they decide stands; a
    ``llmtrace.addons.tls.GatewayTls`` must be among them.

    Raises:
        ValueError: A listen has a mode that mitmproxy does not know.
    """
    for listen in options.listens:
        ProxyMode.parse(listen.mode)
    master = GatewayMaster(
        options=options, dial=dial, count=count, body_limit=body_limit, relayed=relayed
    )
    master.addons.add(*addons, master.proxyserver, NextLayer())
    master.options.update(
        server=False,  # listening is ours
        rawtcp=False,
        websocket=True,
        http2=options.http2,
        connection_strategy="lazy",
        validate_inbound_headers=True,
        tcp_timeout=options.limits.idle_seconds,
        upstream_cert=False,
    )
    settle_options(master.options)
    return master
