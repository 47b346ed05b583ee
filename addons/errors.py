"""Answers in the client's dialect when a provider gives none, and tells who else answered.

mitmproxy answers with a page of HTML, which no SDK shows to a person.
"""

from dataclasses import dataclass
from typing import Final

from mitmproxy import http
from mitmproxy.proxy.events import Event
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)

from llmtrace.addons.abort import AbortableHttpStream
from llmtrace.addons.pacing import Waits

INSTEAD: Final = "llmtrace.instead"
REFUSED: Final = "llmtrace.refused"
SENT: Final = "llmtrace.sent"
LAST_BYTE: Final = "llmtrace.last_byte"


@dataclass
class RequestRefused(RequestProtocolError):
    """A protocol layer has answered a request itself, with this status, by this limit."""

    code: ErrorCode = ErrorCode.GENERIC_CLIENT_ERROR
    status: int = 400
    limit: str = ""


def refused_below(flow: http.HTTPFlow) -> RequestRefused | None:
    """Return how a protocol layer refused a flow's request, None if none did."""
    refused = flow.metadata.get(REFUSED)
    return refused if isinstance(refused, RequestRefused) else None


def was_sent(flow: http.HTTPFlow) -> bool:
    """Whether any of a flow's request went to the provider."""
    return bool(flow.metadata.get(SENT))


def has_no_body(flow: http.HTTPFlow) -> bool:
    """Whether an answer ends with its head, whatever that says (RFC 9110 §6.4.1)."""
    status = flow.response.status_code if flow.response else 0
    return flow.request.method == "HEAD" or status in (204, 304)


def answer_instead(flow: http.HTTPFlow, response: http.Response) -> None:
    """Have a flow that failed answered with ``response``; to be called in the ``error`` hook.

    Where the client has seen the head of an answer already, nothing can be said instead.
    """
    flow.metadata[INSTEAD] = response


def hold_last_byte(flow: http.HTTPFlow, chunk: bytes) -> bytes:
    """Return a streamed answer's last chunk less its last byte, sent after the ``response`` hook.

    Where an answer has a length, its last byte is its end: nothing may be pending by then.
    """
    flow.metadata[LAST_BYTE] = chunk[-1:]
    return chunk[:-1]


class ShapedHttpStream(AbortableHttpStream):
    """mitmproxy's stream of one request and answer, whose failures have a shape of ours."""

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> CommandGenerator[None]:
        """Tell both sides of a failure."""
        self._note_refusal(event)
        waiting = (self.state_wait_for_response_headers, self.state_consume_response_body)
        failing = super().handle_protocol_error(event)
        if self.server_state in waiting:
            yield from self._shaped(failing)
        else:
            yield from failing

    def check_invalid(self, request: bool) -> CommandGenerator[bool]:
        """Refuse a head that means different things to different servers."""
        return (yield from self._shaped(super().check_invalid(request)))

    def _shaped[T](self, failing: CommandGenerator[T]) -> CommandGenerator[T]:
        """Put our answer, if there is one, in the place of the error that the client is sent."""
        while True:
            try:
                command = next(failing)
            except StopIteration as end:
                result: T = end.value
                return result
            instead = self.flow.metadata.get(INSTEAD)
            to_client = isinstance(command, SendHttp) and isinstance(
                command.event, ResponseProtocolError
            )
            if to_client and isinstance(instead, http.Response):
                yield from self._answer(instead)
            else:
                yield command

    def send_response(self, already_streamed: bool = False) -> CommandGenerator[None]:
        """End an answer, with the byte that was held back; without a body, where none may be.

        What a provider adds to such an answer would be read as the beginning of the next one.
        """
        for command in super().send_response(already_streamed):
            said = command.event if isinstance(command, SendHttp) else None
            ends = isinstance(said, ResponseEndOfMessage)
            if ends and (last := self.flow.metadata.pop(LAST_BYTE, b"")):
                yield SendHttp(ResponseData(self.stream_id, last), self.context.client)
            if not (isinstance(said, ResponseData) and has_no_body(self.flow)):
                yield command

    def check_killed(self, emit_error_hook: bool) -> CommandGenerator[bool]:
        """Tell whether the request was given up while a hook ran."""
        for event in self._paused_event_queue:
            self._note_refusal(event)
        return (yield from super().check_killed(emit_error_hook))

    def make_server_connection(self) -> CommandGenerator[bool]:
        """Find a connection for the request, which is sent on it at once."""
        yield Waits(self, begins=True)
        found = yield from super().make_server_connection()
        yield Waits(self, begins=False)
        self.flow.metadata[SENT] = found
        return found

    def _note_refusal(self, event: Event) -> None:
        if isinstance(event, RequestRefused):
            self.flow.metadata[REFUSED] = event

    def _answer(self, response: http.Response) -> CommandGenerator[None]:
        client = self.context.client
        self.flow.response = response
        yield SendHttp(ResponseHeaders(self.stream_id, response), client)
        if not has_no_body(self.flow):
            yield SendHttp(ResponseData(self.stream_id, response.raw_content or b""), client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), client)
