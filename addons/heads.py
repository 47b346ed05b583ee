"""What the pipeline is told of a request's head, and what of it does not go on."""

import time
from datetime import UTC, datetime
from typing import Final

from mitmproxy import http

from llmtrace.addons.destination import Destination
from llmtrace.addons.presenting import Shown
from llmtrace.pipeline import RequestHead

OWN_PREFIX: Final = b"x-llmtrace-"
PROVIDER_HEADER: Final = "x-llmtrace-provider"


def head_of(flow: http.HTTPFlow, where: Destination, shown: Shown) -> RequestHead:
    """Return a request's head; keys and proxy credentials were taken out of it (``shown``)."""
    peer = flow.client_conn.peername
    fields = flow.request.headers.fields
    return RequestHead(
        method=flow.request.method.upper(),
        host=where.host,
        port=where.port,
        path=where.path,
        query=where.target.partition("?")[2],
        target=flow.request.path,
        authority=flow.request.host_header or "",
        headers=tuple((_text(name), _text(value)) for name, value in fields),
        peer=peer[0] if peer else "",
        mode="reverse" if flow.client_conn.proxy_mode.type_name == "reverse" else "forward",
        started_at=datetime.fromtimestamp(flow.request.timestamp_start, UTC),
        started=time.monotonic() - max(0.0, time.time() - flow.request.timestamp_start),
        run=shown.login.user,
        keys=shown.keys,
        proxy_key=shown.login.key,
        provider_hint=flow.request.headers.get(PROVIDER_HEADER, "") or where.provider,
    )


def strip_own(flow: http.HTTPFlow) -> None:
    """Take out what is said to LLMTrace alone, in every spelling that a server may fold."""
    fields = flow.request.headers.fields
    kept = tuple(f for f in fields if not f[0].lower().replace(b"_", b"-").startswith(OWN_PREFIX))
    if len(kept) < len(fields):
        flow.request.headers.fields = kept


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
