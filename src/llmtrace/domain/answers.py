"""What stands in an answer: events on channels, the same whether it came whole or as a stream."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from llmtrace.domain.parts import Path
from llmtrace.domain.values import dataclass


class ChannelKind(StrEnum):
    """What a channel carries."""

    TEXT = "text"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    CITATION = "citation"
    TRANSCRIPT = "transcript"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Channel:
    """One run of text in an answer: by choice, kind and index (of the block or tool call)."""

    choice: int
    kind: ChannelKind
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of a channel's text. ``path`` leads to the string in its event (or answer)."""

    channel: Channel
    text: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRepeat:
    """A channel's whole text, said again (``*.done``, ``response.completed``).

    It adds nothing to the channel; whoever changes the deltas must change it too.
    """

    channel: Channel
    text: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOpened:
    """A tool call begins on a channel of kind TOOL_CALL; its deltas are its arguments."""

    channel: Channel
    call_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelClosed:
    """Nothing more comes on this channel."""

    channel: Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What the provider says of its answer. Empty strings say nothing."""

    response_id: str = ""
    model: str = ""
    service_tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSeen:
    """The provider's own usage object, as it came. A later one replaces equal keys."""

    raw: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A choice ended, and the provider's word for why."""

    choice: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The provider reports an error, instead of an answer or in the middle of one."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The terminal event of the format was seen (``[DONE]``, ``message_stop``, …)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Something that this dialect could not read, so that coverage can say so.

    ``reason`` is one word of a closed set: ``bad_json``, ``bad_frame``, ``unknown_event``,
    ``too_large``, ``media``. ``size`` is in bytes of the event.
    """

    reason: str
    size: int


type AnswerEvent = (
    TextDelta
    | TextRepeat
    | ToolCallOpened
    | ChannelClosed
    | Identified
    | UsageSeen
    | Stopped
    | Failed
    | Ended
    | Unread
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call of an answer. ``arguments`` is the text the model wrote, JSON or not."""

    channel: Channel
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer put together. ``complete`` is True once its terminal event was seen."""

    response_id: str = ""
    model: str = ""
    service_tier: str = ""
    texts: Mapping[Channel, str] = field(default_factory=dict)
    tool_calls: tuple[ToolCall, ...] = ()
    stop_reasons: tuple[str, ...] = ()
    usage: Mapping[str, object] | None = None
    error: Failed | None = None
    complete: bool = False
    unread: tuple[Unread, ...] = ()
