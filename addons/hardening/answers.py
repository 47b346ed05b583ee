"""Holds an answer that is to be judged whole, up to a bound."""

from typing import ClassVar

from mitmproxy.proxy import events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._events import ResponseData

from llmtrace.addons.abort import CUT
from llmtrace.addons.errors import ShapedHttpStream
from llmtrace.addons.hardening.guards import Guards


class BoundedHttpStream(ShapedHttpStream):
    """mitmproxy's stream of one request and answer, which holds no answer without end.

    An answer that is passed on while it comes is not held, and has no bound here.
    """

    guards: ClassVar[Guards]

    def state_consume_response_body(self, event: events.Event) -> CommandGenerator[None]:
        """Hold an answer; once it is too long, drop it and run its ``response`` hook."""
        too_long = len(self.response_body_buf) > self.guards.limits.answer_bytes
        if not (isinstance(event, ResponseData) and too_long):
            yield from super().state_consume_response_body(event)
            return
        self.flow.metadata[CUT] = True
        self.response_body_buf.clear()
        yield from self.end_answer(already_streamed=False)
