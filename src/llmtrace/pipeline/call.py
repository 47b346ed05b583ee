"""One call on its way: what is known of it so far, from its head to its END record."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Final

from llmtrace.domain.answers import AnswerEvent, TextDelta, ToolCallOpened
from llmtrace.domain.findings import Finding
from llmtrace.domain.traces import Body, Gap, Outcome, PlanWindow, Scanned, Span, Trace
from llmtrace.domain.values import dataclass
from llmtrace.limits.charging import Charge, Held
from llmtrace.pipeline.answer import AnswerTap, MessageTap
from llmtrace.pipeline.conversation import Thread
from llmtrace.pipeline.credentials import Credentials
from llmtrace.pipeline.gated import GatedTap
from llmtrace.providers.base import Dialect, Json, RequestView, Route
from llmtrace.providers.plans import plan_windows
from llmtrace.providers.sigv4 import Signing
from llmtrace.storage.deferred import Owed
from llmtrace.storage.keys import Presented

CONTENT: Final = (TextDelta, ToolCallOpened)


class FirstWord:
    """Listens to a stream for its first word or tool call.

    Not the call itself, which has what reads its answer: they would have each other, and wait for
    the garbage collector with all that they hold.
    """

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: float | None = None
        """When it was there (monotonic, seconds)."""

    def hear(self, events: Sequence[AnswerEvent]) -> None:
        """Note when the answer first says something."""
        if self.at is None and any(isinstance(e, CONTENT) for e in events):
            self.at = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request without its body, as the gateway received it.

    ``headers`` are the client's, in order, without LLMTrace keys: ``keys`` tells of these.
    ``path`` is canonical; ``run`` is the user name of the proxy credentials, ``proxy_key`` their
    password if it is a key; ``mode`` is ``forward``, ``reverse`` or ``websocket``. ``started`` is
    the monotonic clock in seconds.
    """

    method: str
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...]
    peer: str
    mode: str
    started_at: datetime
    started: float
    run: str = ""
    provider_hint: str = ""
    query: str = ""
    target: str = ""
    """Path and query as the client wrote them."""
    authority: str = ""
    """The host as the client wrote it, in Host or ``:authority``."""
    keys: tuple[Presented, ...] = ()
    proxy_key: Presented | None = None

    def values(self, name: str) -> list[str]:
        """Return all values of a header, by lower-case name."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that the gateway gives itself, in the shape of the client's dialect."""

    status: int
    code: str
    message: str
    body: bytes
    details: Mapping[str, Json] = field(default_factory=dict)
    """Further members of the error."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Call:
    """A call and all that is known of it. One task at a time works on it."""

    head: RequestHead
    known: dict[str, Any]
    """Fields of its trace, as far as they were learned."""
    credentials: Credentials
    dialect: Dialect
    route: Route
    view: RequestView = field(default_factory=RequestView)
    thread: Thread = field(default_factory=Thread)
    request_body: Body | None = None
    request_bytes: int = 0
    forward: bytes | None = None
    """The body that goes on instead of the client's, where the policy changed it."""
    signing: Signing | None = None
    """How it is signed anew if it is changed, None where it is not signed or cannot be."""
    unsignable: str = ""
    """Why it cannot be, where it was looked into."""
    held: Held | None = None
    """What is set aside for it, None where nothing is."""
    charge: Charge | None = None
    """What it is charged, once it has ended."""
    begins: tuple[str, Owed] | None = None
    """The answer that it began and others will fetch: its name, and what is owed for it."""
    redeems: Owed | None = None
    """What was set aside for the call whose answer this one fetched, and which it pays for."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    """What the gateway adds to the head of the provider's answer."""
    begun: bool = False
    """Whether the provider began it by itself: refused, it has cost something all the same."""
    drops_usage: bool = False
    """Whether the client did not ask for the chunk that tells the usage of its stream."""
    findings: list[Finding] = field(default_factory=list)
    scanned: dict[str, Scanned] = field(default_factory=dict)
    """By channel: how much text there was, and how much was looked into."""
    gaps: list[Gap] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    tap: AnswerTap | MessageTap | GatedTap | None = None
    status: int | None = None
    first_byte: float | None = None
    first_word: FirstWord = field(default_factory=FirstWord)
    recorded: bool = False
    """Whether its START was handed to the journal."""
    ended: bool = False
    """Whether it was settled; what comes later changes nothing."""

    _trace: Trace | None = None

    @property
    def id(self) -> str:
        """The trace id."""
        return str(self.known["trace_id"])

    @property
    def trace(self) -> Trace:
        """What is known by now, as a trace. Made when it is asked for: that takes 25 µs."""
        if self._trace is None:
            self._trace = Trace(**self.known)
        return self._trace

    def know(self, **values: object) -> None:
        """Add to the trace what was learned."""
        self.known.update(values)
        self._trace = None

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the head of the answer, and what it says of the plan that the call is under."""
        self.status = status
        self.first_byte = time.monotonic()
        if self.known.get("plan"):
            self.takes_windows(plan_windows(headers, now=datetime.now(UTC)))

    def takes_windows(self, windows: Sequence[PlanWindow]) -> None:
        """Note what the provider says of the plan that the call is under."""
        if windows and self.known.get("plan"):
            self.know(plan_windows=tuple(windows))

    def gap(self, reason: str, size: int, location: str = "") -> None:
        """Note bytes that nobody read."""
        if size:
            self.gaps.append(Gap(reason=reason, size=size, location=location))

    def more_gap(self, reason: str, size: int) -> None:
        """Note more bytes that nobody reads, while they come."""
        before = [gap for gap in self.gaps if gap.reason == reason]
        self.gaps = [gap for gap in self.gaps if gap.reason != reason]
        self.gap(reason, size + sum(gap.size for gap in before))

    def read(self, channel: str, text: str, *, scanned: bool) -> None:
        """Note a text of a channel, and whether every detector looked at all of it."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        before = self.scanned.get(channel)
        seen, done = (before.seen, before.scanned) if before else (0, 0)
        self.scanned[channel] = Scanned(
            channel=channel, seen=seen + size, scanned=done + (size if scanned else 0)
        )

    def note(self, name: str, value: str) -> None:
        """Add an attribute to its trace."""
        self.know(attributes={**self.known.get("attributes", {}), name: value})

    def span(self, name: str, start: float, end: float) -> None:
        """Note a stage, given by the monotonic clock in seconds."""
        offset = (start - self.head.started) * 1000
        self.spans.append(Span(name=name, offset_ms=offset, duration_ms=(end - start) * 1000))

    @property
    def outcome_of_status(self) -> Outcome:
        """What the provider's status alone says."""
        ok = self.status is not None and self.status < 400
        return Outcome.OK if ok else Outcome.PROVIDER_ERROR
