"""Answers of the Messages API: the named events of a stream, and whole messages.

A block's index is the index of its channel. What comes whole inside a block (results of server
tools, citations) gets a channel for each string, so that no two texts run into each other.
Signatures and encrypted content are nobody's to read.

Source: the types of the anthropic SDK 2.11; ``ping`` and ``error`` stand on the wire alone.
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent, Channel, ChannelKind, Ended, Stopped, Unread
from llmtrace.domain.parts import Path
from llmtrace.providers.answering import (
    Channels,
    Done,
    compact,
    failure,
    identified,
    parse,
    usage,
)
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.leaves import words
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str
from llmtrace.providers.tooluses import ToolUses

KNOWN: Final = words(
    """
    id type role model name stop_reason stop_sequence tool_use_id server_name file_id error_code
    caller tool_id media_type container expires_at request_id stop_details category
    """
)
_OPAQUE: Final = words("encrypted_content encrypted_index encrypted_stdout signature")

_BLOCK_TEXTS: Final[Mapping[str, tuple[str, ChannelKind]]] = {
    "text": ("text", ChannelKind.TEXT),
    "thinking": ("thinking", ChannelKind.REASONING),
}
_DELTA_TEXTS: Final[Mapping[str, tuple[str, ChannelKind]]] = {
    "text_delta": ("text", ChannelKind.TEXT),
    "thinking_delta": ("thinking", ChannelKind.REASONING),
    "input_json_delta": ("partial_json", ChannelKind.TOOL_CALL),
}
_MESSAGE_DONE: Final[Done] = {"content": list, "usage": dict}
_TEXT_DONE: Final[Done] = {"text": str, "thinking": str, "citations": object}
_TOOL_DONE: Final[Done] = {"input": object, "name": str}
_RESULT_DONE: Final[Done] = {"content": object}
_HIDDEN_DONE: Final[Done] = {"data": str}
_EVENT_DONE: Final[Mapping[str, Done]] = {
    "message_start": {"message": dict},
    "content_block_start": {"content_block": dict},
    "content_block_delta": {"delta": dict},
    "message_delta": {"delta": dict, "usage": dict},
}


def whole_answer(body: Json) -> list[AnswerEvent]:
    """Read a whole message, or an error, into the events that its stream would give."""
    reader = AnthropicReader()
    fields = as_dict(body)
    if fields.get("type") == "error" or fields.get("error"):
        return [failure(fields.get("error"))]
    events = reader.message(body, ())
    return [*events, *reader.close(), Ended()]


_CODE: Final = "code_execution"
"""How the names of the tools end that run in a container: ``bash_code_execution``, …"""


class AnthropicReader:
    """Reads the events of one stream."""

    def __init__(self) -> None:
        self._channels = Channels(KNOWN, _OPAQUE)
        self._uses = ToolUses()

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one event. Its JSON's ``type`` says what it is, not the line ``event:``."""
        body, problems = parse(frame.data)
        if problems:
            return problems
        fields = as_dict(body)
        name = as_str(fields.get("type")) or frame.event
        if name == "error" or fields.get("error"):
            return [failure(fields.get("error") or body)]
        read = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
        }.get(name)
        if read is None:
            return self._channels.rest(body, (), {}, event=name) or self._bare(body, name)
        return read(fields) + self._channels.rest(body, (), _EVENT_DONE.get(name, {}), event=name)

    def close(self) -> list[AnswerEvent]:
        """Close what is open: without ``message_stop`` nothing says that this was the end."""
        return self._channels.close_all()

    def message(self, message: Json, path: Path) -> list[AnswerEvent]:
        """Read a message: whole, or the empty one that a stream starts with."""
        if not isinstance(message, dict):
            return self._channels.other(message, path)
        events = identified(message) + usage(message.get("usage"))
        events += self._channels.rest(message, path, _MESSAGE_DONE)
        for index, block in enumerate(as_list(message.get("content"))):
            events += self._block(block, index, (*path, "content", index))
            events += self._close(index)
        return events + self._stopped(message.get("stop_reason"))

    def _bare(self, body: Json, name: str) -> list[AnswerEvent]:
        return [] if isinstance(body, dict) else self._channels.other(body, (), event=name)

    def _message_start(self, event: dict[str, Json]) -> list[AnswerEvent]:
        return self.message(event.get("message"), ("message",))

    def _block_start(self, event: dict[str, Json]) -> list[AnswerEvent]:
        index = as_count(event.get("index")) or 0
        return self._block(event.get("content_block"), index, ("content_block",))

    def _block_stop(self, event: dict[str, Json]) -> list[AnswerEvent]:
        return self._close(as_count(event.get("index")) or 0)

    def _message_delta(self, event: dict[str, Json]) -> list[AnswerEvent]:
        delta = event.get("delta")
        events = self._channels.rest(delta, ("delta",), {}, event="message_delta")
        events += usage(event.get("usage"))
        return events + self._stopped(as_dict(delta).get("stop_reason"))

    def _message_stop(self, _: dict[str, Json]) -> list[AnswerEvent]:
        return [*self._channels.close_all(), Ended()]

    def _stopped(self, reason: Json) -> list[AnswerEvent]:
        if not isinstance(reason, str) or not reason:
            return []
        return [*self._channels.close_all(), Stopped(choice=0, reason=reason)]

    def _block(self, block: Json, index: int, path: Path) -> list[AnswerEvent]:
        """Read a block as it stands at its start, or whole."""
        fields = as_dict(block)
        kind = as_str(fields.get("type"))
        if kind in _BLOCK_TEXTS:
            return self._text_block(fields, kind, index, path)
        if kind.endswith("tool_use"):
            return self._tool_block(fields, index, path)
        if kind.endswith("tool_result"):
            where = (*path, "content")
            found = self._channels.loose(fields.get("content"), where, kind=ChannelKind.TOOL_RESULT)
            return found + self._channels.rest(block, path, _RESULT_DONE, event=f"{index}")
        if kind == "redacted_thinking":
            hidden = Unread(reason="media", size=len(compact(fields.get("data"))))
            return [hidden, *self._channels.rest(block, path, _HIDDEN_DONE, event=f"{index}")]
        if isinstance(block, dict):
            return self._channels.rest(block, path, {}, event=f"{kind} {index}")
        return self._channels.other(block, path)

    def _text_block(
        self, block: dict[str, Json], kind: str, index: int, path: Path
    ) -> list[AnswerEvent]:
        key, channel_kind = _BLOCK_TEXTS[kind]
        channel = Channel(0, channel_kind, index)
        events = self._channels.delta(channel, block.get(key), (*path, key))
        events += self._citations(block.get("citations"), (*path, "citations"))
        return events + self._channels.rest(block, path, _TEXT_DONE, event=f"{kind} {index}")

    def _tool_block(self, block: dict[str, Json], index: int, path: Path) -> list[AnswerEvent]:
        """Open a tool call. Arguments that stand here already are written as JSON."""
        channel = Channel(0, ChannelKind.TOOL_CALL, index)
        events = self._channels.tool(channel, block.get("id"), block.get("name"))
        arguments = block.get("input")
        if arguments:
            written = arguments if isinstance(arguments, str) else compact(arguments)
            events += self._channels.delta(channel, written, (*path, "input"))
        if block.get("type") == "server_tool_use" and as_str(block.get("name")).endswith(_CODE):
            events += self._uses.use("code_execution", index)
        return events + self._channels.rest(block, path, _TOOL_DONE, event=f"tool_use {index}")

    def _block_delta(self, event: dict[str, Json]) -> list[AnswerEvent]:
        index = as_count(event.get("index")) or 0
        delta, path = as_dict(event.get("delta")), ("delta",)
        kind = as_str(delta.get("type"))
        if kind == "citations_delta":
            rest = self._channels.rest(delta, path, {"citation": object}, event=kind)
            return self._citations(delta.get("citation"), ("delta", "citation")) + rest
        if kind == "signature_delta":
            return self._channels.rest(delta, path, {}, event=kind)
        if kind not in _DELTA_TEXTS:
            return self._channels.rest(delta, path, {}, event=f"{kind} {index}")
        key, channel_kind = _DELTA_TEXTS[kind]
        channel = Channel(0, channel_kind, index)
        events = self._channels.tool(channel, "", "") if kind == "input_json_delta" else []
        events += self._channels.delta(channel, delta.get(key), ("delta", key))
        return events + self._channels.rest(delta, path, {key: str}, event=f"{kind} {index}")

    def _citations(self, value: Json, path: Path) -> list[AnswerEvent]:
        return self._channels.loose(value, path, kind=ChannelKind.CITATION)

    def _close(self, index: int) -> list[AnswerEvent]:
        kinds = (ChannelKind.TEXT, ChannelKind.REASONING, ChannelKind.TOOL_CALL)
        return [e for kind in kinds for e in self._channels.close(Channel(0, kind, index))]
