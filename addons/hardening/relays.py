"""Relays a connection that is not read, and counts its bytes."""

from typing import ClassVar

from mitmproxy.proxy import events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.tcp import TCPLayer

from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.pacing import Waits


class CountedTCPLayer(TCPLayer):
    """mitmproxy's relay of bytes, which says how many went which way."""

    guards: ClassVar[Guards]

    def start(self, _: events.Event) -> CommandGenerator[None]:
        """Open the connection to relay to."""
        yield Waits(self, begins=True)
        yield from super().start(_)
        yield Waits(self, begins=False)

    _handle_event = start

    def relay_messages(self, event: events.Event) -> CommandGenerator[None]:
        """Pass bytes on."""
        if isinstance(event, events.DataReceived):
            size = len(event.data)
            up = event.connection == self.context.client
            host = self.context.server.address[0] if self.context.server.address else ""
            self.guards.relayed(host, size if up else 0, 0 if up else size)
        yield from super().relay_messages(event)
