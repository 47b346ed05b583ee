"""Answers of Bedrock's Invoke: each model's own format, told by its shape.

Source: the parameter pages of Amazon Bedrock's user guide.
"""

import base64
import binascii
from typing import Final, Protocol

import orjson

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Stopped,
    Unread,
    UsageSeen,
)
from llmtrace.domain.parts import Path
from llmtrace.providers import anthropic_answers, chat_answers
from llmtrace.providers.answering import Channels, Done, parse, usage
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.bedrock_answers import (
    ConverseReader,
    converse_answer,
    exception,
    failed,
)
from llmtrace.providers.leaves import words
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

_TEXTS: Final = ("generation", "outputText", "completion", "text")
_STOPS: Final = ("stop_reason", "completionReason", "finish_reason", "stopReason")
_LISTS: Final = ("results", "outputs", "generations", "completions")
_COUNTS: Final = (
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
    "prompt_token_count",
    "generation_token_count",
)
_NATIVE_KNOWN: Final = words(
    "id type model index stop stop_reason completionReason finish_reason stopReason response_type"
)
_NATIVE_DONE: Final[Done] = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_LISTS, list)}


class NativeReader:
    """Reads what Titan, Llama, Mistral and Cohere answer with: texts under a few names."""

    def __init__(self) -> None:
        self._channels = Channels(_NATIVE_KNOWN)

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one event of a model's own."""
        body, problems = parse(frame.data)
        return problems or self.body(body)

    def close(self) -> list[AnswerEvent]:
        """Close what is open."""
        return self._channels.close_all()

    def body(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer, or one event of its stream."""
        if not isinstance(body, dict):
            return self._channels.other(body, ())
        events = self._item(body, 0, ())
        for key in _LISTS:
            for number, item in enumerate(as_list(body.get(key))):
                events += self._item(item, number, (key, number))
        counts = {key: body[key] for key in _COUNTS if as_count(body.get(key)) is not None}
        generated = [as_count(as_dict(r).get("tokenCount")) for r in as_list(body.get("results"))]
        if any(generated):  # Titan says it of each result, and of a stream's last event
            counts.setdefault("totalOutputTextTokenCount", sum(n or 0 for n in generated))
        return events + ([UsageSeen(raw=counts)] if counts else [])

    def _item(self, item: Json, number: int, path: Path) -> list[AnswerEvent]:
        if not isinstance(item, dict):
            return self._channels.other(item, path)
        events: list[AnswerEvent] = []
        for key in _TEXTS:
            channel = Channel(number, ChannelKind.TEXT)
            events += self._channels.delta(channel, item.get(key), (*path, key))
        events += self._channels.rest(item, path, _NATIVE_DONE, event=f"{number}")
        reason = next((text for key in _STOPS if (text := as_str(item.get(key)))), "")
        return events + ([Stopped(choice=number, reason=reason)] if reason else [])


class _Inner(Protocol):
    def receive(self, frame: Frame) -> list[AnswerEvent]: ...

    def close(self) -> list[AnswerEvent]: ...


class _NovaReader:
    """Nova's events of Invoke: those of Converse, each under its name."""

    def __init__(self) -> None:
        self._reader = ConverseReader()

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        body, problems = parse(frame.data)
        events = [
            event
            for name, value in as_dict(body).items()
            if name != METRICS
            for event in self._reader.event(name, value, (name,))
        ]
        return problems or events

    def close(self) -> list[AnswerEvent]:
        return self._reader.close()


_OUTER_DONE: Final[Done] = {"bytes": str, "p": str}
METRICS: Final = "amazon-bedrock-invocationMetrics"
_NOVA_EVENTS: Final = words(
    "messageStart contentBlockStart contentBlockDelta contentBlockStop messageStop metadata"
)
_ANTHROPIC_EVENTS: Final = words(
    """
    message_start content_block_start content_block_delta content_block_stop message_delta
    message_stop ping error
    """
)


def _shape(body: Json) -> type[_Inner]:
    """Tell by an event whose format it is."""
    fields = as_dict(body)
    if as_str(fields.get("type")) in _ANTHROPIC_EVENTS:
        return anthropic_answers.AnthropicReader
    if "choices" in fields:
        return chat_answers.ChatReader
    return _NovaReader if fields.keys() & _NOVA_EVENTS else NativeReader


class InvokeReader:
    """Reads InvokeModelWithResponseStream: base64 of the model's own events.

    The paths of its events lead into the JSON that stands behind ``bytes``.
    """

    def __init__(self) -> None:
        self._inner: dict[type[_Inner], _Inner] = {}
        self._outer = Channels()
        self._ended = False

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one message of the event stream."""
        error = exception(frame)
        if error:
            return [error]
        outer, problems = parse(frame.data)
        if problems:
            return problems
        beside = self._outer.rest(outer, (), _OUTER_DONE, event=frame.event)
        data = _decoded(as_dict(outer).get("bytes"))
        if data is None:
            return [*beside, Unread(reason="bad_frame", size=len(frame.data))]
        body, problems = parse(data)
        return beside + (problems or self._event(body, data))

    def close(self) -> list[AnswerEvent]:
        """Close what is open."""
        inner = [event for inner in self._inner.values() for event in inner.close()]
        return inner + self._outer.close_all()

    def _event(self, body: Json, data: bytes) -> list[AnswerEvent]:
        shape = _shape(body)
        inner = self._inner.setdefault(shape, shape())
        events = inner.receive(Frame(event="", data=_without_metrics(body, data)))
        events += usage(as_dict(body).get(METRICS))
        self._ended = self._ended or any(isinstance(event, Ended) for event in events)
        if METRICS in as_dict(body) and not self._ended:
            self._ended = True
            events += [*self.close(), Ended()]
        return events


def _without_metrics(body: Json, data: bytes) -> bytes:
    """Return a model's own event without what Bedrock adds to the last one."""
    fields = as_dict(body)
    if not isinstance(fields.get(METRICS), dict):
        return data
    try:
        return orjson.dumps({key: value for key, value in fields.items() if key != METRICS})
    except TypeError:  # deeper than orjson writes: better read the metrics as text, too
        return data


def _decoded(text: Json) -> bytes | None:
    try:
        return base64.b64decode(as_str(text), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def invoke_answer(body: Json) -> list[AnswerEvent]:
    """Read what a model answers InvokeModel with, by its shape, or an error."""
    fields = as_dict(body)
    if error := failed(body):
        return [error]
    if as_str(fields.get("type")) in {"message", "error"}:
        return anthropic_answers.whole_answer(body)
    if "choices" in fields:
        return chat_answers.whole_answer(body)
    if isinstance(fields.get("output"), dict):
        return converse_answer(body)
    reader = NativeReader()
    return [*reader.body(body), *reader.close(), Ended()]
