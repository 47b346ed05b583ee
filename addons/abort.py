"""Ends a streamed answer cleanly, in the middle, on both sides.

``flow.kill()`` does not stop an answer that streams: later chunks still reach the client, and
the end it sees is a broken connection. This layer ends it in the way of its protocol (the last
chunk of HTTP/1.1, END_STREAM of HTTP/2) and closes the provider's side, so that it stops
generating.
"""

from typing import Final

from mitmproxy import http
from mitmproxy.proxy import events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestProtocolError,
    ResponseProtocolError,
)

ABORT: Final = "llmtrace.abort"
CUT: Final = "llmtrace.cut"


def abort_stream(flow: http.HTTPFlow) -> None:
    """End a flow's streamed answer after what its ``stream`` callable returns now.

    To be called from within that callable. The ``response`` hook runs as for an answer that
    ended by itself; the callable is not called again.
    """
    flow.metadata[ABORT] = True


def is_aborted(flow: http.HTTPFlow) -> bool:
    """Whether a flow's answer was ended by ``abort_stream``."""
    return bool(flow.metadata.get(ABORT))


def is_cut(flow: http.HTTPFlow) -> bool:
    """Whether a flow's answer was to be held whole and was too long: nothing of it is there."""
    return bool(flow.metadata.get(CUT))


class AbortableHttpStream(HttpStream):
    """mitmproxy's stream of one request and answer, which can be ended from within."""

    def state_stream_response_body(self, event: events.Event) -> CommandGenerator[None]:
        """Pass an answer on piece by piece, until it is ended."""
        yield from super().state_stream_response_body(event)
        over = self.server_state in (self.state_done, self.state_errored)
        if over or not is_aborted(self.flow):
            return
        yield from self.end_answer(already_streamed=True)

    def end_answer(self, *, already_streamed: bool) -> CommandGenerator[None]:
        """End an answer here: run its ``response`` hook, and have the provider stop."""
        yield SendHttp(
            RequestProtocolError(self.stream_id, "answer ended by policy", ErrorCode.CANCEL),
            self.context.server,
        )
        complete = self.client_state == self.state_done
        yield from self.send_response(already_streamed=already_streamed)
        if not complete:  # the client still sends its request: there is no clean end to give
            yield SendHttp(
                ResponseProtocolError(self.stream_id, "answer ended by policy", ErrorCode.KILL),
                self.context.client,
            )
        self.client_state = self.server_state = self.state_errored
