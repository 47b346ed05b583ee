"""``bedrock.converse`` and ``bedrock.invoke``: Amazon Bedrock's two ways to call a model.

Converse has one format for all models. Invoke takes each model's own: Anthropic's, Nova's
(Converse without its envelope), chat messages, or a prompt; it is told by the body's shape.

Source: the service model of bedrock-runtime in botocore 1.44; the parameter pages of Amazon
Bedrock's user guide.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from llmtrace.domain.answers import AnswerEvent
from llmtrace.domain.parts import MediaKind, Path
from llmtrace.providers.anthropic_messages import AnthropicMessages
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.bedrock_answers import ConverseReader, converse_answer
from llmtrace.providers.bedrock_invoke_answers import InvokeReader, invoke_answer
from llmtrace.providers.framing.writers import message as event_message
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_chat import OpenAIChat
from llmtrace.providers.openai_errors import encode, stream_kind
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
    media_url,
    members,
    opaque,
    schema,
    speaking,
    text,
    tool,
    untrusted,
)

KNOWN: Final = words(
    """
    role type name toolUseId status format ttl latency guardrailIdentifier guardrailVersion trace
    bucketOwner schemaVersion auto any effort qualifiers
    """
)
"""Keys whose values are names, ids and keywords."""

VOICES: Final[Mapping[str, Voice]] = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}

EXCEPTIONS: Final[Mapping[int, str]] = {
    400: "ValidationException",
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_MIME: Final[Mapping[str, str]] = {
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "pdf": "application/pdf",
}
"""Media types of the document formats that say more than that they are files."""


def _mime(kind: MediaKind, form: str) -> str:
    if kind is MediaKind.FILE:
        return _MIME.get(form, "")
    return f"{kind.value}/{form}" if form else ""


def _media(kind: MediaKind) -> Reader:
    """Read media: its source is base64, an object in S3, or (documents) text."""

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        mime = _mime(kind, as_str(as_dict(value).get("format")))
        source = members(
            bytes=media_base64(kind, mime),
            s3Location=members(uri=media_url(kind)),
            text=text,
            content=each(members(text=text)),
        )
        members(source=source, name=text, context=text)(reading, value, path, voice)

    return read


_SETTINGS: Final[Reader] = members()
_MEDIA: Final[Mapping[str, Reader]] = {
    "image": _media(MediaKind.IMAGE),
    "video": _media(MediaKind.VIDEO),
    "audio": _media(MediaKind.AUDIO),
    "document": untrusted(_media(MediaKind.FILE)),
}
_SEARCH_RESULT: Final[Reader] = untrusted(
    members(source=text, title=text, content=each(members(text=text)))
)
_RESULT: Final[Reader] = members(_MEDIA, text=text, json=anything, searchResult=_SEARCH_RESULT)
_GUARDED: Final[Reader] = members(text=members(text=text), image=_MEDIA["image"])
_REASONING: Final[Reader] = members(
    reasoningText=members(text=text, signature=opaque), redactedContent=opaque
)
_CITED: Final[Reader] = members(content=each(members(text=text)))
_BLOCK: Final[Reader] = members(
    _MEDIA,
    text=text,
    toolUse=speaking(TOOL_CALL, members(input=anything)),
    toolResult=speaking(TOOL_RESULT, members(content=each(_RESULT))),
    guardContent=_GUARDED,
    reasoningContent=_REASONING,
    citationsContent=_CITED,
    searchResult=_SEARCH_RESULT,
    cachePoint=_SETTINGS,
)


def _block(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    (text if isinstance(value, str) else _BLOCK)(reading, value, path, voice)


_MESSAGE: Final[Reader] = members(content=each(_block))


def _message(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    _MESSAGE(reading, value, path, VOICES.get(as_str(as_dict(value).get("role")), voice))


def _tool_name(definition: dict[str, Json]) -> Json:
    kinds = (as_dict(definition.get(key)) for key in ("toolSpec", "systemTool"))
    return next((kind["name"] for kind in kinds if "name" in kind), "")


_SPEC: Final[Reader] = members(name=text, description=text, inputSchema=members(json=schema))
_TOOL: Final[Reader] = tool(members(toolSpec=_SPEC, systemTool=_SPEC), name=_tool_name)


_CACHE_POINT: Final[Reader] = members(cachePoint=_SETTINGS)


def _tool_or_cache_point(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    (_CACHE_POINT if "cachePoint" in as_dict(value) else _TOOL)(reading, value, path, voice)


_SCHEMA: Final[Reader] = members(schema=text, name=text, description=text)
_REQUEST: Final[Reader] = members(
    system=speaking(SYSTEM, each(_block)),
    messages=each(_message),
    toolConfig=members(tools=each(_tool_or_cache_point), toolChoice=members(tool=_SETTINGS)),
    guardrailConfig=_SETTINGS,
    performanceConfig=_SETTINGS,
    serviceTier=_SETTINGS,
    promptVariables=speaking(USER, anything),
    requestMetadata=anything,
    outputConfig=speaking(
        SYSTEM, members(textFormat=members(structure=members(jsonSchema=_SCHEMA)))
    ),
)


class BedrockErrors:
    """``refusal`` and ``stream_error`` of ``base.Dialect`` for both ways."""

    def refusal(self, *, status: int, code: str, message: str) -> bytes:
        """Return ``{"message"}``, with the exception's name where SDKs look for it."""
        default = "ValidationException" if status < 500 else "InternalServerException"
        return encode({"__type": EXCEPTIONS.get(status, default), "message": message})

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return a message of the event stream that is an exception."""
        policy = stream_kind(code) == "policy_violation"
        headers = {
            ":message-type": "exception",
            ":exception-type": "validationException" if policy else "internalServerException",
            ":content-type": "application/json",
        }
        return event_message(headers, encode({"message": message}))


class BedrockConverse(BedrockErrors):
    """The dialect of ``/model/…/converse`` and ``/converse-stream``."""

    @property
    def name(self) -> str:
        """``bedrock.converse``."""
        return "bedrock.converse"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read system, messages and tools. The path names model and stream."""
        reading = Reading(KNOWN)
        _REQUEST(reading, body, (), UNKNOWN)
        config = as_dict(as_dict(body).get("inferenceConfig"))
        return RequestView(
            model=route.model,
            stream=route.stream is True,
            parts=reading.parts,
            media=reading.media,
            tools=reading.tools,
            max_output_tokens=as_count(config.get("maxTokens")),
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer, or an error."""
        return converse_answer(body)

    def reader(self) -> ConverseReader:
        """Return a reader of a ConverseStream."""
        return ConverseReader()


_TURNS: Final[Reader] = each(speaking(USER, members(message=text, text=text)))
_PROMPT: Final[Reader] = members(
    prompt=speaking(USER, text),
    inputText=speaking(USER, text),
    message=speaking(USER, text),
    texts=speaking(USER, each(text)),
    preamble=speaking(SYSTEM, text),
    chat_history=_TURNS,
    inputImage=speaking(USER, media_base64(MediaKind.IMAGE)),
    images=speaking(USER, each(media_base64(MediaKind.IMAGE))),
)
_NATIVE_KNOWN: Final = words(
    "role input_type truncate taskType embeddingTypes embedding_types return_likelihoods"
)
_LIMITS: Final = ("max_gen_len", "max_tokens", "maxTokens", "max_tokens_to_sample")


class BedrockInvoke(BedrockErrors):
    """The dialect of ``/model/…/invoke`` and ``/invoke-with-response-stream``."""

    def __init__(self) -> None:
        self._anthropic = AnthropicMessages()
        self._converse = BedrockConverse()
        self._chat = OpenAIChat()

    @property
    def name(self) -> str:
        """``bedrock.invoke``."""
        return "bedrock.invoke"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read the model's own format, told by its shape. The path names model and stream."""
        fields = as_dict(body)
        if "anthropic_version" in fields:
            view = self._anthropic.request(body, route)
        elif "schemaVersion" in fields or _has_blocks(fields):
            view = self._converse.request(body, route)
        elif "messages" in fields:
            view = self._chat.request(body, route)
        else:
            view = self._prompt(body, route)
        return replace(view, model=route.model, stream=route.stream is True)

    def _prompt(self, body: Json, route: Route) -> RequestView:
        reading = Reading(_NATIVE_KNOWN)
        _PROMPT(reading, body, (), UNKNOWN)
        fields = as_dict(body)
        limits = [as_count(fields.get(key)) for key in _LIMITS]
        titan = as_dict(fields.get("textGenerationConfig")).get("maxTokenCount")
        return RequestView(
            parts=reading.parts,
            media=reading.media,
            max_output_tokens=next((n for n in limits if n is not None), as_count(titan)),
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer in the model's own format, or an error."""
        return invoke_answer(body)

    def reader(self) -> InvokeReader:
        """Return a reader of a stream of the model's own events."""
        return InvokeReader()


def _has_blocks(body: dict[str, Json]) -> bool:
    """Tell Converse's blocks, ``{"text": …}`` without a type, from those of chat."""
    messages = as_list(body.get("messages"))
    contents = (as_list(as_dict(message).get("content")) for message in messages)
    blocks = [as_dict(block) for content in contents for block in content]
    return bool(blocks) and not any("type" in block for block in blocks)
