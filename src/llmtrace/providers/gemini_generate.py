"""``gemini.generate``: ``generateContent`` and its kin, at AI Studio, Vertex and the CLI's service.

Google takes each member in two spellings, ``systemInstruction`` and ``system_instruction``; so
do the tables here. ``embedContent`` and ``countTokens`` are read by the same ones.

Source: the types of the google-genai SDK 3.4; ProtoJSON for the spellings.
"""

import re
from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent
from llmtrace.domain.parts import MediaKind, Path
from llmtrace.providers.base import Json, RequestView, Route, ToolDefinition
from llmtrace.providers.gemini_answers import GeminiReader, whole_answer
from llmtrace.providers.leaves import words
from llmtrace.providers.media import kind_of
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
    each,
    media_base64,
    media_url,
    members,
    opaque,
    schema,
    speaking,
    text,
    tool,
    tool_digest,
)

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def snake(name: str) -> str:
    """Return the other spelling of a member: ``fileUri`` is ``file_uri``."""
    return _WORD.sub("_", name).lower()


def both(**readers: Reader) -> Reader:
    """Read an object by a table of its keys, each in both spellings."""
    return members({snake(key): reader for key, reader in readers.items()}, **readers)


_CAMEL: Final = words(
    """
    role id name mimeType model language outcome mode allowedFunctionNames responseMimeType
    cachedContent threshold category taskType voiceName languageCode behavior scheduling method
    responseModalities mediaResolution thinkingLevel serviceTier project toolType aspectRatio
    imageSize personGeneration sessionId userPromptId routingConfig
    """
)
KNOWN: Final = _CAMEL | words("user_prompt_id session_id") | frozenset(map(snake, _CAMEL))
"""Keys whose values are names, ids and keywords."""

VOICES: Final[Mapping[str, Voice]] = {
    "user": USER,
    "model": ASSISTANT,
    "function": TOOL_RESULT,
    "tool": TOOL_RESULT,
    "system": SYSTEM,
}
STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Google's names of HTTP statuses (``google/rpc/code.proto``)."""


def spelled(value: Json, key: str) -> Json:
    """Return a member in whichever spelling it stands."""
    fields = as_dict(value)
    return fields[key] if key in fields else fields.get(snake(key))


def _mime(value: Json) -> str:
    return as_str(spelled(value, "mimeType")).lower()


def _inline(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    mime = _mime(value)
    data = media_base64(kind_of(mime), mime)
    both(data=data, displayName=text)(reading, value, path, voice)


def _file(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    link = media_url(kind_of(_mime(value), MediaKind.FILE))
    both(fileUri=link, displayName=text)(reading, value, path, voice)


_RESPONSE_PARTS: Final[Reader] = each(both(inlineData=_inline, fileData=_file))
_PART: Final[Reader] = both(
    text=text,
    inlineData=_inline,
    fileData=_file,
    functionCall=speaking(TOOL_CALL, both(args=anything)),
    functionResponse=speaking(TOOL_RESULT, both(response=anything, parts=_RESPONSE_PARTS)),
    toolCall=speaking(TOOL_CALL, both(args=anything)),
    toolResponse=speaking(TOOL_RESULT, both(response=anything)),
    executableCode=speaking(TOOL_CALL, both(code=text)),
    codeExecutionResult=speaking(TOOL_RESULT, both(output=text)),
    thoughtSignature=opaque,
)


def _one_part(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    (text if isinstance(value, str) else _PART)(reading, value, path, voice)


_PARTS: Final[Reader] = members(parts=each(_one_part))


def _content(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read one turn; without a role it is the voice of what holds it."""
    if isinstance(value, str):
        text(reading, value, path, voice)
        return
    role = as_str(as_dict(value).get("role"))
    _PARTS(reading, value, path, VOICES.get(role, UNKNOWN) if role else voice)


def _system(reading: Reading, value: Json, path: Path, _: Voice) -> None:
    """Read a system instruction, whatever role it claims."""
    (text if isinstance(value, str) else _PARTS)(reading, value, path, SYSTEM)


_FUNCTION: Final[Reader] = tool(
    both(
        name=text,
        description=text,
        parameters=schema,
        parametersJsonSchema=schema,
        response=schema,
        responseJsonSchema=schema,
    ),
    name=lambda definition: definition.get("name"),
)
_DECLARATIONS: Final = frozenset({"functionDeclarations", "function_declarations"})
_TOOL_MEMBERS: Final[Reader] = both(functionDeclarations=each(_FUNCTION))


def _tool(reading: Reading, value: Json, path: Path, _: Voice) -> None:
    """Read a tool: functions of the caller's, and services of Google's by their names."""
    for name, definition in as_dict(value).items():
        if name not in _DECLARATIONS:
            found = ToolDefinition(name=name, digest=tool_digest(definition))
            reading.tools.append(found)
    _TOOL_MEMBERS(reading, value, path, TOOL_DESCRIPTION)


_SETTINGS: Final[Reader] = members()
_CONFIG: Final[Reader] = both(
    responseSchema=speaking(SYSTEM, schema),
    responseJsonSchema=speaking(SYSTEM, schema),
    thinkingConfig=_SETTINGS,
    imageConfig=_SETTINGS,
)


def _request(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    _REQUEST(reading, value, path, voice)


_REQUEST: Final[Reader] = both(
    contents=each(speaking(USER, _content)),
    content=speaking(USER, _content),
    systemInstruction=_system,
    tools=each(_tool),
    toolConfig=both(functionCallingConfig=_SETTINGS),
    safetySettings=each(_SETTINGS),
    generationConfig=_CONFIG,
    instances=each(speaking(USER, both(content=text))),
    generateContentRequest=_request,
    request=_request,
    requests=each(_request),
    labels=anything,
)
_WRAPPERS: Final = ("request", "generateContentRequest")


def _inner(body: Json) -> dict[str, Json]:
    """Return the object that holds the contents: the body, or what it wraps."""
    fields = as_dict(body)
    if "contents" in fields:
        return fields
    wrapped = (spelled(fields, key) for key in _WRAPPERS)
    return next((inner for inner in wrapped if isinstance(inner, dict)), fields)


class GeminiGenerate:
    """The dialect of ``models/…:generateContent`` and its kin."""

    @property
    def name(self) -> str:
        """``gemini.generate``."""
        return "gemini.generate"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read contents, system instruction and tools, bare or wrapped in ``request``."""
        reading = Reading(KNOWN)
        _REQUEST(reading, body, (), UNKNOWN)
        inner = _inner(body)
        config = spelled(inner, "generationConfig")
        model = as_str(as_dict(body).get("model")) or as_str(inner.get("model"))
        return RequestView(
            model=route.model or model.rpartition("/")[2],
            stream=route.stream is True,
            parts=reading.parts,
            media=reading.media,
            tools=reading.tools,
            max_output_tokens=as_count(spelled(config, "maxOutputTokens")),
            choices=max(1, as_count(spelled(config, "candidateCount")) or 1),
            conversation_hint=as_str(spelled(inner, "sessionId")),
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer, or an error."""
        return whole_answer(body)

    def reader(self) -> GeminiReader:
        """Return a reader of chunks, from SSE or from a streamed array."""
        return GeminiReader()

    def refusal(self, *, status: int, code: str, message: str) -> bytes:
        """Return ``{"error": {"code", "message", "status", "details"}}``."""
        named = STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
        return _error(status, named, code, message)

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return an SSE event with the error; the SDKs always stream as SSE."""
        policy = stream_kind(code) == "policy_violation"
        status, named = (400, "INVALID_ARGUMENT") if policy else (500, "INTERNAL")
        return b"data: " + _error(status, named, code, message) + b"\r\n\r\n"


def _error(status: int, named: str, code: str, message: str) -> bytes:
    info: Json = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": code.upper(),
        "domain": "llmtrace",
    }
    error: dict[str, Json] = {
        "code": status,
        "message": message,
        "status": named,
        "details": [info],
    }
    return encode({"error": error})
