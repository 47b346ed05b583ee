"""HTTP/1 on both sides, bounded: heads, bodies, pipelining, slowness, trailers, 1xx answers."""

import re
import time
from typing import ClassVar, Final

import h11
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    HttpEvent,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseHeaders,
    ResponseProtocolError,
)

from llmtrace.addons.errors import RequestRefused
from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.hardening.heads import inspect_head
from llmtrace.addons.hardening.refusals import Refusal, refusal_response

LINGER_SECONDS: Final = 1.0
"""How long bytes of a refused body are still taken, so that no reset overtakes the answer."""
RECHECK_SECONDS: Final = 5.0
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[ \r\n]")
_SWITCHES: Final = re.compile(rb"HTTP/1\.[01] 101[ \r\n]")
_BLANK_LINES: Final = re.compile(rb"(?:\r\n)+")
_HEAD_END: Final = re.compile(rb"\n\r?\n")


class TrailerlessReader(ChunkedReader):
    """Reads a chunked body and leaves its trailers out, saying that there were some.

    mitmproxy raises NotImplementedError on trailers, which leaves the client hanging.
    """

    trailers = False

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        """Return the next piece of the body, its end, or None where bytes are missing."""
        event: h11.Data | h11.EndOfMessage | None = super().__call__(buf)
        if isinstance(event, h11.EndOfMessage) and event.headers:
            self.trailers = True
            return h11.EndOfMessage()
        return event


def make_body_reader(expected_size: int | None) -> _http1.TBodyReader:
    """Return the reader for a body of this size; None means chunked, -1 until the end."""
    if expected_size is None:
        return TrailerlessReader()
    return _make_body_reader(expected_size)


_make_body_reader = _http1.make_body_reader


def drop_upgrade(request: http.Request) -> None:
    """Take an offer to speak another protocol out of a request, WebSocket excepted: it is ignored.

    Whatever would come after a 101 could not be read (RFC 9110 §7.8 lets a server ignore it). A
    WebSocket begins with a GET that has no body (RFC 6455 §4.1); what only looks like one is a call
    like any other.
    """
    offered = request.headers.get("upgrade", "").strip().lower()
    if not offered or (offered == "websocket" and begins_websocket(request)):
        return
    for name in ("upgrade", "http2-settings"):
        request.headers.pop(name, None)
    options = [o.strip() for o in request.headers.pop("connection", "").split(",")]
    if kept := [o for o in options if o.lower() not in ("", "upgrade", "http2-settings")]:
        request.headers["connection"] = ", ".join(kept)


def begins_websocket(request: http.Request) -> bool:
    """Whether a request that offers WebSocket has the form of a handshake."""
    bodiless = request.headers.get("content-length", "0").strip() == "0"
    return request.method == "GET" and bodiless and "transfer-encoding" not in request.headers


def framed(event: RequestHeaders) -> RequestHeaders:
    """Say in a head that came by HTTP/2 where its body ends; HTTP/1 has no other sign of it.

    Without it the provider would take the body for its next request.
    """
    headers = event.request.headers
    if event.end_stream or "content-length" in headers or "transfer-encoding" in headers:
        return event
    request = event.request.copy()
    if request.raw_content is None:  # it is passed on while it comes
        request.headers["transfer-encoding"] = "chunked"
    else:
        request.headers["content-length"] = str(len(request.raw_content))
    return RequestHeaders(event.stream_id, request, end_stream=False)


class StrictHttp1Server(_http1.Http1Server):
    """mitmproxy's HTTP/1 side towards clients, with every buffer and wait bounded."""

    guards: ClassVar[Guards]
    _timer: commands.RequestWakeup | None = None
    _since: float = 0.0
    """When the head or body that is being read began, on the monotonic clock; 0 if none is."""
    _received: int = 0
    _overrun: bool = False
    _announced: bool = False
    """Whether the stream above has been told of the request that is being read."""

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            yield from self._on_wakeup()
            return
        yield from super()._handle_event(event)
        yield from self._check()

    def _check(self) -> CommandGenerator[None]:
        if self.state == self.wait and len(self.buf) > self.guards.limits.pipelined_bytes:
            if not self._overrun:  # more may come before the connection is closed
                self.guards.count("pipelined_bytes")
            self._overrun = True
            yield commands.CloseConnection(self.conn)
            self.buf = ReceiveBuffer()
        elif not self._reading():
            self._since = 0.0
        elif not self._since:
            self._since = time.monotonic()
            if not self._timer:
                yield from self._arm(self._seconds())

    def _reading(self) -> bool:
        return self.state == self.read_body or (self.state == self.read_headers and bool(self.buf))

    def _seconds(self) -> float:
        """How long what is being read may take in all."""
        limits = self.guards.limits
        if self.state == self.read_headers:
            return limits.head_seconds
        return limits.body_seconds + self._received / limits.body_bytes_per_second

    def _arm(self, seconds: float) -> CommandGenerator[None]:
        self._timer = commands.RequestWakeup(max(seconds, 0.001))
        yield self._timer

    def _on_wakeup(self) -> CommandGenerator[None]:
        self._timer = None
        if self.state == self.linger:
            yield commands.CloseConnection(self.conn)
        elif self._since and self._reading():
            left = self._seconds() - (time.monotonic() - self._since)
            if left > 0:
                yield from self._arm(min(left, RECHECK_SECONDS))
                return
            head = self.state == self.read_headers
            what = "head_seconds" if head else "body_seconds"
            text = f"the request's {'head' if head else 'body'} came too slowly"
            yield from self._refuse(Refusal(status=408, limit=what, message=text))

    def _refuse(self, refusal: Refusal) -> CommandGenerator[None]:
        """Answer in place of the stream above, tell it, and end the connection."""
        self.guards.count(refusal.limit)
        announced, self._announced = self._announced, False
        self._since = 0.0
        if not self.response:
            yield commands.SendData(self.conn, refusal_response(refusal))
        self.state = self.linger
        self.buf = ReceiveBuffer()
        if announced:
            refused = RequestRefused(
                self.stream_id, refusal.message, status=refusal.status, limit=refusal.limit
            )
            yield ReceiveHttp(refused)
            yield from self._arm(LINGER_SECONDS)
        else:
            yield commands.CloseConnection(self.conn)

    def linger(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        """Discard what still comes on a refused connection."""
        self.buf = ReceiveBuffer()
        if isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.conn)

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        """Read a head once it is whole, and only if there is one way to read it."""
        if isinstance(event, events.DataReceived):
            data = bytes(self.buf)
            if data.startswith(b"\r\n"):  # RFC 9112 §2.2: empty lines before a request
                blank = _BLANK_LINES.match(data)
                self.buf.maybe_extract_at_most(blank.end() if blank else 0)
                data = bytes(self.buf)
            if refusal := inspect_head(data, self.guards.limits):
                yield from self._refuse(refusal)
                return
        for command in super().read_headers(event):
            if not (isinstance(command, ReceiveHttp) and isinstance(command.event, RequestHeaders)):
                yield command
                continue
            request = command.event.request
            drop_upgrade(request)
            self._announced = True
            yield command
            if refusal := self._too_large(int(request.headers.get("content-length", "0"))):
                yield from self._refuse(refusal)
                return

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        """Send a part of an answer; nothing more after a refusal."""
        if self.state == self.linger:
            return
        if isinstance(event, ResponseHeaders) and self.guards.draining:
            event.response.headers["connection"] = "close"
        yield from super().send(event)

    def _too_large(self, size: int) -> Refusal | None:
        limit = self.guards.body_bytes(self.request) if self.request else 0
        if size <= limit:
            return None
        text = f"the request's body is over {limit} bytes"
        return Refusal(status=413, limit="body_bytes", message=text)

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        """Pass a body on piece by piece, until it is too long or malformed."""
        for command in super().read_body(event):
            if isinstance(event, events.DataReceived) and not self.request_done:
                if isinstance(command, commands.CloseConnection):
                    continue  # the error that follows is answered first
                if isinstance(command, ReceiveHttp) and (refusal := self._judge(command.event)):
                    yield from self._refuse(refusal)
                    return
            yield command
        if self.state == self.read_body and len(self.buf) > self.guards.limits.head_bytes:
            yield from self._refuse(_MALFORMED_BODY)

    def _judge(self, event: HttpEvent) -> Refusal | None:
        if isinstance(event, RequestData):
            self._received += len(event.data)
            return self._too_large(self._received)
        trailers = isinstance(self.body_reader, TrailerlessReader) and self.body_reader.trailers
        if isinstance(event, RequestProtocolError) or (
            isinstance(event, RequestEndOfMessage) and trailers
        ):
            return _MALFORMED_BODY
        return None

    def mark_done(self, *, request: bool = False, response: bool = False) -> CommandGenerator[None]:
        """Note that one side of an exchange is complete."""
        if request:
            self._received, self._since = 0, 0.0
        yield from super().mark_done(request=request, response=response)


_MALFORMED_BODY: Final = Refusal(
    status=400,
    limit="malformed_request",
    message="the request's body is not framed as its head says, or has trailers",
)


class BoundedHttp1Client(_http1.Http1Client):
    """mitmproxy's HTTP/1 side towards providers, with its head bounded and 1xx answers skipped.

    mitmproxy takes a 103 for the answer itself and then drops the connection.
    """

    guards: ClassVar[Guards]
    _interim: int = 0

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        """Send a part of a request."""
        if isinstance(event, RequestHeaders) and event.request.is_http2:
            event = framed(event)
        yield from super().send(event)

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        """Read the head of the real answer."""
        if isinstance(event, events.DataReceived) and self.request:
            limit = self._skip_interim() or self._switches() or self._head_limit()
            if limit:
                yield from self._give_up(limit)
                return
        yield from super().read_headers(event)

    def _skip_interim(self) -> str:
        while _INTERIM.match(data := bytes(self.buf)) and (end := _HEAD_END.search(data)):
            self.buf.maybe_extract_at_most(end.end())
            self._interim += 1
            if self._interim > self.guards.limits.interim_responses:
                return "interim_responses"
        return ""

    def _switches(self) -> str:
        """Whether the provider speaks another protocol from here on, though nobody asked it to."""
        asked = self.request is not None and "upgrade" in self.request.headers
        return "" if asked or not _SWITCHES.match(bytes(self.buf)) else "unasked_upgrade"

    def _head_limit(self) -> str:
        limit = self.guards.limits.response_head_bytes
        if len(self.buf) <= limit:
            return ""
        return "" if _HEAD_END.search(bytes(self.buf), 0, limit) else "response_head_bytes"

    def _give_up(self, limit: str) -> CommandGenerator[None]:
        self.guards.count(limit)
        self.buf = ReceiveBuffer()
        yield commands.CloseConnection(self.conn)
        if self.stream_id is not None:
            text = f"the provider's answer exceeds the limit {limit}"
            code = ErrorCode.GENERIC_SERVER_ERROR
            yield ReceiveHttp(ResponseProtocolError(self.stream_id, text, code))

    def mark_done(self, *, request: bool = False, response: bool = False) -> CommandGenerator[None]:
        """Note that one side of an exchange is complete."""
        if response:
            self._interim = 0
        yield from super().mark_done(request=request, response=response)
