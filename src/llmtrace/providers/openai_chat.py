"""``openai.chat``: Chat Completions, as OpenAI and the many compatible providers speak it.

Source: the types of the openai SDK 3.52 (``chat/``), and what compatible servers add to it
(``video_url`` of vLLM, ``document_url`` and ``thinking`` of Mistral, ``reasoning_content``).
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent
from llmtrace.domain.parts import MediaKind, Path
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.chat_answers import ChatReader, whole_answer
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import OpenAIErrors
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
    as_str,
    by_type,
    each,
    media_base64,
    media_id,
    media_url,
    members,
    schema,
    speaking,
    streams,
    text,
    tool,
)

KNOWN: Final = words(
    """
    model role type id object tool_call_id call_id name function tool_choice mode function_call
    reasoning_effort effort reasoning verbosity service_tier stream_options modalities audio voice
    format detail prompt_cache_key prompt_cache_retention safety_identifier status cache_control
    ttl provider order ignore only sort quantizations data_collection route
    """
)
"""Keys of a request whose values are names, ids and keywords."""

VOICES: Final[Mapping[str, Voice]] = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": ASSISTANT,
    "tool": TOOL_RESULT,
    "function": TOOL_RESULT,
}


def _input_audio(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    mime = f"audio/{as_str(as_dict(value).get('format')) or '*'}"
    members(data=media_base64(MediaKind.AUDIO, mime))(reading, value, path, voice)


def _linked(kind: MediaKind) -> Reader:
    """Media as ``{"url": …}`` or, as some providers take it, as the URL alone."""
    url, linked = media_url(kind), members(url=media_url(kind))

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        (url if isinstance(value, str) else linked)(reading, value, path, voice)

    return read


_FILE = members(
    file_data=media_base64(MediaKind.FILE), file_id=media_id(MediaKind.FILE), filename=text
)
CONTENT: Final[Reader] = each(
    by_type(
        {
            "text": members(text=text),
            "refusal": members(refusal=text),
            "thinking": members(thinking=each(by_type({"text": members(text=text)}))),
            "image_url": members(image_url=_linked(MediaKind.IMAGE)),
            "video_url": members(video_url=_linked(MediaKind.VIDEO)),
            "audio_url": members(audio_url=_linked(MediaKind.AUDIO)),
            "document_url": members(document_url=_linked(MediaKind.FILE)),
            "input_audio": members(input_audio=_input_audio),
            "file": members(file=_FILE),
        }
    )
)
_CALL: Final[Reader] = speaking(
    TOOL_CALL,
    members(function=members(arguments=text), custom=members(input=text)),
)
_MESSAGE: Final[Reader] = members(
    content=CONTENT,
    audio=members(id=media_id(MediaKind.AUDIO)),
    name=text,
    refusal=text,
    reasoning=text,
    reasoning_content=text,
    tool_calls=each(_CALL),
    function_call=speaking(TOOL_CALL, members(arguments=text)),
)


def _message(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    speaker = VOICES.get(as_str(as_dict(value).get("role")), voice)
    _MESSAGE(reading, value, path, speaker)


_FUNCTION: Final[Reader] = members(name=text, description=text, parameters=schema, schema=schema)


def _tool_name(definition: dict[str, Json]) -> Json:
    inner = definition.get("function") or definition.get("custom")
    return as_dict(inner).get("name") or definition.get("name") or definition.get("type")


_TOOL: Final[Reader] = tool(
    members(function=_FUNCTION, custom=_FUNCTION, name=text, description=text, parameters=schema),
    name=_tool_name,
)
_REQUEST: Final[Reader] = members(
    messages=each(_message),
    tools=each(_TOOL),
    functions=each(_TOOL),
    response_format=speaking(SYSTEM, members(json_schema=_FUNCTION)),
    prediction=speaking(USER, members(content=CONTENT)),
    metadata=anything,
)


class OpenAIChat(OpenAIErrors):
    """The dialect of ``/v1/chat/completions``."""

    @property
    def name(self) -> str:
        """``openai.chat``."""
        return "openai.chat"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read messages, tools and what else of the request is text."""
        reading = Reading(KNOWN)
        _REQUEST(reading, body, (), UNKNOWN)
        fields = as_dict(body)
        limit = as_count(fields.get("max_completion_tokens"))
        return RequestView(
            model=as_str(fields.get("model")) or route.model,
            stream=streams(body, route),
            parts=reading.parts,
            media=reading.media,
            tools=reading.tools,
            max_output_tokens=as_count(fields.get("max_tokens")) if limit is None else limit,
            choices=max(1, as_count(fields.get("n")) or 1),
            conversation_hint=as_str(fields.get("prompt_cache_key")),
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer, or an error."""
        return whole_answer(body)

    def reader(self) -> ChatReader:
        """Return a reader of chat chunks."""
        return ChatReader()
