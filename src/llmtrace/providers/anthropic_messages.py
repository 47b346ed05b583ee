"""``anthropic.messages``: the Messages API and its token count.

Source: the types of the anthropic SDK 2.11, beta blocks included.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from llmtrace.domain.answers import AnswerEvent
from llmtrace.domain.parts import MediaKind, Path
from llmtrace.providers.anthropic_answers import AnthropicReader, whole_answer
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import encode, stream_kind
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

KNOWN: Final = words(
    """
    model role type id name tool_use_id server_name cache_control ttl scope tool_choice thinking
    display service_tier inference_geo speed anthropic_version anthropic_beta betas container
    skill_id version context_management edits trigger keep clear_at_least exclude_tools media_type
    file_id effort caller tool_id allowed_callers error_code
    """
)
"""Keys whose values are names, ids and keywords."""

VOICES: Final[Mapping[str, Voice]] = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}

ERROR_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

DENIED: Final = "dlp_request_denied"
"""What Anthropic's clients take for final. Behind a base URL of another, Claude Code else takes a
400 for a gateway that is too old, and asks five more times with less in the request."""

TOOL_RESULTS: Final = words(
    """
    tool_result mcp_tool_result web_search_tool_result web_fetch_tool_result
    code_execution_tool_result bash_code_execution_tool_result
    text_editor_code_execution_tool_result tool_search_tool_result advisor_tool_result
    """
)
TOOL_USES: Final = words("tool_use server_tool_use mcp_tool_use")


def content(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read content: a string, null, or blocks, which may hold content again."""
    _CONTENT(reading, value, path, voice)


def _source(kind: MediaKind) -> Reader:
    """Read where media comes from: base64, a URL, a file, a text, or content."""
    others = by_type(
        {
            "url": members(url=media_url(kind)),
            "file": members(file_id=media_id(kind)),
            "text": members(data=text),
            "content": members(content=content),
        }
    )

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        source = as_dict(value)
        if source.get("type") == "base64":
            mime = as_str(source.get("media_type"))
            members(data=media_base64(kind, mime))(reading, value, path, voice)
        else:
            others(reading, value, path, voice)

    return read


_DOCUMENT: Final[Reader] = untrusted(
    members(source=_source(MediaKind.FILE), title=text, context=text, content=content)
)
_RESULT_ITEMS: Final[Reader] = members(
    content=content,
    source=_source(MediaKind.FILE),
    encrypted_content=opaque,
    encrypted_stdout=opaque,
)
_TOOL_USE: Final[Reader] = speaking(TOOL_CALL, members(input=anything))
_TOOL_RESULT: Final[Reader] = speaking(TOOL_RESULT, members(content=content))

_CONTENT: Final[Reader] = each(
    by_type(
        {
            "text": members(text=text, citations=each(members(encrypted_index=opaque))),
            "thinking": members(thinking=text, signature=opaque),
            "redacted_thinking": members(data=opaque),
            "image": members(source=_source(MediaKind.IMAGE)),
            "document": _DOCUMENT,
            "search_result": untrusted(members(content=content)),
            "container_upload": members(file_id=media_id(MediaKind.FILE)),
            "compaction": members(content=content),
            "mcp_tool_listing": speaking(TOOL_DESCRIPTION, anything),
            **dict.fromkeys(TOOL_USES, _TOOL_USE),
            **dict.fromkeys(TOOL_RESULTS, _TOOL_RESULT),
        },
        other=_RESULT_ITEMS,
    )
)
_MESSAGE: Final[Reader] = members(content=content)


def _message(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    _MESSAGE(reading, value, path, VOICES.get(as_str(as_dict(value).get("role")), voice))


_TOOL: Final[Reader] = tool(
    members(name=text, description=text, input_schema=schema, input_examples=anything),
    name=lambda definition: definition.get("name") or definition.get("type"),
)
_FORMAT: Final[Reader] = speaking(SYSTEM, members(schema=schema))
_REQUEST: Final[Reader] = members(
    system=speaking(SYSTEM, content),
    messages=each(_message),
    tools=each(_TOOL),
    output_format=_FORMAT,
    output_config=speaking(SYSTEM, members(format=_FORMAT)),
    mcp_servers=each(members(url=text, authorization_token=credential)),
    metadata=anything,
)


def session_of(user_id: str) -> str:
    """Return the session that Claude Code puts into ``metadata.user_id``, or nothing.

    It is JSON with ``session_id``; older versions wrote ``user_…_account_…_session_ID``.
    """
    try:
        return as_str(as_dict(orjson.loads(user_id)).get("session_id"))
    except orjson.JSONDecodeError:
        return user_id.rpartition("_session_")[2] if "_session_" in user_id else ""


class AnthropicMessages:
    """The dialect of ``/v1/messages`` and ``/v1/messages/count_tokens``."""

    @property
    def name(self) -> str:
        """``anthropic.messages``."""
        return "anthropic.messages"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read system, messages and tools."""
        reading = Reading(KNOWN)
        _REQUEST(reading, body, (), UNKNOWN)
        fields = as_dict(body)
        return RequestView(
            model=as_str(fields.get("model")) or route.model,
            stream=streams(body, route),
            parts=reading.parts,
            media=reading.media,
            tools=reading.tools,
            max_output_tokens=as_count(fields.get("max_tokens")),
            conversation_hint=session_of(as_str(as_dict(fields.get("metadata")).get("user_id"))),
            billable=route.billable and route.operation != "count_tokens",
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole message, or an error."""
        return whole_answer(body)

    def reader(self) -> AnthropicReader:
        """Return a reader of the named events."""
        return AnthropicReader()

    def refusal(self, *, status: int, code: str, message: str) -> bytes:
        """Return ``{"type": "error", …}``. The shape has no place for ``code``."""
        default = "invalid_request_error" if status < 500 else "api_error"
        return _error(ERROR_TYPES.get(status, default), message, code)

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return an ``event: error``: without that line the SDK ignores the error."""
        error = _error("permission_error" if _is_policy(code) else "api_error", message, code)
        return b"event: error\ndata: " + error + b"\n\n"


def _is_policy(code: str) -> bool:
    return stream_kind(code) == "policy_violation"


def _error(kind: str, message: str, code: str) -> bytes:
    error: dict[str, Json] = {"type": kind, "message": message}
    if _is_policy(code):
        error["details"] = {"error_code": DENIED}
    return encode({"type": "error", "error": error, "request_id": None})
