"""What a request's head tells of it, and what is answered to one that cannot be read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import Body
from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import Credentials, TooManyCredentials
from llmtrace.pipeline.identity import BadIdentity, Caller
from llmtrace.pipeline.keyring import (
    KeyConflict,
    KeyExpired,
    KeyForbids,
    KeyMissing,
    KeyRevoked,
    KeysUnavailable,
    KeyUnknown,
    TwoKeys,
)
from llmtrace.providers.base import Json, Route, Target
from llmtrace.providers.decoding import BodyTooLarge, UndecodableBody
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.jsongate import BadJson, JsonLimits
from llmtrace.providers.openai_errors import encode
from llmtrace.providers.plans import plan_of
from llmtrace.providers.registry import dialect as dialect_named

MAX_NAME: Final = 1024
"""Characters of a model's name that are kept."""

FREE_FORM: Final = frozenset({"files", "images", "audio", "telemetry", "other", "models"})
"""Operations whose bodies need not be JSON."""
FAULTS: Final[Mapping[type[ValueError], tuple[int, str]]] = {
    BadIdentity: (400, "bad_identity"),
    KeyMissing: (401, "llmtrace_key_required"),
    KeyUnknown: (401, "llmtrace_key_unknown"),
    TwoKeys: (400, "bad_identity"),
    KeyExpired: (401, "llmtrace_key_expired"),
    KeyRevoked: (401, "llmtrace_key_revoked"),
    KeyForbids: (403, "llmtrace_key_role"),
    KeyConflict: (403, "identity_conflict"),
    KeysUnavailable: (503, "keys_unavailable"),
    BadJson: (400, "bad_json"),
    BodyTooLarge: (413, "body_too_large"),
    UndecodableBody: (415, "undecodable_body"),
    TooManyCredentials: (431, "too_many_credentials"),
}
"""Status and code of each reason not to read a request."""

ASKS_FOR_KEY: Final = {"www-authenticate": 'Bearer realm="LLMTrace"', "x-should-retry": "false"}
"""Headers of a 401 (RFC 9110 §15.5.2)."""


RECORD_ERROR: Final = (
    "LLMTrace cannot record this call now and is set to refuse what it cannot record."
)
NOTHING: Final[Mapping[str, Json]] = {}
DO_NOT_RETRY: Final = {"x-should-retry": "false"}
"""What makes SDKs stop, which else send most refusals three times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of a call is read and kept, in bytes."""

    decoded_bytes: int
    decoded_ratio: int
    answer_bytes: int
    frame_bytes: int
    json: JsonLimits


def believed(head: RequestHead, hosts: HostTable, trusts: Callable[[str], bool]) -> RequestHead:
    """Return a head without the name of a provider that its host is not, by who is not trusted.

    Prices go by the provider: who may name another pays what that one takes.
    """
    if not head.provider_hint or trusts(head.peer) or not hosts.is_shipped(head.host):
        return head
    if hosts.resolve_provider(head.provider_hint) == hosts.provider_of(head.host, head.port):
        return head
    return replace(head, provider_hint="")


def folded(head: RequestHead) -> tuple[dict[str, str], frozenset[str]]:
    """Return the first value of each header by lower-case name, and which came more than once."""
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in head.headers:
        name = name.lower()
        if name in headers:
            repeated.add(name)
        headers.setdefault(name, value)
    return headers, frozenset(repeated)


def new_call(
    head: RequestHead,
    headers: Mapping[str, str],
    caller: Caller,
    route: Route,
    credentials: Credentials,
) -> Call:
    """Begin a call, with what its head tells for a trace. ``headers`` are as of ``folded``."""
    known: dict[str, Any] = dict(  # noqa: C408  # fields by name, as a trace has them
        trace_id=new_trace_id(),
        started_at=head.started_at,
        tenant=caller.tenant,
        agent=caller.agent,
        key_id=caller.key_id,
        run=caller.run,
        session=caller.client.session,
        client=caller.client.program,
        client_version=caller.client.version,
        provider=route.provider,
        dialect=route.dialect,
        operation=route.operation,
        mode=head.mode,
        method=head.method,
        host=head.host,
        path=credentials.scrub(head.path),
        model=(route.model or named_model(head.query))[:MAX_NAME],
        plan=plan_of(head.host, head.path, headers),
    )
    return Call(
        head=head,
        known=known,
        credentials=credentials,
        dialect=dialect_named(route.dialect),
        route=route,
    )


def target_of(head: RequestHead, headers: Mapping[str, str]) -> Target:
    """Return where a request goes, as routes are told by."""
    return Target(
        method=head.method, host=head.host, port=head.port, path=head.path, headers=headers
    )


def named_model(query: str) -> str:
    """Return the model that a query names, as Realtime connections do."""
    if not query:
        return ""
    return next((value for name, value in parse_qsl(query) if name == "model"), "")


def is_coded(head: RequestHead) -> bool:
    """Whether the body may be much larger than its bytes."""
    return any(value.strip().lower() != "identity" for value in head.values("content-encoding"))


def fault(error: ValueError) -> tuple[int, str, str]:
    """Return status, code and message for a request that cannot be read."""
    status, code = FAULTS[type(error)]
    if isinstance(error, BadJson) and error.limit:
        code = "json_limits"
    return status, code, f"LLMTrace refused this request: {error}"


def noted(error: ValueError, counters: Counters) -> tuple[int, str, str]:
    """Return the same, and count the key of ``limits`` that was met, if it is one."""
    limit = "decoded_bytes" if isinstance(error, BodyTooLarge) else ""
    if isinstance(error, BadJson):
        limit = error.limit
    if limit:
        counters.count("limit_exceeded", limit)
    return fault(error)


def with_details(body: bytes, code: str, details: Mapping[str, Json]) -> bytes:
    """Return an error with further members: in its error object, or beside its message.

    Its code is among them where the dialect's shape has none.
    """
    if not details:
        return body
    document = orjson.loads(body)
    inner = document.get("error")
    error = inner if isinstance(inner, dict) else document
    error.update(details)
    error.setdefault("code", code)
    return encode(document)


def is_text(media_type: str) -> bool:
    """Whether a body of this type can say anything; without a type it can."""
    family = media_type.partition("/")[0]
    if family in ("image", "audio", "video", "font"):
        return False
    return media_type not in ("application/octet-stream", "application/zip", "application/pdf")


def scrubbed(call: Call, body: Body) -> Body:
    """Return a body without the credentials of its call."""
    content = call.credentials.scrub_bytes(body.content)
    return body if content is body.content else replace(body, content=content)
