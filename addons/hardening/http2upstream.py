"""HTTP/2 towards providers: what one does not take holds up the client that sends it."""

from typing import ClassVar, Final

from mitmproxy.proxy import events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._events import RequestData

from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.pacing import Waits

MOST_PIECES: Final = 2_048
"""Pieces that may wait: each takes memory, however short it is."""


class PacedHttp2Client(_http2.Http2Client):
    """mitmproxy's HTTP/2 side towards providers, which says when too much waits to be sent.

    What its windows, or its bound of concurrent streams, keep back is put aside without a bound;
    and a body that nobody reads may be of any length.
    """

    guards: ClassVar[Guards]
    _is_full = False

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        yield from super()._handle_event(event)
        is_full = self._is_over()
        if is_full is not self._is_full:
            self._is_full = is_full
            if is_full:
                self.guards.count("upstream_unsent_bytes")
            yield Waits(self, begins=is_full, full=True)

    def _is_over(self) -> bool:
        if self._handle_event == self.done:  # it is closed
            return False
        kept = [len(one.data) for some in self.h2_conn.stream_buffers.values() for one in some]
        for queued in self.stream_queue.values():  # for a stream less
            kept += [len(one.data) for one in queued if isinstance(one, RequestData)]
        return len(kept) > MOST_PIECES or sum(kept) > self.guards.limits.upstream_unsent_bytes
