"""Answers in the client's dialect when a provider gives none.

mitmproxy answers with a page of HTML, which no SDK shows to a person.
"""

from typing import Final

from mitmproxy import http
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import SendHttp
from mitmproxy.proxy.layers.http._events import (
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)

from llmtrace.addons.abort import AbortableHttpStream

INSTEAD: Final = "llmtrace.instead"


def answer_instead(flow: http.HTTPFlow, response: http.Response) -> None:
    """Have a flow that failed answered with ``response``; to be called in the ``error`` hook.

    Where the client has seen the head of an answer already, nothing can be said instead.
    """
    flow.metadata[INSTEAD] = response


class ShapedHttpStream(AbortableHttpStream):
    """mitmproxy's stream of one request and answer, whose failures have a shape of ours."""

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> CommandGenerator[None]:
        """Tell both sides of a failure."""
        silent = self.server_state == self.state_wait_for_response_headers
        for command in super().handle_protocol_error(event):
            instead = self.flow.metadata.get(INSTEAD)
            to_client = isinstance(command, SendHttp) and isinstance(
                command.event, ResponseProtocolError
            )
            if silent and to_client and isinstance(instead, http.Response):
                yield from self._answer(instead)
            else:
                yield command

    def _answer(self, response: http.Response) -> CommandGenerator[None]:
        client = self.context.client
        self.flow.response = response
        yield SendHttp(ResponseHeaders(self.stream_id, response), client)
        yield SendHttp(ResponseData(self.stream_id, response.raw_content or b""), client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), client)
