"""``cohere.chat``: Cohere's own Chat API, version 2.

Source: the types of the cohere SDK 7.3 (``v2``).
"""

from typing import Final

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Stopped,
)
from llmtrace.domain.parts import MediaKind, Path
from llmtrace.providers.answering import Channels, Done, compact, identified, parse, usage
from llmtrace.providers.base import Frame, Json, RequestView, Route
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_chat import VOICES
from llmtrace.providers.openai_errors import encode
from llmtrace.providers.reading import (
    SYSTEM,
    TOOL_CALL,
    UNKNOWN,
    Reader,
    Reading,
    Voice,
    anything,
    as_count,
    as_dict,
    as_list,
    as_str,
    by_type,
    each,
    media_url,
    members,
    schema,
    speaking,
    text,
    tool,
    untrusted,
)

KNOWN: Final = words(
    """
    model role type id tool_call_id name function detail tool_choice safety_mode citation_options
    mode priority raw_prompting
    """
)
"""Keys of a request whose values are names, ids and keywords."""

_DOCUMENT: Final[Reader] = untrusted(members(data=anything))
_CONTENT: Final[Reader] = each(
    by_type(
        {
            "text": members(text=text),
            "thinking": members(thinking=text),
            "image_url": members(image_url=members(url=media_url(MediaKind.IMAGE))),
            "document": members(document=_DOCUMENT),
        }
    )
)
_CALL: Final[Reader] = speaking(TOOL_CALL, members(function=members(arguments=text)))
_MESSAGE: Final[Reader] = members(
    content=_CONTENT, tool_plan=text, tool_calls=each(_CALL), citations=untrusted(anything)
)


def _message(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    _MESSAGE(reading, value, path, VOICES.get(as_str(as_dict(value).get("role")), voice))


_FUNCTION: Final[Reader] = members(name=text, description=text, parameters=schema)
_TOOL: Final[Reader] = tool(
    members(function=_FUNCTION),
    name=lambda definition: as_dict(definition.get("function")).get("name"),
)
_FORMAT: Final[Reader] = members(json_schema=schema, schema=schema)


def _document(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read a document: an object, or the text of one."""
    (untrusted(text) if isinstance(value, str) else _DOCUMENT)(reading, value, path, voice)


_REQUEST: Final[Reader] = members(
    messages=each(_message),
    tools=each(_TOOL),
    documents=each(_document),
    response_format=speaking(SYSTEM, _FORMAT),
)


class CohereChat:
    """The dialect of ``/v2/chat``."""

    @property
    def name(self) -> str:
        """``cohere.chat``."""
        return "cohere.chat"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read messages, documents and tools."""
        reading = Reading(KNOWN)
        _REQUEST(reading, body, (), UNKNOWN)
        fields = as_dict(body)
        return RequestView(
            model=as_str(fields.get("model")) or route.model,
            stream=fields.get("stream") is True,
            parts=reading.parts,
            media=reading.media,
            tools=reading.tools,
            max_output_tokens=as_count(fields.get("max_tokens")),
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer, or an error."""
        return whole_answer(body)

    def reader(self) -> "CohereReader":
        """Return a reader of the typed events."""
        return CohereReader()

    def refusal(self, *, status: int, code: str, message: str) -> bytes:
        """Return ``{"id", "message"}``."""
        return encode({"id": code, "message": message})

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return the event that ends a stream in an error."""
        delta: dict[str, Json] = {"error": message, "finish_reason": "ERROR"}
        event = encode({"type": "message-end", "id": code, "delta": delta})
        return b"event: message-end\ndata: " + event + b"\n\n"


ANSWER_KNOWN: Final = words("id type role generation_id finish_reason name response_type")

_PLAN: Final = Channel(0, ChannelKind.REASONING, 0)
"""The channel of ``tool_plan``; thinking blocks have those behind it."""
_BLOCK_DONE: Final[Done] = {"text": str, "thinking": str}
_BODY_DONE: Final[Done] = {"message": dict, "usage": dict, "error": object}
_MESSAGE_DONE: Final[Done] = {
    "content": list,
    "tool_plan": str,
    "tool_calls": list,
    "citations": object,
}
_EVENT_DONE: Final[Done] = {"delta": dict}
_DELTA_DONE: Final[Done] = {"message": dict, "usage": dict, "error": object}
_PIECE_DONE: Final[Done] = {
    "content": dict,
    "tool_plan": str,
    "tool_calls": dict,
    "citations": object,
}
_FUNCTION_DONE: Final[Done] = {"name": str, "arguments": object}


def whole_answer(body: Json) -> list[AnswerEvent]:
    """Read a whole answer, or an error, into the events that its stream would give."""
    reader = CohereReader()
    events = [*reader.whole(body), *reader.close()]
    return events if any(isinstance(e, Failed) for e in events) else [*events, Ended()]


def _block_channels(index: int) -> dict[str, Channel]:
    """Return the channels of a content block by the member that holds their text."""
    return {
        "text": Channel(0, ChannelKind.TEXT, index),
        "thinking": Channel(0, ChannelKind.REASONING, index + 1),
    }


class CohereReader:
    """Reads the events of one stream.

    A content block's index is the index of its channel, one more where it is reasoning:
    ``tool_plan``, what the model thinks before it calls, is the first.
    """

    def __init__(self) -> None:
        self._channels = Channels(ANSWER_KNOWN)

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one event. Its JSON's ``type`` says what it is, not the line ``event:``."""
        if frame.data.strip() == b"[DONE]":
            return self._channels.close_all()
        body, problems = parse(frame.data)
        return problems or self._event(body, frame.event)

    def close(self) -> list[AnswerEvent]:
        """Close what is open: without ``message-end`` nothing says that this was the end."""
        return self._channels.close_all()

    def whole(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer."""
        if not isinstance(body, dict):
            return self._channels.other(body, ())
        if "message" in body and not isinstance(body["message"], dict):
            return [Failed(code=as_str(body.get("id")), message=as_str(body["message"]))]
        message, path = as_dict(body.get("message")), ("message",)
        events = identified(body)
        for index, block in enumerate(as_list(message.get("content"))):
            events += self._content(block, index, (*path, "content", index))
        events += self._plan(message, path)
        for index, call in enumerate(as_list(message.get("tool_calls"))):
            events += self._call(call, index, (*path, "tool_calls", index))
        events += self._citations(message, path)
        events += self._channels.rest(message, path, _MESSAGE_DONE)
        events += self._channels.rest(body, (), _BODY_DONE)
        return events + usage(body.get("usage")) + self._stop(body)

    def _event(self, body: Json, name: str) -> list[AnswerEvent]:
        if not isinstance(body, dict):
            return self._channels.other(body, (), event=name)
        name = as_str(body.get("type")) or name
        index = as_count(body.get("index")) or 0
        delta, path = as_dict(body.get("delta")), ("delta",)
        events = identified(body) if name == "message-start" else []
        events += self._piece(as_dict(delta.get("message")), index, (*path, "message"), name)
        events += usage(delta.get("usage"))
        events += self._channels.rest(delta, path, _DELTA_DONE, event=name)
        events += self._channels.rest(body, (), _EVENT_DONE, event=name)
        events += self._ends(name, index)
        return events + (self._message_end(delta) if name == "message-end" else [])

    def _ends(self, name: str, index: int) -> list[AnswerEvent]:
        ending: list[Channel] = []
        if name == "content-end":
            ending = [*_block_channels(index).values()]
        elif name == "tool-call-end":
            ending = [Channel(0, ChannelKind.TOOL_CALL, index)]
        return [event for channel in ending for event in self._channels.close(channel)]

    def _message_end(self, delta: dict[str, Json]) -> list[AnswerEvent]:
        error = as_str(delta.get("error"))
        failed: list[AnswerEvent] = [Failed(code="", message=error)] if error else []
        return [*failed, *self._stop(delta), *self._channels.close_all(), Ended()]

    def _stop(self, holder: dict[str, Json]) -> list[AnswerEvent]:
        reason = as_str(holder.get("finish_reason"))
        return [*self._channels.close_all(), Stopped(choice=0, reason=reason)] if reason else []

    def _piece(
        self, message: dict[str, Json], index: int, path: Path, name: str
    ) -> list[AnswerEvent]:
        """Read the part of a message that an event brings."""
        events: list[AnswerEvent] = []
        if isinstance(message.get("content"), dict):
            events += self._content(message["content"], index, (*path, "content"))
        events += self._plan(message, path)
        if isinstance(message.get("tool_calls"), dict):
            events += self._call(message["tool_calls"], index, (*path, "tool_calls"))
        events += self._citations(message, path)
        return events + self._channels.rest(message, path, _PIECE_DONE, event=f"{name} {index}")

    def _content(self, block: Json, index: int, path: Path) -> list[AnswerEvent]:
        if not isinstance(block, dict):
            return self._channels.other(block, path)
        events: list[AnswerEvent] = []
        for key, channel in _block_channels(index).items():
            events += self._channels.delta(channel, block.get(key), (*path, key))
        return events + self._channels.rest(block, path, _BLOCK_DONE, event=f"content {index}")

    def _plan(self, message: dict[str, Json], path: Path) -> list[AnswerEvent]:
        return self._channels.delta(_PLAN, message.get("tool_plan"), (*path, "tool_plan"))

    def _call(self, call: Json, index: int, path: Path) -> list[AnswerEvent]:
        if not isinstance(call, dict):
            return self._channels.other(call, path)
        function = as_dict(call.get("function"))
        channel = Channel(0, ChannelKind.TOOL_CALL, index)
        events = self._channels.tool(channel, call.get("id"), function.get("name"))
        arguments = function.get("arguments")
        if arguments is not None:
            written = arguments if isinstance(arguments, str) else compact(arguments)
            events += self._channels.delta(channel, written, (*path, "function", "arguments"))
        events += self._channels.rest(
            function, (*path, "function"), _FUNCTION_DONE, event=f"function {index}"
        )
        return events + self._channels.rest(call, path, {"function": dict}, event=f"call {index}")

    def _citations(self, message: dict[str, Json], path: Path) -> list[AnswerEvent]:
        cited = message.get("citations")
        return self._channels.loose(cited, (*path, "citations"), kind=ChannelKind.CITATION)
