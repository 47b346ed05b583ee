"""Turns mitmproxy's HTTP hooks into the stages of a call. The only class that touches a flow."""

from collections.abc import Callable, Sequence
from typing import Final

from mitmproxy import http

from llmtrace.addons.abort import abort_stream, is_cut
from llmtrace.addons.destination import Destination, folded
from llmtrace.addons.door import Door
from llmtrace.addons.errors import (
    answer_instead,
    has_no_body,
    hold_last_byte,
    refused_below,
    was_sent,
)
from llmtrace.addons.guard import guarded, guarded_stream, report
from llmtrace.addons.heads import head_of, strip_own
from llmtrace.addons.replies import (
    BREAKAGES,
    TRACE_HEADER,
    UNANSWERED,
    add_headers,
    asks_for_websocket,
    breakage,
    in_place,
    leave_size_open,
    plain,
    reading_size,
    refuse,
    replace_body,
    send_on,
    status_of,
    usage_filter,
    without_empty_chunks,
)
from llmtrace.addons.signing import TokenFilter, sign_anew, token_filter
from llmtrace.addons.uploads import NO_LIMIT, Passing, is_large_blob, is_large_upload
from llmtrace.domain.traces import NOT_SENT, Outcome
from llmtrace.pipeline import Call, Pipeline, Refusal
from llmtrace.pipeline.answer import AnswerTap
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.enforcement import FAULTS
from llmtrace.pipeline.gated import GatedTap, Whole
from llmtrace.pipeline.threads import is_cancelled, off_loop
from llmtrace.providers.generic import GenericDialect
from llmtrace.providers.registry import SESSIONS

CALL: Final = "llmtrace.call"
FAILED: Final = "llmtrace.failed"
CANARY_PATH: Final = "/.well-known/llmtrace-canary"
INTERNAL: Final = "LLMTrace could not judge this call because of a fault of its own; it refused it."
HOLD_SIZED_UP_TO: Final = 1 << 20
"""Sized answers that are no streams are held up to this, or ``answer_bytes``, and sent at once."""
STREAMING: Final = (
    "text/event-stream",
    "application/x-ndjson",
    "application/vnd.amazon.eventstream",
)


class Gateway:
    """Drives the pipeline from mitmproxy's hooks.

    mitmproxy logs what a hook raises and then forwards the message, so nothing may leave a
    hook of ours: each is guarded, and what fails inside is refused (or passes, if the
    configuration says so), and counted.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        destination: Callable[[http.HTTPFlow], Destination],
        reach: Callable[[http.HTTPFlow, Destination], None],
        counters: Counters,
        door: Door,
        body_bytes: int,
        upload_bytes: int,
        answer_bytes: int,
        fail_open: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._door = door
        self._destination = destination
        self._reach = reach
        self._counters = counters
        self._body_bytes = body_bytes
        self._upload_bytes = upload_bytes
        self._answer_bytes = answer_bytes
        self._fail_open = fail_open

    def body_limit(self, request: http.Request) -> int:
        """Return how many bytes a request's body may have: what passes unread is not held."""
        return request.stream.limit if isinstance(request.stream, Passing) else self._body_bytes

    # --- connect ----------------------------------------------------------------------------

    def _connect_failed(self, flow: http.HTTPFlow) -> None:
        self._count_fault("http_connect")
        flow.response = http.Response.make(503, INTERNAL)

    @guarded("http_connect", _connect_failed)
    async def http_connect(self, flow: http.HTTPFlow) -> None:
        """Remember whose tunnel it is, or ask for a key. The credentials end here."""
        self._door.connect(flow)

    # --- request ----------------------------------------------------------------------------

    def _request_failed(self, flow: http.HTTPFlow) -> None:
        """A fault of ours on the way to the provider: refuse, or pass unread and counted."""
        self._count_fault("request")
        if self._fail_open and self._door.may_pass(flow, known=_call(flow) is not None):
            strip_own(flow)
            return
        flow.metadata[FAILED] = True
        flow.request.stream = False  # an answer of ours comes after the request
        refusal = _shape(flow, 503, "internal_error", INTERNAL)
        flow.response = http.Response.make(503, refusal, {"content-type": "application/json"})

    @guarded("requestheaders", _request_failed)
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Say who calls whom, and refuse what the head alone forbids."""
        if flow.response or flow.error or not flow.live:
            return
        shown = self._door.enter(flow)
        if flow.response:
            return
        where = self._destination(flow)
        if where.kind == "refused":
            self._counters.count("destination_refused", where.reason.partition(":")[0])
            flow.response = plain(403, f"LLMTrace refused this destination: {where.reason}")
            return
        if where.kind == "other":
            self._counters.count("unread_requests")
            strip_own(flow)
            flow.request.stream = Passing(limit=NO_LIMIT)
            return
        if where.path == CANARY_PATH:
            flow.response = http.Response.make(200, b"llmtrace\n", {"content-type": "text/plain"})
            return
        head = head_of(flow, where, shown)
        strip_own(flow)
        if not flow.request.is_http2:
            flow.request.authority = ""  # the origin form of a target, whichever the client wrote
        self._reach(flow, where)
        call = self._pipeline.identify(head)
        if isinstance(call, Refusal):
            refuse(flow, call, "")
            return
        flow.metadata[CALL] = call
        await self._maybe_upload(flow, call)

    async def _maybe_upload(self, flow: http.HTTPFlow, call: Call) -> None:
        """Let a file too large to be held pass while it comes, unread and counted as such."""
        request, most = flow.request, self._body_bytes
        if is_large_upload(request, most):
            limit = self._upload_bytes
        elif is_large_blob(request, call.route.provider, most):
            limit = NO_LIMIT
        else:
            return
        request.stream = Passing(limit=limit, passed=lambda size: call.more_gap("upload", size))
        if refused := await self._pipeline.pass_unread(call):
            request.stream = False
            refuse(flow, refused, call.id)

    @guarded("request", _request_failed)
    async def request(self, flow: http.HTTPFlow) -> None:
        """Read the request; refuse it, or let the client's own bytes go on."""
        call = _call(flow)
        if call is None or flow.response or flow.error or not flow.live or flow.request.stream:
            return
        if asks_for_websocket(flow):
            if call.route.dialect in SESSIONS:  # its calls are the messages to come
                refusal = await self._pipeline.open_session(call)
            else:
                refusal = await self._pipeline.pass_unread(call)
            if refusal:
                refuse(flow, refusal, call.id)
            return
        refusal = await self._pipeline.inspect(call, flow.request.raw_content or b"")
        if refusal:
            refuse(flow, refusal, call.id)
            return
        send_on(flow.request, call)
        if await sign_anew(flow.request, call):
            self._counters.count("resigned_requests")

    # --- answer -----------------------------------------------------------------------------

    def _answer_failed(self, flow: http.HTTPFlow) -> None:
        """A fault of ours in the answer's head: it is held and refused whole, or passes."""
        self._count_fault("responseheaders")
        call = _call(flow)
        if call:
            call.gap("internal_error", 1)
        if not self._fail_open and flow.response:
            flow.metadata[FAILED] = True
            flow.response.stream = False

    @guarded("responseheaders", _answer_failed)
    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Attach what reads the answer while it passes."""
        call, response = _call(flow), flow.response
        if response is None or response.status_code == 101:
            return
        bodiless = has_no_body(flow)  # such an answer is held, for its head is its end
        if call is None:
            response.stream = not bodiless  # nobody reads it
            return
        if call.ended:
            return
        headers = folded(response.headers)
        add_headers(response, {TRACE_HEADER: call.id, **call.answer_headers})
        if bodiless:
            headers.pop("content-encoding", None)
        tap = self._pipeline.answer(call, status=response.status_code, headers=headers)
        if bodiless:
            return
        if isinstance(tap, GatedTap):
            if tap.streams:
                response.stream = self._gated(flow, call, tap)
            return
        length = headers.get("content-length", "")
        sized = int(length) if length.isdigit() else None
        held = min(HOLD_SIZED_UP_TO, self._answer_bytes)
        if hides := token_filter(response, call):
            leave_size_open(flow)
            response.stream = self._stream(flow, call, tap, sized, hides)
        elif tap.media_type in STREAMING or sized is None or sized > held:
            response.stream = self._stream(flow, call, tap, sized)

    def _stream(
        self,
        flow: http.HTTPFlow,
        call: Call,
        tap: AnswerTap,
        sized: int | None,
        hides: TokenFilter | None = None,
    ) -> Callable[[bytes], bytes | Sequence[bytes]]:
        cut = hides or usage_filter(flow, call)

        def pass_on(chunk: bytes) -> bytes:
            if chunk:
                tap.receive(chunk)
                if tap.received == sized and cut is None:  # the last byte is the end
                    return hold_last_byte(flow, chunk)
            return cut.next(chunk) if cut else chunk

        def rescue(chunk: bytes) -> bytes:
            self._count_fault("stream")
            call.gap("internal_error", len(chunk) or 1)
            if self._fail_open:
                return chunk
            abort_stream(flow)
            return call.dialect.stream_error(code="internal_error", message=INTERNAL)

        passing = guarded_stream("stream", pass_on, rescue)
        return without_empty_chunks(passing) if cut else passing

    def _gated(
        self, flow: http.HTTPFlow, call: Call, tap: GatedTap
    ) -> Callable[[bytes], Sequence[bytes]]:
        """Let through what the gate lets through: another length, and no coding."""
        leave_size_open(flow)
        cut = usage_filter(flow, call)

        def pass_on(chunk: bytes) -> bytes:
            out = tap.receive(chunk) if chunk else tap.end()
            if tap.blocked is not None and chunk:
                abort_stream(flow)
            return out

        def rescue(chunk: bytes) -> bytes:
            self._count_fault("stream")
            call.gap("internal_error", len(chunk) or 1)
            if self._fail_open:
                return tap.let_go()
            if chunk:
                abort_stream(flow)
            return tap.give_up("internal_error", INTERNAL)

        judged = guarded_stream("stream", pass_on, rescue)

        def uncut(chunk: bytes) -> bytes:
            out = judged(chunk)
            if cut:
                out = cut.receive(out) + (cut.close() if not chunk or tap.blocked else b"")
            return out

        return without_empty_chunks(uncut)

    async def _whole(self, flow: http.HTTPFlow, call: Call, tap: GatedTap) -> None:
        """Judge an answer that came whole; put in its place what may go on."""
        response = flow.response
        if response is None:
            return
        content = response.raw_content or b""
        try:
            if is_cut(flow):
                whole = tap.too_long()
            else:
                size = reading_size(response)
                whole = await off_loop(size, tap.whole, content) if content else Whole(content)
        except FAULTS as error:
            if is_cancelled():
                raise
            report("response", error)
            self._whole_failed(flow, call, tap, content)
            return
        if whole.blocked is not None:
            headers = {"content-type": "application/json", "x-should-retry": "false"}
            flow.response = http.Response.make(400, whole.body, {**headers, TRACE_HEADER: call.id})
            call.status = 400
        elif whole.body != content:
            replace_body(response, whole.body)

    def _whole_failed(self, flow: http.HTTPFlow, call: Call, tap: GatedTap, content: bytes) -> None:
        """A fault of ours in judging a whole answer: refuse it, or let it go unread and counted."""
        self._count_fault("response")
        call.gap("internal_error", len(content) or 1)
        if self._fail_open:
            tap.let_go_whole(content)
            return
        tap.give_up("internal_error", INTERNAL)
        flow.response = in_place(call, 503, "internal_error", INTERNAL)

    async def _give_up(self, flow: http.HTTPFlow, call: Call, status: int, code: str) -> None:
        """Refuse an answer that nobody read, and record it as that."""
        message = BREAKAGES.get(code, INTERNAL)
        flow.response = in_place(call, status, code, message)
        await self._pipeline.finish(call, outcome=Outcome.BROKEN, code=code, message=message)

    def _end_failed(self, flow: http.HTTPFlow) -> None:
        """A fault of ours at the answer's end; it could not be recorded."""
        self._count_fault("response")
        if not self._fail_open and flow.response and not flow.response.stream:
            body = _shape(flow, 503, "internal_error", INTERNAL)
            flow.response = http.Response.make(503, body, {"content-type": "application/json"})

    @guarded("response", _end_failed)
    async def response(self, flow: http.HTTPFlow) -> None:
        """The answer is here: record it before its end goes to the client."""
        call = _call(flow)
        if call is None or flow.response is None:
            return
        if flow.response.status_code == 101:
            if flow.websocket is None:  # mitmproxy closes the connection
                await self._pipeline.finish(call, outcome=Outcome.BROKEN, code="answer_broke_off")
            return
        if flow.metadata.get(FAILED):
            await self._give_up(flow, call, 503, "internal_error")
            return
        if is_cut(flow) and not isinstance(call.tap, GatedTap) and not has_no_body(flow):
            call.gap("answer_over_limit", self._answer_bytes)
            await self._give_up(flow, call, 502, "answer_over_limit")
            return
        if isinstance(call.tap, GatedTap):
            if not call.tap.streams:
                await self._whole(flow, call, call.tap)
        elif call.tap and not flow.response.stream:
            content = flow.response.raw_content or b""
            await off_loop(reading_size(flow.response), call.tap.receive, content)
        await self._pipeline.finish(call)

    def _error_failed(self, flow: http.HTTPFlow) -> None:
        self._count_fault("error")

    @guarded("error", _error_failed)
    async def error(self, flow: http.HTTPFlow) -> None:
        """The call broke off: record how far it came."""
        call = _call(flow)
        if call is None or flow.error is None:
            return
        if refusal := refused_below(flow):
            await self._pipeline.refuse(call, refusal.status, refusal.limit, refusal.message)
            return
        outcome, code = breakage(flow)
        if not was_sent(flow):
            call.note(NOT_SENT, "true")
        if outcome in UNANSWERED:
            said, status = f"LLMTrace: {BREAKAGES[code]}", status_of(outcome, code)
            answer_instead(flow, in_place(call, status, code, said, final=False))
        await self._pipeline.finish(call, outcome=outcome, code=code, message=BREAKAGES[code])

    def _count_fault(self, hook: str) -> None:
        self._counters.count("fail_open" if self._fail_open else "fail_closed", hook)


def _call(flow: http.HTTPFlow) -> Call | None:
    call = flow.metadata.get(CALL)
    return call if isinstance(call, Call) else None


def _shape(flow: http.HTTPFlow, status: int, code: str, message: str) -> bytes:
    call = _call(flow)
    dialect = call.dialect if call else GenericDialect()
    return dialect.refusal(status=status, code=code, message=message)
