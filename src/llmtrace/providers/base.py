"""What a dialect and a framing promise; the tables of both are in ``registry``."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from llmtrace.domain.answers import AnswerEvent, Unread
from llmtrace.domain.parts import Media, Part
from llmtrace.domain.values import dataclass

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request goes, after canonicalisation: lower-case host, decoded path, no query."""

    method: str
    host: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; the first value of each. No credentials."""
    port: int = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a target turned out to be.

    ``billable`` is False for calls that cost nothing (token counts, model lists); ``generic``
    is True where no dialect knows the route and every string is read.
    """

    provider: str
    dialect: str
    operation: str
    model: str = ""
    """The model, where the path names it (Gemini, Bedrock, Azure deployments)."""
    stream: bool | None = None
    """Whether the answer streams, where the path says so."""
    billable: bool = True
    generic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """A tool that a request offers. ``digest`` is SHA-256 over its canonical definition."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """What a request says, read losslessly: the bytes that came stay what is forwarded."""

    model: str = ""
    stream: bool = False
    parts: Sequence[Part] = ()
    media: Sequence[Media] = ()
    tools: Sequence[ToolDefinition] = ()
    max_output_tokens: int | None = None
    choices: int = 1
    previous_response_id: str = ""
    conversation_hint: str = ""
    """The client's own id of the conversation, where the body carries one."""
    billable: bool = True
    unread: Sequence[Unread] = ()
    """What was over a bound of the reading, beside ``media``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event of a stream: an SSE event, a line of NDJSON, an element, an AWS message.

    ``event`` is the event's name, empty where the format has none; ``data`` is its payload,
    usually JSON. ``headers`` are those of an AWS message. ``id`` is that of an SSE event, None
    where it has none. ``is_comment``: it is no event, and says nothing but that somebody is there.
    """

    event: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    is_comment: bool = False


class FrameTooLarge(ValueError):
    """A frame is longer than the bound it is read under."""


class Framing(Protocol):
    """Cuts a byte stream into frames. Cutting the bytes anywhere gives the same frames."""

    def receive(self, chunk: bytes) -> list[Frame]:
        """Return the frames that ``chunk`` completes.

        Raises:
            FrameTooLarge: A frame exceeds the bound. The framing is of no more use then.
        """
        ...

    def close(self) -> list[Frame]:
        """The stream ended: return what its rules still count as a frame."""
        ...

    @property
    def pending(self) -> int:
        """Bytes held that belong to no finished frame; after ``close``, bytes thrown away."""
        ...


class AnswerReader(Protocol):
    """Reads the frames of one streamed answer, in order."""

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Return what the frame says. Never raises on data: what it cannot read is ``Unread``."""
        ...

    def close(self) -> list[AnswerEvent]:
        """The stream ended, cleanly or not."""
        ...


class Dialect(Protocol):
    """One wire format.

    Nothing here raises on hostile data. What is not understood is read generically
    (``generic.strings``) or reported as ``Unread``, never skipped in silence.
    """

    @property
    def name(self) -> str:
        """Its name in traces and configuration, such as ``openai.chat``."""
        ...

    def request(self, body: Json, route: Route) -> RequestView:
        """Read a request's JSON body."""
        ...

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer (or error) into the same events that its stream would give."""
        ...

    def reader(self) -> AnswerReader:
        """Return a reader for one streamed answer."""
        ...

    def refusal(self, *, status: int, code: str, message: str) -> bytes:
        """Return an error body in the shape that this dialect's clients show to a person."""
        ...

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return the bytes that end a stream of this dialect with an error."""
        ...
