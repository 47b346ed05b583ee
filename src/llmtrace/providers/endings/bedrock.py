"""Endings of Bedrock: Converse's events, and those of a model's own format in base64."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from llmtrace.domain.answers import (
    AnswerEvent,
    ChannelClosed,
    ChannelKind,
    Stopped,
    TextDelta,
    ToolCallOpened,
)
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.bedrock_invoke_answers import METRICS
from llmtrace.providers.endings.anthropic import AnthropicEnding, whole_anthropic
from llmtrace.providers.endings.base import Ending, document, frame
from llmtrace.providers.endings.chat import ChatEnding, whole_chat
from llmtrace.providers.openai_errors import DONE, encode
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

_BLOCKS: Final = (ChannelKind.TEXT, ChannelKind.REASONING, ChannelKind.TOOL_CALL)


def message_frame(event: str, body: Json) -> Frame:
    """Return a message of an event stream."""
    headers = {
        ":event-type": event,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return Frame(event=event, data=encode(body), headers=headers)


class ConverseEnding:
    """Ends a ConverseStream."""

    def __init__(self) -> None:
        self._started = False
        self._stopped = False
        self._called = False
        self._open: dict[int, None] = {}
        self._next = 0

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note which blocks are open."""
        self._started |= frame.event == "messageStart"
        if frame.event == "contentBlockStop":
            index = as_count(document(frame.data).get("contentBlockIndex")) or 0
            self._next = max(self._next, index + 1)
            self._open.pop(index, None)
        for event in events:
            if isinstance(event, (TextDelta, ToolCallOpened)):
                self._block(event)
            elif isinstance(event, ChannelClosed):
                self._open.pop(event.channel.index, None)
            elif isinstance(event, Stopped):
                self._stopped = True

    def _block(self, event: TextDelta | ToolCallOpened) -> None:
        channel = event.channel
        self._called |= isinstance(event, ToolCallOpened)
        if channel.kind in _BLOCKS:
            self._open[channel.index] = None
            self._next = max(self._next, channel.index + 1)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return the rest of the message."""
        frames = [] if self._started else [message_frame("messageStart", {"role": "assistant"})]
        frames += [message_frame("contentBlockStop", {"contentBlockIndex": i}) for i in self._open]
        if text:
            at: dict[str, Json] = {"contentBlockIndex": self._next}
            frames.append(message_frame("contentBlockDelta", {"delta": {"text": text}, **at}))
            frames.append(message_frame("contentBlockStop", at))
        if not self._stopped:
            normal = "tool_use" if self._called else "end_turn"
            reason = "content_filtered" if filtered else normal
            frames.append(message_frame("messageStop", {"stopReason": reason}))
        usage: Json = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
        metadata: Json = {"usage": usage, "metrics": {"latencyMs": 0}}
        return [*frames, message_frame("metadata", metadata)]


class InvokeEnding:
    """Ends an InvokeModelWithResponseStream in the format of the model that answers."""

    def __init__(self) -> None:
        self._inner: Ending | None = None

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note the event within."""
        inner = _inner(frame)
        if self._inner is None:
            self._inner = _ending_of(document(inner.data))
        self._inner.sent(inner, events)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return the ending's events, each in base64."""
        inner = self._inner or AnthropicEnding()
        frames = [f for f in inner.end(text, filtered=filtered) if f.data != DONE]
        packed = [base64.b64encode(f.data).decode() for f in frames]
        return [message_frame("chunk", {"bytes": text}) for text in packed]


class NativeEnding:
    """Ends the stream of a model that says little: a text and why it stopped."""

    def __init__(self, sample: dict[str, Json]) -> None:
        self._key = "outputText" if "outputText" in sample else "generation"
        self._stop = "completionReason" if "outputText" in sample else "stop_reason"

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note nothing: each event stands for itself."""

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return an event with the text and the stop."""
        reason = "CONTENT_FILTERED" if filtered else "FINISH"
        reasons = {"completionReason": reason, "stop_reason": "stop"}
        counts: Json = {"inputTokenCount": 0, "outputTokenCount": 0}
        return [frame({self._key: text, self._stop: reasons[self._stop], METRICS: counts})]


class NovaEnding(ConverseEnding):
    """Ends the stream of Nova, whose events are those of Converse, each under its name."""

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note the event that stands under a name."""
        for name, value in document(frame.data).items():
            super().sent(Frame(event=name, data=encode(value)), events)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return the events, each under its name."""
        frames = super().end(text, filtered=filtered)
        return [frame({f.event: document(f.data)}) for f in frames]


def _ending_of(event: dict[str, Json]) -> Ending:
    """Tell by its first event which format a model speaks."""
    if "choices" in event:
        return ChatEnding()
    if as_str(event.get("type")):
        return AnthropicEnding()
    if event.keys() & {"messageStart", "contentBlockStart", "contentBlockDelta"}:
        return NovaEnding()
    return NativeEnding(event)


def _inner(frame: Frame) -> Frame:
    packed = as_str(document(frame.data).get("bytes"))
    try:
        return Frame(event="", data=base64.b64decode(packed, validate=True))
    except (binascii.Error, ValueError):
        return Frame(event="", data=b"")


def whole_converse(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Cut a message at a tool call, and say the text there."""
    del choice  # there is one
    message = as_dict(as_dict(body.get("output")).get("message"))
    content: list[Json] = []
    calls = 0
    for block in as_list(message.get("content")):
        if "toolUse" in as_dict(block):
            if calls == keep:
                break
            calls += 1
        content.append(block)
    message["content"] = [*content, {"text": text}]
    body["stopReason"] = "tool_use" if calls else "end_turn"


def whole_invoke(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Do the same in the format of the model that answers."""
    if "choices" in body:
        whole_chat(body, text, choice=choice, keep=keep)
    elif isinstance(body.get("output"), dict):
        whole_converse(body, text, choice=choice, keep=keep)
    else:
        whole_anthropic(body, text, choice=choice, keep=keep)
