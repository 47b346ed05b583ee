"""HTTP/2 towards clients, bounded: cancelled streams, control frames, bodies, unsent answers."""

import time
from collections import Counter, deque
from typing import ClassVar, Final

import h2.config
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from llmtrace.addons.errors import RequestRefused
from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.hardening.heads import inspect_fields
from llmtrace.addons.hardening.refusals import Refusal, refusal_body, refusal_headers

WINDOW_SECONDS: Final = 60.0
RECHECK_SECONDS: Final = 5.0
LINGER_SECONDS: Final = 1.0
"""How long at least a client may go on to send what was refused, and is dropped. A stream that is
reset with its answer loses it: libcurl that still sends looks at the reset alone."""
FRAME_HEADER_BYTES: Final = 9
_CONTROL: Final = (
    h2.events.PingReceived,
    h2.events.RemoteSettingsChanged,
    h2.events.SettingsAcknowledged,
    h2.events.PriorityUpdated,
    h2.events.UnknownFrameReceived,
)


class Rate:
    """Counts what happened in the last minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: deque[float] = deque(maxlen=most + 1)

    def exceeded(self, now: float) -> bool:
        """Note one more at ``now`` (seconds), and tell whether that is too many in a minute."""
        self._times.append(now)
        return len(self._times) > self._most and now - self._times[0] < WINDOW_SECONDS


def _says_nothing(event: h2.events.Event) -> bool:
    """Whether an event is of a frame without any part of a request."""
    if isinstance(event, h2.events.DataReceived):
        return not event.data and event.stream_ended is None
    return isinstance(event, _CONTROL)


class CalmH2Connection(BufferedH2Connection):
    """A server's HTTP/2 state that drops what was cancelled in the same breath.

    A client that sends HEADERS and RST_STREAM together would else cost a provider call for
    each pair (the "rapid reset" attack); such streams never reach the layer above.
    """

    def __init__(self, config: h2.config.H2Configuration, guards: Guards) -> None:
        super().__init__(config)
        limits = guards.limits
        self.local_settings.max_concurrent_streams = limits.h2_streams
        self.local_settings.acknowledge()
        self.unsent: Counter[int] = Counter()
        self._guards = guards
        self._resets = Rate(limits.h2_resets_per_minute)
        self._controls = Rate(limits.h2_control_frames_per_minute)

    def receive_data(self, data: bytes) -> list[h2.events.Event]:
        """Return what came, less what is cancelled already.

        Raises:
            DenialOfServiceError: The client cancels, or pings, too much.
            FrameTooLargeError: A frame begins that is longer than it may be.
        """
        received: list[h2.events.Event] = super().receive_data(data)
        self._check_frame_size()
        self._check_rates(received)
        cancelled = self._cancelled(received)
        return [e for e in received if not self._drop(e, cancelled)] if cancelled else received

    def _check_frame_size(self) -> None:
        """Refuse a frame by its header; h2 gathers up to 16 MiB of one before it does."""
        started = self.incoming_buffer._data[:FRAME_HEADER_BYTES]
        size = int.from_bytes(started[:3], "big")
        if len(started) == FRAME_HEADER_BYTES and size > self.max_inbound_frame_size:
            raise h2.exceptions.FrameTooLargeError(f"a frame of {size} bytes")

    def _check_rates(self, received: list[h2.events.Event]) -> None:
        now = time.monotonic()
        for event in received:
            if isinstance(event, h2.events.StreamReset) and self._resets.exceeded(now):
                limit = "h2_resets_per_minute"
            elif _says_nothing(event) and self._controls.exceeded(now):
                limit = "h2_control_frames_per_minute"
            else:
                continue
            self._guards.count(limit)
            raise h2.exceptions.DenialOfServiceError(f"over the limit {limit}")

    @staticmethod
    def _cancelled(received: list[h2.events.Event]) -> set[int]:
        begun = {e.stream_id for e in received if isinstance(e, h2.events.RequestReceived)}
        return begun & {e.stream_id for e in received if isinstance(e, h2.events.StreamReset)}

    def _drop(self, event: h2.events.Event, cancelled: set[int]) -> bool:
        stream_id = getattr(event, "stream_id", None)
        if stream_id not in cancelled:
            return False
        if isinstance(event, h2.events.DataReceived):
            self.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
        return True

    def send_data(
        self,
        stream_id: int,
        data: "bytes | memoryview[int]",  # quoted: not subscriptable before 3.14
        end_stream: bool = False,
        pad_length: None = None,
    ) -> None:
        """Send, or keep until the client's window opens, counting what is kept."""
        super().send_data(stream_id, bytes(data), end_stream, pad_length)
        if len(data) <= self.max_outbound_frame_size and self.stream_buffers.get(stream_id):
            self.unsent[stream_id] += len(data)

    def stream_window_updated(self, stream_id: int) -> bool:
        """Send what was kept for a stream, as far as its window goes."""
        sent = super().stream_window_updated(stream_id)
        kept = self.stream_buffers.get(stream_id)
        if kept:
            self.unsent[stream_id] = sum(len(chunk.data) for chunk in kept)
        else:
            self.unsent.pop(stream_id, None)
        return sent

    def reset_stream(self, stream_id: int, error_code: int = 0) -> None:
        """End a stream at once; what was kept for it is dropped."""
        self.unsent.pop(stream_id, None)
        super().reset_stream(stream_id, error_code)


class StrictHttp2Server(_http2.Http2Server):
    """mitmproxy's HTTP/2 side towards clients, with every buffer and wait bounded."""

    guards: ClassVar[Guards]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.h2_conn = CalmH2Connection(self.h2_conf, self.guards)
        self._bodies: dict[int, _Body] = {}
        self._refused: dict[int, float] = {}  # answered before its body had ended, and when
        self._timer: commands.RequestWakeup | None = None

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.Wakeup):
            yield from self._on_wakeup()
            return
        if isinstance(event, ResponseProtocolError) and event.stream_id in self._refused:
            return  # it has its answer, and is reset later
        yield from super()._handle_event(event)
        if isinstance(event, ResponseData):
            yield from self._check_unsent(event.stream_id)
        elif (self._bodies or self._refused) and not self._timer:
            yield from self._arm()

    def _check_unsent(self, stream_id: int) -> CommandGenerator[None]:
        unsent = self.h2_conn.unsent  # type: ignore[attr-defined]  # ours, set in __init__
        if unsent and unsent[stream_id] > self.guards.limits.h2_unsent_bytes:
            self.guards.count("h2_unsent_bytes")
            self.h2_conn.reset_stream(stream_id, ErrorCodes.CANCEL)
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())
            text = "the client does not read"
            yield from self._tell(RequestProtocolError(stream_id, text, ErrorCode.CANCEL))

    def _tell(self, error: RequestProtocolError) -> CommandGenerator[None]:
        self._bodies.pop(error.stream_id, None)
        if self.streams.pop(error.stream_id, None):
            yield ReceiveHttp(error)

    def _arm(self) -> CommandGenerator[None]:
        seconds = LINGER_SECONDS if self._refused else RECHECK_SECONDS
        self._timer = commands.RequestWakeup(min(self.guards.limits.body_seconds, seconds))
        yield self._timer

    def _on_wakeup(self) -> CommandGenerator[None]:
        self._timer = None
        now = time.monotonic()
        limits = self.guards.limits
        for stream_id, body in list(self._bodies.items()):
            if now - body.since > limits.body_seconds + body.size / limits.body_bytes_per_second:
                text = "the request's body came too slowly"
                refusal = Refusal(status=408, limit="body_seconds", message=text)
                yield from self._refuse(stream_id, refusal)
        for stream_id, since in list(self._refused.items()):
            if now - since >= LINGER_SECONDS:
                del self._refused[stream_id]
                self._reset(stream_id)
        yield commands.SendData(self.conn, self.h2_conn.data_to_send())
        if self._bodies or self._refused:
            yield from self._arm()

    def _reset(self, stream_id: int) -> None:
        if not self.is_closed(stream_id):
            self.h2_conn.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _refuse(self, stream_id: int, refusal: Refusal) -> CommandGenerator[None]:
        """Answer one stream in place of the layer above, and tell that layer."""
        self.guards.count(refusal.limit)
        if self.is_open_for_us(stream_id) and not self._is_answered(stream_id):
            body = refusal_body(refusal)
            head = [(b":status", b"%d" % refusal.status), *refusal_headers(body)]
            self.h2_conn.send_headers(stream_id, head)
            self.h2_conn.send_data(stream_id, body, end_stream=True)
            self._refused[stream_id] = time.monotonic()
        else:
            self._reset(stream_id)
        refused = RequestRefused(
            stream_id, refusal.message, status=refusal.status, limit=refusal.limit
        )
        yield from self._tell(refused)

    def _is_answered(self, stream_id: int) -> bool:
        return bool(self.h2_conn.streams[stream_id].state_machine.headers_sent)

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        """Handle one event; True stops the rest of its batch."""
        if isinstance(event, h2.exceptions.DenialOfServiceError):
            text = f"HTTP/2 protocol error: {event}"
            yield from self.protocol_error(text, ErrorCodes.ENHANCE_YOUR_CALM)
            return True
        if isinstance(event, h2.events.RequestReceived):
            return (yield from self._on_request(event))
        if isinstance(event, h2.events.TrailersReceived):
            yield from self._refuse(event.stream_id, _TRAILERS)
            return False
        if isinstance(event, h2.events.DataReceived) and event.stream_id in self._bodies:
            body = self._bodies[event.stream_id]
            body.size += len(event.data or b"")
            if body.size > body.limit:
                yield from self._refuse(event.stream_id, _too_large(body.limit))
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self._bodies.pop(event.stream_id, None)
            self._refused.pop(event.stream_id, None)
        return (yield from super().handle_h2_event(event))

    def _on_request(self, event: h2.events.RequestReceived) -> CommandGenerator[bool]:
        headers = event.headers or []
        if (b":method", b"CONNECT") in headers:
            # WebSocket over HTTP/2 (RFC 8441) cannot be carried: say so at once, in the one way
            # that makes clients come back over HTTP/1.1 (RFC 9113 §7).
            self.guards.count("h2_connect")
            self.h2_conn.reset_stream(event.stream_id, ErrorCodes.HTTP_1_1_REQUIRED)
            return False
        if len(headers) > self.guards.limits.header_count:
            text = f"the request has over {self.guards.limits.header_count} headers"
            refusal = Refusal(status=431, limit="header_count", message=text)
            yield from self._refuse(event.stream_id, refusal)
            return False
        if malformed := inspect_fields(headers):
            yield from self._refuse(event.stream_id, malformed)
            return False
        for command in super().handle_h2_event(event):
            yield command
            if isinstance(command, ReceiveHttp) and isinstance(command.event, RequestHeaders):
                yield from self._expect_body(command.event)
        return event.stream_id not in self.streams and self._handle_event == self.done

    def _expect_body(self, event: RequestHeaders) -> CommandGenerator[None]:
        if event.end_stream:
            return
        limit = self.guards.body_bytes(event.request)
        self._bodies[event.stream_id] = _Body(limit)
        declared = event.request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:19]) > limit:
            yield from self._refuse(event.stream_id, _too_large(limit))


class _Body:
    """A request's body that has not ended: its size so far, and since when it comes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.since = time.monotonic()


_TRAILERS: Final = Refusal(
    status=400, limit="malformed_request", message="the request's body has trailers"
)


def _too_large(limit: int) -> Refusal:
    text = f"the request's body is over {limit} bytes"
    return Refusal(status=413, limit="body_bytes", message=text)
