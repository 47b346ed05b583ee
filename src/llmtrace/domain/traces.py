"""What is kept of a call: the trace, its spans and actions, and what it did not read."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Final

from llmtrace.domain.findings import Finding, Verdict
from llmtrace.domain.parts import Media
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.domain.values import dataclass

SPEED_MS: Final = 50.0
"""Shortest time from the first token to the end that tells how fast tokens came."""

NOT_SENT: Final = "not_sent"
"""Attribute of a call that ended before the provider was asked."""


class Outcome(StrEnum):
    """How a call ended."""

    PENDING = "pending"
    """Begun; its END record is not there yet."""
    OK = "ok"
    REFUSED = "refused"
    """By the gateway, before the provider was asked."""
    STOPPED = "stopped"
    """By the gateway, in the middle of the provider's answer or in its place."""
    PROVIDER_ERROR = "provider_error"
    """The provider answered with an error, whole or in mid-stream."""
    CONNECT_FAILED = "connect_failed"
    """The provider could not be reached: nothing was sent."""
    BROKEN = "broken"
    """The provider's answer broke off or could not be parsed."""
    CLIENT_LEFT = "client_left"
    INTERRUPTED = "interrupted"
    """The gateway ended before the call did."""
    TIMEOUT = "timeout"


class ActionType(StrEnum):
    """What kind of thing an agent did."""

    TOOL_CALL = "tool_call"
    SKILL_INVOCATION = "skill_invocation"
    COMMAND_EXECUTION = "command_execution"
    WEB_ACCESS = "web_access"
    FILE_ACCESS = "file_access"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAction:
    """A tool, skill, command, web page or file that an agent asked for in an answer."""

    action_type: ActionType
    name: str
    arguments: str = ""
    call_id: str = ""
    success: bool | None = None
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stage of a call. Times are in milliseconds; ``offset_ms`` counts from its start."""

    name: str
    offset_ms: float
    duration_ms: float
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Bytes of a call that nobody read, and why (``media``, ``unknown_route``, ``limit``…)."""

    reason: str
    size: int
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """How much text a channel had and how much of it every detector looked at, in UTF-8 bytes.

    ``channel`` is a role of the request or a kind of channel of the answer: ``request.user``,
    ``answer.text``.
    """

    channel: str
    seen: int
    scanned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a call was read. ``*_bytes`` as on the wire after content decoding."""

    request_bytes: int = 0
    answer_bytes: int = 0
    gaps: tuple[Gap, ...] = ()
    texts: tuple[Scanned, ...] = ()
    """What was looked into, by channel; none where detection is off."""

    @property
    def seen_bytes(self) -> int:
        """How much text there was, over all channels."""
        return sum(text.seen for text in self.texts)

    @property
    def scanned_bytes(self) -> int:
        """How much of it every detector looked at."""
        return sum(text.scanned for text in self.texts)

    @property
    def unread_bytes(self) -> int:
        """How much was not read, over all gaps."""
        return sum(gap.size for gap in self.gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWindow:
    """How much of a subscription is used up in one of its windows, as the provider says.

    ``name`` is the window: ``5h``, ``7d``. ``used`` is a share, 1 for all of it; None and empty
    texts say nothing. ``resets_at`` is when it begins anew (UTC).
    """

    name: str
    used: float | None = None
    resets_at: datetime | None = None
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One call as it is kept. Its id is the call's id.

    Bodies are not in it: they travel beside it (``Record``) and are stored by content.
    ``cost_nano_usd`` is None where no price is known: LLMTrace does not guess. With a ``plan``
    the call is under a subscription, and its cost what it would be at the provider's prices.
    """

    trace_id: str
    started_at: datetime
    tenant: str
    agent: str
    outcome: Outcome = Outcome.PENDING
    key_id: str = ""
    run: str = ""
    session: str = ""
    client: str = ""
    client_version: str = ""
    provider: str = ""
    dialect: str = ""
    operation: str = ""
    mode: str = ""
    method: str = ""
    host: str = ""
    path: str = ""
    model: str = ""
    model_answered: str = ""
    response_id: str = ""
    stream: bool = False
    status: int | None = None
    verdict: Verdict = Verdict.ALLOW
    error_code: str = ""
    error: str = ""
    usage: Usage = field(default_factory=Usage)
    usage_source: UsageSource = UsageSource.NONE
    service_tier: str = ""
    cost_nano_usd: int | None = None
    price_version: str = ""
    plan: str = ""
    plan_windows: tuple[PlanWindow, ...] = ()
    ttft_ms: float | None = None
    duration_ms: float | None = None
    stop_reason: str = ""
    conversation: str = ""
    parent_conversation: str = ""
    turn: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    media: tuple[Media, ...] = ()
    findings: tuple[Finding, ...] = ()
    actions: tuple[AgentAction, ...] = ()
    spans: tuple[Span, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens of a stream over the time after the first, None where it can't be told.

        What came within ``SPEED_MS`` of the first came at once: its speed is that of the loopback.
        """
        if (
            not self.stream
            or self.duration_ms is None
            or self.ttft_ms is None
            or not self.usage.output_tokens
        ):
            return None
        streamed = self.duration_ms - self.ttft_ms
        return self.usage.output_tokens * 1000 / streamed if streamed >= SPEED_MS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The bytes of a request or an answer after content decoding, and their media type."""

    content: bytes
    media_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What a search should find a call by: the texts that are new in it, and its answer's."""

    prompt: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A trace with what belongs to it, as it is handed to a store."""

    trace: Trace
    request: Body | None = None
    answer: Body | None = None
    texts: Texts = field(default_factory=Texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who pays."""

    id: str
    name: str
    created_at: datetime
    plan: str = ""
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """Something that a person or the gateway did to the gateway itself."""

    id: str
    tenant: str
    event_type: str
    actor: str
    resource: str
    timestamp: datetime
    data: Mapping[str, object] = field(default_factory=dict)
