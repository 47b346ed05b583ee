"""What the runaway guard needs to know of a call: digests, and never a text."""

import hashlib
from typing import Final

from llmtrace.domain.parts import Role
from llmtrace.domain.values import dataclass
from llmtrace.limits.loops import NO_LOOP, Loop, loop_of, results_of
from llmtrace.providers.base import Json, RequestView

_FIRST, _LAST = 4, 24
"""Texts at the beginning and at the end of a request that are compared."""
_MOST: Final = 4_096
"""Texts of which the length is taken."""
_HALF: Final = 8_192
"""Letters at the beginning and at the end of each."""
_UNSPOKEN: Final = frozenset({Role.SYSTEM, Role.TOOL_DESCRIPTION})
"""Not compared: clients put the time and counters of their own there."""
_ABOUT: Final = frozenset(
    {
        "client_metadata",
        "labels",
        "metadata",
        "project",
        "prompt_cache_key",
        "safety_identifier",
        "session_id",
        "user",
        "user_prompt_id",
    }
)
"""Members that tell of the caller and the session, not of what is asked."""
_UNCOUNTED: Final = frozenset({"embeddings", "retrieve"})
"""Operations of which the same again is ordinary work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What the guard needs to know of a call that is about to be sent."""

    id: str
    tenant: str
    agent: str
    request: str = ""
    """Digest of what it says; empty where it is not compared."""
    conversation: str = ""
    loop: Loop = NO_LOOP
    previous: str = ""
    """The answer it goes on from, where the provider keeps the history."""
    results: str = ""
    """Digest of the tool results that it brings then."""


def call_facts(
    *,
    id: str,
    tenant: str,
    agent: str,
    view: RequestView,
    body: Json,
    conversation: str = "",
    operation: str = "",
) -> CallFacts:
    """Read what the guard needs to know of a request. Takes some 20 µs; keeps no text."""
    if not view.billable or not view.parts or operation in _UNCOUNTED:
        return CallFacts(id=id, tenant=tenant, agent=agent)
    previous = view.previous_response_id
    return CallFacts(
        id=id,
        tenant=tenant,
        agent=agent,
        request=_request_digest(view),
        conversation=conversation,
        loop=NO_LOOP if previous else loop_of(body),
        previous=previous,
        results=results_of(body) if previous else "",
    )


def _request_digest(view: RequestView) -> str:
    """Return a digest of what a request says, without what clients change each time.

    Long ones are told by their number of parts and letters, their beginning and their end.
    """
    parts = view.parts
    if len(parts) > _MOST:
        parts = (*parts[: _MOST // 2], *parts[-_MOST // 2 :])
    spoken = [
        part.text
        for part in parts
        if part.role not in _UNSPOKEN and _ABOUT.isdisjoint(part.path[:2])
    ]
    beyond = len(view.parts) - len(parts)
    pieces = [view.model, f"{beyond + len(spoken)} {sum(map(len, spoken))}"]
    for text in (*spoken[:_FIRST], *spoken[-_LAST:]):
        pieces += (text[:_HALF], text[-_HALF:]) if len(text) > 2 * _HALF else (text,)
    pieces += (media.sha256 or media.host or "" for media in view.media[-_LAST:])
    return hashlib.sha256("\0".join(pieces).encode("utf-8", "surrogatepass")).hexdigest()[:24]
