"""Answers of Bedrock's Converse, whole and streamed, and its exceptions.

A content block's index is the index of its channel. ``p`` is random padding.

Source: the service model of bedrock-runtime in botocore 1.44.
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Identified,
    Stopped,
)
from llmtrace.domain.parts import Path
from llmtrace.providers.answering import Channels, Done, compact, parse, usage
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.leaves import words
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

KNOWN: Final = words(
    "role stopReason toolUseId name type status format invokedModelId latency actionReason ttl"
)
_OPAQUE: Final = words("signature redactedContent bytes")

_BLOCK_KINDS: Final = (ChannelKind.TEXT, ChannelKind.REASONING, ChannelKind.TOOL_CALL)
_BODY_DONE: Final[Done] = {"output": dict, "usage": dict}
_OUTPUT_DONE: Final[Done] = {"message": dict}
_MESSAGE_DONE: Final[Done] = {"content": list}
_TOOL_DONE: Final[Done] = {"name": str, "input": object}
_REASONING_DONE: Final[Done] = {"text": str, "reasoningText": dict}
_CITED_DONE: Final[Done] = {"content": list, "citations": object}
_BLOCK_DONE: Final[Done] = {
    "text": str,
    "toolUse": dict,
    "toolResult": object,
    "reasoningContent": dict,
    "citationsContent": dict,
    "citation": object,
    "image": dict,
}
_EVENT_DONE: Final[Mapping[str, Done]] = {
    "contentBlockStart": {"start": dict, "p": str},
    "contentBlockDelta": {"delta": dict, "p": str},
    "metadata": {"usage": dict, "p": str},
}
_PADDED: Final[Done] = {"p": str}


def exception(frame: Frame) -> Failed | None:
    """Read a message that is an exception, or return None where it is none."""
    headers = frame.headers
    if headers.get(":message-type") == "error":
        return Failed(
            code=headers.get(":error-code", ""), message=headers.get(":error-message", "")
        )
    name = headers.get(":exception-type", "")
    if not name and headers.get(":message-type") != "exception":
        return None
    body, _ = parse(frame.data)
    return Failed(code=name or frame.event, message=_message(as_dict(body)))


def failed(body: Json) -> Failed | None:
    """Read a whole answer that is an error, or return None where it is none."""
    fields = as_dict(body)
    named = as_str(fields.get("__type"))
    if named or (fields and fields.keys() <= {"message", "Message"}):
        return Failed(code=named.rpartition("#")[2], message=_message(fields))
    return None


def _message(fields: dict[str, Json]) -> str:
    return as_str(fields.get("message")) or as_str(fields.get("Message"))


def converse_answer(body: Json) -> list[AnswerEvent]:
    """Read a whole Converse answer, or an error."""
    error = failed(body)
    if error:
        return [error]
    reader = ConverseReader()
    return [*reader.body(body), *reader.close(), Ended()]


class ConverseReader:
    """Reads the events of one ConverseStream."""

    def __init__(self) -> None:
        self._channels = Channels(KNOWN, _OPAQUE)

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one message of the event stream."""
        error = exception(frame)
        if error:
            return [error]
        body, problems = parse(frame.data)
        return problems or self.event(frame.event, body, ())

    def close(self) -> list[AnswerEvent]:
        """Close what is open: without ``messageStop`` nothing says that this was the end."""
        return self._channels.close_all()

    def event(self, name: str, body: Json, path: Path) -> list[AnswerEvent]:
        """Read one event by its name."""
        if not isinstance(body, dict):
            return self._channels.other(body, path, event=name)
        read = {
            "contentBlockStart": self._block_start,
            "contentBlockDelta": self._block_delta,
            "contentBlockStop": self._block_stop,
            "messageStop": self._message_stop,
            "metadata": self._metadata,
        }.get(name)
        events = read(body, path) if read else []
        index = as_count(body.get("contentBlockIndex"), 0)
        done = _EVENT_DONE.get(name, _PADDED)
        rest = self._channels.rest(body, path, done, event=f"{name} {index}")
        return events + rest if name != "messageStop" else rest + events

    def body(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer."""
        fields = as_dict(body)
        if not isinstance(body, dict):
            return self._channels.other(body, ())
        output = as_dict(fields.get("output"))
        message = as_dict(output.get("message"))
        events: list[AnswerEvent] = []
        path: Path = ("output", "message", "content")
        for index, block in enumerate(as_list(message.get("content"))):
            events += self._block(block, index, (*path, index)) + self._close(index)
        events += self._metadata(fields, ()) + self._stop(fields)
        events += self._channels.rest(body, (), _BODY_DONE)
        events += self._channels.rest(output, ("output",), _OUTPUT_DONE)
        return events + self._channels.rest(message, ("output", "message"), _MESSAGE_DONE)

    def _block_start(self, event: dict[str, Json], path: Path) -> list[AnswerEvent]:
        return self._block(event.get("start"), _index(event), (*path, "start"))

    def _block_delta(self, event: dict[str, Json], path: Path) -> list[AnswerEvent]:
        return self._block(event.get("delta"), _index(event), (*path, "delta"))

    def _block_stop(self, event: dict[str, Json], _: Path) -> list[AnswerEvent]:
        return self._close(_index(event))

    def _message_stop(self, event: dict[str, Json], _: Path) -> list[AnswerEvent]:
        return [*self._stop(event), *self._channels.close_all(), Ended()]

    def _stop(self, event: dict[str, Json]) -> list[AnswerEvent]:
        reason = as_str(event.get("stopReason"))
        return [*self._channels.close_all(), Stopped(choice=0, reason=reason)] if reason else []

    def _metadata(self, event: dict[str, Json], _: Path) -> list[AnswerEvent]:
        router = as_dict(as_dict(event.get("trace")).get("promptRouter"))
        found = Identified(
            model=as_str(router.get("invokedModelId")),
            service_tier=as_str(as_dict(event.get("serviceTier")).get("type")),
        )
        said = [found] if found != Identified() else []
        return [*said, *usage(event.get("usage"))]

    def _block(self, block: Json, index: int, path: Path) -> list[AnswerEvent]:
        """Read a block: whole, as it starts, or a piece of one."""
        if not isinstance(block, dict):
            return self._channels.other(block, path)
        text = Channel(0, ChannelKind.TEXT, index)
        events = self._channels.delta(text, block.get("text"), (*path, "text"))
        events += self._tool(block.get("toolUse"), index, (*path, "toolUse"))
        events += self._reasoning(block.get("reasoningContent"), index, (*path, "reasoningContent"))
        events += self._cited(block.get("citationsContent"), index, (*path, "citationsContent"))
        citation, result = (*path, "citation"), (*path, "toolResult")
        events += self._channels.loose(block.get("citation"), citation, kind=ChannelKind.CITATION)
        events += self._channels.loose(
            block.get("toolResult"), result, kind=ChannelKind.TOOL_RESULT
        )
        events += self._image(block.get("image"), (*path, "image"))
        return events + self._channels.rest(block, path, _BLOCK_DONE, event=f"block {index}")

    def _tool(self, tool: Json, index: int, path: Path) -> list[AnswerEvent]:
        if not isinstance(tool, dict):
            return []
        channel = Channel(0, ChannelKind.TOOL_CALL, index)
        events = self._channels.tool(channel, tool.get("toolUseId"), tool.get("name"))
        arguments = tool.get("input")
        if "input" in tool:
            written = arguments if isinstance(arguments, str) else compact(arguments)
            events += self._channels.delta(channel, written, (*path, "input"))
        return events + self._channels.rest(tool, path, _TOOL_DONE, event=f"tool {index}")

    def _reasoning(self, value: Json, index: int, path: Path) -> list[AnswerEvent]:
        """Read ``{"text": …}`` of a delta, or ``{"reasoningText": {"text": …}}`` of a block."""
        fields = as_dict(value)
        channel = Channel(0, ChannelKind.REASONING, index)
        events = self._channels.delta(channel, fields.get("text"), (*path, "text"))
        inner = (*path, "reasoningText")
        whole = as_dict(fields.get("reasoningText"))
        events += self._channels.delta(channel, whole.get("text"), (*inner, "text"))
        event = f"reasoning {index}"
        events += self._channels.rest(whole, inner, {"text": str}, event=event)
        return events + self._channels.rest(fields, path, _REASONING_DONE, event=event)

    def _cited(self, value: Json, index: int, path: Path) -> list[AnswerEvent]:
        fields = as_dict(value)
        channel = Channel(0, ChannelKind.TEXT, index)
        events: list[AnswerEvent] = []
        for position, piece in enumerate(as_list(fields.get("content"))):
            where = (*path, "content", position)
            events += self._channels.delta(channel, as_dict(piece).get("text"), (*where, "text"))
            events += (
                self._channels.rest(piece, where, {"text": str}, event=f"cited {index}")
                if isinstance(piece, dict)
                else self._channels.other(piece, where)
            )
        events += self._channels.loose(
            fields.get("citations"), (*path, "citations"), kind=ChannelKind.CITATION
        )
        return events + self._channels.rest(fields, path, _CITED_DONE, event=f"cited {index}")

    def _image(self, image: Json, path: Path) -> list[AnswerEvent]:
        fields = as_dict(image)
        source = self._channels.rest(fields.get("source"), (*path, "source"), {})
        return source + self._channels.rest(fields, path, {"source": dict})

    def _close(self, index: int) -> list[AnswerEvent]:
        return [e for kind in _BLOCK_KINDS for e in self._channels.close(Channel(0, kind, index))]


def _index(event: dict[str, Json]) -> int:
    return as_count(event.get("contentBlockIndex")) or 0
