"""TLS towards clients, with a bound on how long its handshake may take."""

from typing import ClassVar

from mitmproxy.proxy import commands, events, tunnel
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.tls import ClientTLSLayer

from llmtrace.addons.hardening.guards import Guards


class PromptClientTLSLayer(ClientTLSLayer):
    """mitmproxy's TLS side towards clients; a handshake that dawdles is closed."""

    guards: ClassVar[Guards]
    _timer: commands.RequestWakeup | None = None

    def start_handshake(self) -> CommandGenerator[None]:
        """Begin, and come back to see whether it ended."""
        yield from super().start_handshake()
        self._timer = commands.RequestWakeup(self.guards.limits.head_seconds)
        yield self._timer

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.Wakeup) and event.command is self._timer:
            if self.tunnel_state is tunnel.TunnelState.ESTABLISHING:
                self.guards.count("head_seconds")
                error = "the TLS handshake came too slowly"
                yield from self.on_handshake_error(error)
                yield from self._handshake_finished(error)
            return
        yield from super()._handle_event(event)
