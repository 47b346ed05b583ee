"""``openai.responses``: the Responses API; ``openai.realtime``, whose items are the same kind.

Source: the types of the openai SDK 3.52 (``responses/``, ``realtime/``).
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent
from llmtrace.domain.parts import MediaKind, Path
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import (
    OpenAIErrors,
    encode,
    error_object,
    stream_kind,
)
from llmtrace.providers.reading import (
    ASSISTANT,
    SYSTEM,
    TOOL_CALL,
    TOOL_DESCRIPTION,
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
    credential,
    each,
    media_base64,
    media_id,
    media_url,
    members,
    opaque,
    schema,
    speaking,
    streams,
    text,
    tool,
    untrusted,
)
from llmtrace.providers.responses_answers import ResponsesReader, whole_answer

KNOWN: Final = words(
    """
    model role type id object call_id item_id name namespace server_label connector_id status phase
    tool_choice mode reasoning effort summary generate_summary verbosity service_tier truncation
    include previous_response_id conversation prompt_cache_key prompt_cache_retention
    safety_identifier format detail stream_options cache_control file_id file_ids vector_store_ids
    container container_id memory_limit environment input_fidelity background moderation
    output_format quality size ranking_options ranker search_context_size require_approval
    approval_request_id encoding created_by context_management caller execution
    voice modalities output_modalities input_audio_format output_audio_format turn_detection
    eagerness audio rate input output noise_reduction transcription language tracing event_id
    item_reference input_audio_transcription
    """
)
"""Keys whose values are names, ids and keywords."""

VOICES: Final[Mapping[str, Voice]] = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": ASSISTANT,
    "tool": TOOL_RESULT,
}


def _audio(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read ``input_audio``: an object with ``data`` (Responses), or base64 itself (Realtime)."""
    if isinstance(value, dict):
        mime = f"audio/{as_str(value.get('format')) or '*'}"
        members(data=media_base64(MediaKind.AUDIO, mime))(reading, value, path, voice)
    else:
        media_base64(MediaKind.AUDIO)(reading, value, path, voice)


_AUDIO: Final[Reader] = members(audio=_audio, input_audio=_audio, transcript=text)
_TEXT: Final[Reader] = members(text=text, annotations=untrusted(anything))
CONTENT: Final[Reader] = each(
    by_type(
        {
            **dict.fromkeys(
                words("input_text output_text text summary_text reasoning_text"), _TEXT
            ),
            "refusal": members(refusal=text),
            **dict.fromkeys(words("input_audio output_audio audio"), _AUDIO),
            "input_image": members(
                image_url=media_url(MediaKind.IMAGE), file_id=media_id(MediaKind.IMAGE)
            ),
            "computer_screenshot": members(
                image_url=media_url(MediaKind.IMAGE), file_id=media_id(MediaKind.IMAGE)
            ),
            "input_file": members(
                file_data=media_base64(MediaKind.FILE),
                file_url=media_url(MediaKind.FILE),
                file_id=media_id(MediaKind.FILE),
                filename=text,
            ),
        }
    )
)


_MESSAGE: Final[Reader] = members(content=CONTENT)


def _message(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    _MESSAGE(reading, value, path, VOICES.get(as_str(as_dict(value).get("role")), voice))


_CALLED: Final[Mapping[str, Reader]] = {
    **dict.fromkeys(
        words("arguments input action actions operation queries code command commands"), anything
    ),
    "results": speaking(TOOL_RESULT, each(members(attributes=anything))),
    "outputs": speaking(
        TOOL_RESULT, each(by_type({"image": members(url=media_url(MediaKind.IMAGE))}))
    ),
    "output": speaking(TOOL_RESULT, CONTENT),
    "error": speaking(TOOL_RESULT, members()),
    "result": media_base64(MediaKind.IMAGE),
    "fingerprint": opaque,
}
_CALL: Final[Reader] = speaking(TOOL_CALL, members(_CALLED))
_SEARCH: Final[Reader] = speaking(
    TOOL_CALL,
    members(
        _CALLED,
        action=members(
            query=text,
            queries=each(text),
            url=text,
            pattern=text,
            sources=speaking(TOOL_RESULT, anything),
        ),
    ),
)
_RESULT: Final[Reader] = speaking(TOOL_RESULT, members(output=CONTENT))
_REASONING: Final[Reader] = speaking(
    ASSISTANT, members(summary=CONTENT, content=CONTENT, encrypted_content=opaque)
)

_TOOL: Final[Reader] = tool(
    members(
        name=text,
        description=text,
        parameters=schema,
        function=members(name=text, description=text, parameters=schema),
        server_label=text,
        server_description=text,
        server_url=text,
        headers=credential,
        authorization=credential,
        input_schema=schema,
    ),
    name=lambda d: (
        as_dict(d.get("function")).get("name")
        or d.get("name")
        or d.get("server_label")
        or d.get("type")
    ),
)
_CALLS: Final = words(
    """
    function_call custom_tool_call mcp_call mcp_approval_request shell_call local_shell_call
    apply_patch_call computer_call file_search_call code_interpreter_call
    image_generation_call tool_search_call program
    """
)
_RESULTS: Final = words(
    """
    function_call_output custom_tool_call_output shell_call_output local_shell_call_output
    apply_patch_call_output computer_call_output mcp_approval_response program_output
    """
)
_ITEM: Final[Reader] = by_type(
    {
        "message": _message,
        "reasoning": _REASONING,
        "compaction": members(encrypted_content=opaque),
        "item_reference": members(),
        "mcp_list_tools": speaking(TOOL_DESCRIPTION, members(tools=each(_TOOL))),
        "tool_search_output": speaking(TOOL_DESCRIPTION, members(tools=each(_TOOL))),
        **dict.fromkeys(_CALLS, _CALL),
        "web_search_call": _SEARCH,
        **dict.fromkeys(_RESULTS, _RESULT),
    },
    other=_message,
)
_FIELDS: Final[Mapping[str, Reader]] = {
    "instructions": speaking(SYSTEM, each(_ITEM)),
    "input": speaking(USER, each(_ITEM)),
    "tools": each(_TOOL),
    "text": speaking(SYSTEM, members(format=members(name=text, description=text, schema=schema))),
    "prompt": speaking(USER, members(variables=anything)),
    "metadata": anything,
}
_REQUEST: Final[Reader] = members(_FIELDS)
_MESSAGES: Final[Mapping[str, Reader]] = {
    "conversation.item.create": members(item=speaking(USER, _ITEM)),
    "response.create": members(_FIELDS, response=_REQUEST),
    "session.update": members(session=_REQUEST),
    "transcription_session.update": members(session=_REQUEST),
}
"""Messages of a WebSocket's client, by their type, that are judged by themselves."""


class OpenAIResponses(OpenAIErrors):
    """The dialect of ``/v1/responses``, over HTTP and as the body of a ``response.create``."""

    @property
    def name(self) -> str:
        """``openai.responses``."""
        return "openai.responses"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read instructions, input items and tools. ``generate: false`` costs nothing."""
        reading = Reading(KNOWN)
        fields = as_dict(body)
        _MESSAGES.get(as_str(fields.get("type")), _REQUEST)(reading, body, (), UNKNOWN)
        limit = as_count(fields.get("max_output_tokens"))
        return RequestView(
            model=as_str(fields.get("model")) or route.model,
            stream=streams(body, route),
            parts=reading.parts,
            media=reading.media,
            tools=reading.tools,
            max_output_tokens=limit,
            previous_response_id=as_str(fields.get("previous_response_id")),
            conversation_hint=_conversation(fields),
            billable=route.billable and fields.get("generate") is not False,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole response, or an error."""
        return whole_answer(body)

    def reader(self) -> ResponsesReader:
        """Return a reader of the typed events."""
        return ResponsesReader()

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return an ``event: error`` with an error object: ``openai.APIError`` in the SDK.

        The event that the API's own specification has is handed on as data and raises nothing.
        """
        error = error_object(kind=stream_kind(code), code=code, message=message)
        return b"event: error\ndata: " + encode({"error": error}) + b"\n\n"


class OpenAIRealtime(OpenAIResponses):
    """The dialect of ``/v1/realtime``, whose calls ``websocket`` puts together."""

    @property
    def name(self) -> str:
        """``openai.realtime``."""
        return "openai.realtime"


def _conversation(fields: dict[str, Json]) -> str:
    """Return the conversation's id (Realtime has ``auto`` and ``none`` there), or the cache's."""
    conversation = fields.get("conversation")
    named = as_str(conversation) or as_str(as_dict(conversation).get("id"))
    return named if named.startswith("conv") else as_str(fields.get("prompt_cache_key"))
