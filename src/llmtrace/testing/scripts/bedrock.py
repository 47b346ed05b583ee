"""Amazon Bedrock's runtime: Converse and InvokeModel, with real AWS event streams.

Source: the Amazon Bedrock API reference, "Converse", "ConverseStream", "InvokeModel",
"InvokeModelWithResponseStream", and "Amazon event stream encoding".
"""

import base64
import binascii
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from llmtrace.testing.script import Script, cut
from llmtrace.testing.scripts import anthropic
from llmtrace.testing.scripts.openai_chat import VECTOR
from llmtrace.testing.wire import (
    JSON,
    Chunk,
    Dialect,
    Entry,
    JsonObject,
    Reply,
    Request,
    arguments_of,
    compact,
    json_reply,
    objects,
    stream_reply,
    text_of,
)

EVENT_STREAM: Final = "application/vnd.amazon.eventstream"
_STRING: Final = 7
_MODEL: Final = re.compile(r"/model/(.+?)/(?:converse|invoke|count-tokens)")
ERROR_TYPES: Final[Mapping[int, str]] = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def _header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + bytes([_STRING]) + struct.pack(">H", len(value)) + value


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message of an AWS event stream: prelude, headers, payload and both CRCs."""
    packed = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    prelude = struct.pack(">II", 12 + len(packed) + len(payload) + 4, len(packed))
    head = prelude + struct.pack(">I", binascii.crc32(prelude))
    message = head + packed + payload
    return message + struct.pack(">I", binascii.crc32(message))


def event(kind: str, value: object) -> bytes:
    """Return an event message of type ``kind``."""
    headers = {":event-type": kind, ":content-type": JSON, ":message-type": "event"}
    return encode(headers, compact(value))


def exception(kind: str, message: str) -> bytes:
    """Return an exception message, which ends a stream."""
    headers = {":exception-type": kind, ":content-type": JSON, ":message-type": "exception"}
    return encode(headers, compact({"message": message}))


def error(script: Script, message: str) -> JsonObject:
    """Return Bedrock's error body; its type is the header ``x-amzn-ErrorType``."""
    return {"message": message}


def entries(body: JsonObject) -> list[Entry]:
    """Return the conversation of Converse, or of a native body of InvokeModel."""
    found = []
    for message in objects(body.get("messages")):
        content = message.get("content")
        blocks = objects(content)
        if any("toolResult" in b or b.get("type") == "tool_result" for b in blocks):
            found.append(Entry("tool", ""))
        kind = "assistant" if message.get("role") == "assistant" else "user"
        text = text_of(content)
        if text.strip() or kind == "assistant":
            found.append(Entry(kind, text))
    native = (body.get("prompt"), body.get("inputText"))
    return found + [Entry("user", text) for text in native if isinstance(text, str)]


def _tools(body: JsonObject) -> set[str]:
    names = {str(tool.get("name")) for tool in objects(body.get("tools"))}
    config = body.get("toolConfig")
    for tool in objects(config.get("tools") if isinstance(config, dict) else None):
        names.add(str((tool.get("toolSpec") or {}).get("name")))
    return names


DIALECT: Final = Dialect(name="bedrock.converse", entries=entries, tools=_tools, error=error)
INVOKE: Final = Dialect(name="bedrock.invoke", entries=entries, tools=_tools, error=error)


def usage(script: Script) -> JsonObject:
    """Return Converse's usage. ``inputTokens`` leaves out the cache."""
    fresh = max(0, script.input_tokens - script.cached - script.cache_write)
    found: JsonObject = {
        "inputTokens": script.count(fresh),
        "outputTokens": script.count(script.output_tokens),
        "totalTokens": script.count(script.input_tokens + script.output_tokens),
    }
    if script.cached or script.cache_write:
        found["cacheReadInputTokens"] = script.cached
        found["cacheWriteInputTokens"] = script.cache_write
    return found


def _stop(script: Script) -> str:
    return script.stop or ("tool_use" if script.tool_calls else "end_turn")


def _content(request: Request, script: Script) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    if script.reasoning:
        text = {"text": script.reasoning, "signature": anthropic.SIGNATURE}
        blocks.append({"reasoningContent": {"reasoningText": text}})
    if not script.tool_calls:
        blocks.append({"text": script.refusal or script.words})
    for index, tool in enumerate(script.tool_calls):
        use = {"toolUseId": f"tooluse_{request.id}_{index}", "name": tool.name}
        blocks.append({"toolUse": use | {"input": arguments_of(tool)}})
    return blocks


def converse(request: Request, script: Script) -> Reply:
    """Answer ``POST /model/ID/converse``."""
    message = {"role": "assistant", "content": _content(request, script)}
    return json_reply(
        {
            "output": {"message": message},
            "stopReason": _stop(script),
            "usage": usage(script),
            "metrics": {"latencyMs": 7},
        },
        headers=(("x-amzn-requestid", f"req-{request.id}"),),
    )


def _block_events(
    request: Request, script: Script
) -> Iterator[tuple[JsonObject | None, list[JsonObject]]]:
    """Yield each block's start (None where it has none) and its deltas."""
    if script.reasoning:
        deltas: list[JsonObject] = [
            {"reasoningContent": {"text": piece}} for piece in cut(script.reasoning, 0)
        ]
        yield None, [*deltas, {"reasoningContent": {"signature": anthropic.SIGNATURE}}]
    if not script.tool_calls:
        pieces = [script.refusal] if script.refusal else script.pieces
        yield None, [{"text": piece} for piece in pieces]
    for index, tool in enumerate(script.tool_calls):
        use = {"toolUseId": f"tooluse_{request.id}_{index}", "name": tool.name}
        pieces = cut(tool.arguments, max(script.chunks, 3))
        yield {"toolUse": use}, [{"toolUse": {"input": piece}} for piece in pieces]


def _converse_stream(request: Request, script: Script) -> Iterator[Chunk]:
    yield Chunk(event("messageStart", {"role": "assistant"}))
    paced = 0
    for index, (start, deltas) in enumerate(_block_events(request, script)):
        at = {"contentBlockIndex": index}
        if start:
            yield Chunk(event("contentBlockStart", {"start": start, **at}))
        for delta in deltas:
            yield Chunk(event("contentBlockDelta", {"delta": delta, **at}), True)
            paced += 1
            if script.error_after and paced == script.error_after:
                yield Chunk(exception("modelStreamErrorException", "The model failed."))
                return
        yield Chunk(event("contentBlockStop", at))
    yield Chunk(event("messageStop", {"stopReason": _stop(script)}))
    yield Chunk(event("metadata", {"usage": usage(script), "metrics": {"latencyMs": 7}}))


def converse_stream(request: Request, script: Script) -> Reply:
    """Answer ``POST /model/ID/converse-stream``."""
    headers = (("x-amzn-requestid", f"req-{request.id}"),)
    return stream_reply(_converse_stream(request, script), EVENT_STREAM, headers)


def model_of(request: Request) -> str:
    """Return the model (or ARN) that a path names."""
    match = _MODEL.search(request.path)
    return unquote(match.group(1)) if match else ""


def _native(request: Request, script: Script) -> JsonObject:
    """Return a whole native answer in the shape of the model's maker."""
    model = model_of(request)
    if "embed" in model:
        return {"embedding": list(VECTOR), "inputTextTokenCount": script.input_tokens}
    if "meta." in model:
        return {
            "generation": script.words,
            "prompt_token_count": script.count(script.input_tokens),
            "generation_token_count": script.count(script.output_tokens),
            "stop_reason": "stop",
        }
    if "titan" in model:
        result = {"tokenCount": script.output_tokens, "outputText": script.words}
        results = [result | {"completionReason": "FINISH"}]
        return {"inputTextTokenCount": script.input_tokens, "results": results}
    return anthropic.message(request, script) | {"model": model}


def invoke(request: Request, script: Script) -> Reply:
    """Answer ``POST /model/ID/invoke``."""
    headers = (
        ("x-amzn-requestid", f"req-{request.id}"),
        ("x-amzn-bedrock-input-token-count", str(script.input_tokens)),
        ("x-amzn-bedrock-output-token-count", str(script.output_tokens)),
        ("x-amzn-bedrock-invocation-latency", "7"),
    )
    return json_reply(_native(request, script), headers=headers)


def _native_events(request: Request, script: Script) -> list[tuple[JsonObject, bool]]:
    if "meta." in model_of(request):
        pieces: list[JsonObject] = [
            {"generation": piece, "generation_token_count": 1, "stop_reason": None}
            for piece in script.pieces
        ]
        end = {"generation": "", "generation_token_count": 1, "stop_reason": "stop"}
        return [(piece, True) for piece in pieces] + [(end, False)]
    return list(anthropic.events(request, script))


def invoke_stream(request: Request, script: Script) -> Reply:
    """Answer ``POST /model/ID/invoke-with-response-stream``."""
    events = _native_events(request, script)
    events[-1][0]["amazon-bedrock-invocationMetrics"] = {
        "inputTokenCount": script.input_tokens,
        "outputTokenCount": script.output_tokens,
        "invocationLatency": 7,
        "firstByteLatency": 3,
    }
    chunks = (
        Chunk(event("chunk", {"bytes": base64.b64encode(compact(value)).decode()}), is_delta)
        for value, is_delta in events
    )
    headers = (("x-amzn-bedrock-content-type", JSON),)
    return stream_reply(chunks, EVENT_STREAM, headers)


def count_tokens(request: Request, script: Script) -> Reply:
    """Answer ``POST /model/ID/count-tokens``."""
    return json_reply({"inputTokens": script.count(script.input_tokens)})
