"""Answers that the gateway gives itself, bodies that it changes, and how a call broke off."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mitmproxy import connection, http

from llmtrace.addons.connections import PROVIDER_IDLE
from llmtrace.addons.dialing import DESTINATION_FORBIDDEN, NAME_UNRESOLVED
from llmtrace.domain.traces import Outcome
from llmtrace.pipeline import Call, Refusal
from llmtrace.pipeline.usage_chunks import UsageChunkFilter

TRACE_HEADER: Final = "X-LLMTrace-Trace-ID"
DIGESTS: Final = ("content-md5", "digest", "content-digest", "repr-digest")
"""Headers that vouch for a body, and lie once it is another."""
_OF_BODY: Final = {name.encode() for name in ("content-encoding", "content-length", *DIGESTS)}

USUAL_RATIO: Final = 16
"""How much larger an answer may be once it is decoded: to guess what it costs to read it."""
UNANSWERED: Final = frozenset({Outcome.TIMEOUT, Outcome.BROKEN, Outcome.CONNECT_FAILED})
"""After these the client still waits for an answer, unless it has begun."""
BREAKAGES: Final = {
    "provider_idle": "the provider sent nothing for limits.upstream_idle_seconds",
    "client_left": "the client closed the connection",
    "answer_broke_off": "the provider broke the answer off, or sent what is no HTTP",
    "provider_unreachable": "no connection to the provider could be made",
    "provider_unresolved": "the name of the provider, or of upstream_proxy, has no address; see "
    "this machine's DNS",
    "destination_forbidden": "the provider's name leads to a local or private address; name the "
    "host in intercept.hosts or upstreams if you mean it",
    "upstream_proxy_refused": "upstream_proxy did not let the call through; see its address "
    "and its user name",
    "provider_tls_failed": "the TLS handshake with the provider failed",
    "provider_untrusted": "the provider's certificate is another's, or of a CA that is not "
    "trusted; where a proxy signs it anew, name that CA in upstream_ca",
    "answer_over_limit": "the provider's answer is over limits.answer_bytes; it was not held",
    "no_answer": "the provider closed the connection without an answer",
}
"""What is recorded of a breakage. mitmproxy's own words may quote what was sent."""
UNCONNECTED: Final = (
    (f"{NAME_UNRESOLVED}: ", "provider_unresolved"),
    (f"{DESTINATION_FORBIDDEN}: ", DESTINATION_FORBIDDEN),
    ("cannot connect to ", "provider_unreachable"),
    ("refused http connect request", "upstream_proxy_refused"),
    ("certificate verify failed", "provider_untrusted"),
    ("tls", "provider_tls_failed"),
    ("ssl", "provider_tls_failed"),
)
"""Words of a connection's error, in lower case → what is recorded; the first that fit count."""


def refuse(flow: http.HTTPFlow, refusal: Refusal, trace_id: str) -> None:
    """Answer a request with a refusal."""
    headers = {"content-type": "application/json", **refusal.headers}
    if trace_id:
        headers[TRACE_HEADER] = trace_id
    flow.response = http.Response.make(refusal.status, refusal.body, headers)


def in_place(
    call: Call, status: int, code: str, message: str, *, final: bool = True
) -> http.Response:
    """Return a refusal in place of a call's answer, which its trace has the status of.

    ``final`` tells SDKs not to ask again.
    """
    call.status = status
    body = call.dialect.refusal(status=status, code=code, message=message)
    headers = {"content-type": "application/json", TRACE_HEADER: call.id}
    retry = {"x-should-retry": "false"} if final else {}
    return http.Response.make(status, body, {**headers, **retry})


def reading_size(response: http.Response) -> int:
    """Guess how many bytes there are to read in a whole answer, once it is decoded."""
    ratio = USUAL_RATIO if response.headers.get("content-encoding") else 1
    return len(response.raw_content or b"") * ratio


def plain(status: int, message: str) -> http.Response:
    """Return an answer in plain text, for calls of no dialect."""
    return http.Response.make(status, f"{message}\n", {"content-type": "text/plain"})


def asks_for_websocket(flow: http.HTTPFlow) -> bool:
    """Whether a request would have its connection carry messages from then on.

    One with a body is none, whatever it says: a provider may ignore the offer and read the body.
    """
    request = flow.request
    upgrade: str = request.headers.get("upgrade", "")
    return upgrade.strip().lower() == "websocket" and not request.raw_content


def replace_body(message: http.Message, body: bytes) -> None:
    """Put another body in a message's place, uncoded."""
    headers = message.headers
    fields = [field for field in headers.fields if field[0].lower() not in _OF_BODY]
    if "transfer-encoding" not in headers:
        fields.append((b"content-length", b"%d" % len(body)))
    headers.fields = tuple(fields)
    message.raw_content = body


def add_headers(message: http.Message, added: Mapping[str, str]) -> None:
    """Set headers, all in one pass."""
    new = [(name.encode(), value.encode()) for name, value in added.items()]
    names = {name.lower() for name, _ in new}
    old = (field for field in message.headers.fields if field[0].lower() not in names)
    message.headers.fields = (*old, *new)


def send_on(request: http.Request, call: Call) -> None:
    """Put what is to go on of a request in the place of what came, where that differs."""
    if call.forward is not None:
        replace_body(request, call.forward)
    if call.drops_usage:
        request.headers["accept-encoding"] = "identity"  # what is coded cannot be cut


def leave_size_open(flow: http.HTTPFlow) -> None:
    """Announce an answer that may come to be of another length, and in no coding.

    Over HTTP/1.1 it comes in chunks: else it would end where its connection does, and who reads it
    could not tell an end from a break.
    """
    response = flow.response
    if response is None:
        return
    headers = response.headers
    for header in ("content-encoding", "content-length", *DIGESTS):
        if header in headers:
            del headers[header]
    is_http1 = response.http_version == flow.request.http_version == "HTTP/1.1"
    if is_http1 and "transfer-encoding" not in headers:
        headers["transfer-encoding"] = "chunked"


def usage_filter(flow: http.HTTPFlow, call: Call) -> UsageChunkFilter | None:
    """Return what takes the usage out of an answer that the client did not ask for, else None.

    None too where the provider codes its answer although it was asked not to: such an answer goes
    on as it is.
    """
    response = flow.response
    if not call.drops_usage or response is None:
        return None
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if media_type != "text/event-stream" or coding != "identity":
        return None
    leave_size_open(flow)
    return UsageChunkFilter()


def without_empty_chunks(stream: Callable[[bytes], bytes]) -> Callable[[bytes], Sequence[bytes]]:
    """Let a stream callable that has nothing to say say nothing.

    An empty chunk is the end of a chunked answer.
    """

    def run(chunk: bytes) -> Sequence[bytes]:
        out = stream(chunk)
        return [out] if out else []

    return run


def _has_left(client: connection.Client) -> bool:
    return client.state is connection.ConnectionState.CLOSED


def status_of(outcome: Outcome, code: str) -> int:
    """Return the status of what is answered where the provider gave no answer."""
    if code == DESTINATION_FORBIDDEN:
        return 403
    return 504 if outcome is Outcome.TIMEOUT else 502


def breakage(flow: http.HTTPFlow) -> tuple[Outcome, str]:
    """Tell from the flow who broke it off, and whether the provider had been reached."""
    message = flow.error.msg.lower() if flow.error else ""
    if flow.server_conn.error == PROVIDER_IDLE:
        return Outcome.TIMEOUT, "provider_idle"
    if "by client" in message or "client disconnected" in message or _has_left(flow.client_conn):
        return Outcome.CLIENT_LEFT, "client_left"
    if flow.response is not None:
        return Outcome.BROKEN, "answer_broke_off"
    if not flow.server_conn.timestamp_tcp_setup:
        return Outcome.CONNECT_FAILED, _unconnected(message)
    return Outcome.BROKEN, "no_answer"


def _unconnected(error: str) -> str:
    """Tell why a connection failed; a flow does not get to know one that never was."""
    return next((code for words, code in UNCONNECTED if words in error), "provider_unreachable")
