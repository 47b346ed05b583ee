"""``ollama.chat`` and ``ollama.generate``: Ollama's own API, embeddings included.

Ollama streams unless told not to. A stream is lines of JSON, each a whole answer's shape with
its piece of text; ``done`` is the last one's.

Source: ``docs/api.md`` of ollama 0.12 and the types of the ollama Python client 0.6.
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
    UsageSeen,
)
from llmtrace.domain.parts import MediaKind, Path
from llmtrace.providers.answering import Channels, Done, compact, failure, parse
from llmtrace.providers.base import Frame, Json, RequestView, Route
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import encode
from llmtrace.providers.reading import (
    ASSISTANT,
    SYSTEM,
    TOOL_CALL,
    TOOL_RESULT,
    UNKNOWN,
    USER,
    Reader,
    Reading,
    Voice,
    anything,
    as_count,
    as_dict,
    as_list,
    as_str,
    each,
    media_base64,
    members,
    schema,
    speaking,
    text,
    tool,
)

KNOWN: Final = words(
    "model role type id name tool_name tool_call_id keep_alive think function format"
)
"""Keys of a request whose values are names, ids and keywords."""

VOICES: Final[Mapping[str, Voice]] = {
    "system": SYSTEM,
    "user": USER,
    "assistant": ASSISTANT,
    "tool": TOOL_RESULT,
}

_IMAGES: Final[Reader] = each(media_base64(MediaKind.IMAGE))
_CALL: Final[Reader] = speaking(TOOL_CALL, members(function=members(arguments=anything)))
_MESSAGE: Final[Reader] = members(
    content=text, thinking=text, images=_IMAGES, tool_calls=each(_CALL)
)


def _message(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    _MESSAGE(reading, value, path, VOICES.get(as_str(as_dict(value).get("role")), voice))


_FUNCTION: Final[Reader] = members(name=text, description=text, parameters=schema)
_TOOL: Final[Reader] = tool(
    members(function=_FUNCTION),
    name=lambda definition: as_dict(definition.get("function")).get("name"),
)
_SCHEMA: Final[Reader] = speaking(SYSTEM, schema)


def _format(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read the wanted format: a schema, or the word ``json``."""
    if isinstance(value, str):
        reading.rest("format", value, path[:-1], SYSTEM)
    else:
        _SCHEMA(reading, value, path, voice)


_CHAT: Final[Reader] = members(messages=each(_message), tools=each(_TOOL), format=_format)
_GENERATE: Final[Reader] = members(
    prompt=speaking(USER, text),
    suffix=speaking(USER, text),
    system=speaking(SYSTEM, text),
    template=speaking(SYSTEM, text),
    images=speaking(USER, _IMAGES),
    input=speaking(USER, each(text)),
    format=_format,
)


def _view(reader: Reader, body: Json, route: Route) -> RequestView:
    reading = Reading(KNOWN)
    reader(reading, body, (), UNKNOWN)
    fields = as_dict(body)
    streams = fields.get("stream") is not False if route.stream is None else route.stream
    return RequestView(
        model=as_str(fields.get("model")) or route.model,
        stream=streams,
        parts=reading.parts,
        media=reading.media,
        tools=reading.tools,
        max_output_tokens=as_count(as_dict(fields.get("options")).get("num_predict")),
        billable=route.billable,
        unread=reading.unread,
    )


class _Ollama:
    """What both dialects share: answers and errors."""

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer, or an error."""
        return whole_answer(body)

    def reader(self) -> "OllamaReader":
        """Return a reader of lines."""
        return OllamaReader()

    def refusal(self, *, status: int, code: str, message: str) -> bytes:
        """Return ``{"error": message}``."""
        return encode({"error": message})

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return a line with the error, which clients raise."""
        return encode({"error": message}) + b"\n"


class OllamaChat(_Ollama):
    """The dialect of ``/api/chat``."""

    @property
    def name(self) -> str:
        """``ollama.chat``."""
        return "ollama.chat"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read messages and tools."""
        return _view(_CHAT, body, route)


class OllamaGenerate(_Ollama):
    """The dialect of ``/api/generate``, ``/api/embed`` and ``/api/embeddings``."""

    @property
    def name(self) -> str:
        """``ollama.generate``."""
        return "ollama.generate"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read prompt, system and what else of the request is text."""
        return _view(_GENERATE, body, route)


ANSWER_KNOWN: Final = words("model role created_at done_reason remote_model remote_host name id")
USAGE: Final = (
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)
"""Members of the last line that count: tokens, and times in nanoseconds."""

_BODY_TEXTS: Final[Mapping[str, ChannelKind]] = {
    "response": ChannelKind.TEXT,
    "thinking": ChannelKind.REASONING,
}
_MESSAGE_TEXTS: Final[Mapping[str, ChannelKind]] = {
    "content": ChannelKind.TEXT,
    "thinking": ChannelKind.REASONING,
}
_BODY_DONE: Final[Done] = {
    "message": dict,
    "response": str,
    "thinking": str,
    "error": object,
    "logprobs": list,
}
_MESSAGE_DONE: Final[Done] = {"content": str, "thinking": str, "tool_calls": list}
_FUNCTION_DONE: Final[Done] = {"name": str, "arguments": object}


def whole_answer(body: Json) -> list[AnswerEvent]:
    """Read a whole answer, or an error, into the events that its stream would give."""
    reader = OllamaReader()
    events = [*reader.body(body), *reader.close()]
    ended = any(isinstance(event, (Ended, Failed)) for event in events)
    return events if ended else [*events, Ended()]


class OllamaReader:
    """Reads the lines of one stream. ``logprobs`` (the text again) are passed over."""

    def __init__(self) -> None:
        self._channels = Channels(ANSWER_KNOWN)

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one line."""
        body, problems = parse(frame.data)
        return problems or self.body(body)

    def close(self) -> list[AnswerEvent]:
        """Close what is open: without ``done`` nothing says that this was the end."""
        return self._channels.close_all()

    def body(self, body: Json) -> list[AnswerEvent]:
        """Read one line, or a whole answer."""
        if not isinstance(body, dict):
            return self._channels.other(body, ())
        model = as_str(body.get("model"))
        events: list[AnswerEvent] = [Identified(model=model)] if model else []
        events += self._texts(body, _BODY_TEXTS, ()) + self._message(body.get("message"))
        if body.get("error"):
            events.append(failure(body["error"]))
        events += self._channels.rest(body, (), _BODY_DONE)
        counts = {key: body[key] for key in USAGE if as_count(body.get(key)) is not None}
        if counts:
            events.append(UsageSeen(raw=counts))
        return events + (self._done(body) if body.get("done") is True else [])

    def _done(self, body: dict[str, Json]) -> list[AnswerEvent]:
        reason = as_str(body.get("done_reason")) or "stop"
        return [*self._channels.close_all(), Stopped(choice=0, reason=reason), Ended()]

    def _texts(
        self, holder: dict[str, Json], keys: Mapping[str, ChannelKind], path: Path
    ) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        for key, kind in keys.items():
            events += self._channels.delta(Channel(0, kind), holder.get(key), (*path, key))
        return events

    def _message(self, message: Json) -> list[AnswerEvent]:
        if not isinstance(message, dict):
            return []
        path: Path = ("message",)
        events = self._texts(message, _MESSAGE_TEXTS, path)
        for position, call in enumerate(as_list(message.get("tool_calls"))):
            events += self._call(call, (*path, "tool_calls", position))
        return events + self._channels.rest(message, path, _MESSAGE_DONE)

    def _call(self, call: Json, path: Path) -> list[AnswerEvent]:
        """Read a tool call, which always comes whole."""
        if not isinstance(call, dict):
            return self._channels.other(call, path)
        function = as_dict(call.get("function"))
        channel = self._channels.numbered(0, ChannelKind.TOOL_CALL, object())
        arguments = function.get("arguments")
        written = arguments if isinstance(arguments, str) else compact(arguments or {})
        where = (*path, "function")
        events = self._channels.tool(channel, call.get("id"), function.get("name"))
        events += self._channels.delta(channel, written, (*where, "arguments"))
        events += self._channels.close(channel)
        events += self._channels.rest(function, where, _FUNCTION_DONE, event="function")
        return events + self._channels.rest(call, path, {"function": dict}, event="call")
