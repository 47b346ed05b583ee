"""Gemini's generateContent, streamed and not, of AI Studio and of Vertex.

Source: the Gemini API reference, "Generating content", "Embeddings", "Counting tokens".
"""

import re
from collections.abc import Iterator
from typing import Final

from llmtrace.testing.script import Script
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
    sse_event,
    stream_reply,
    text_of,
)

_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_MODEL: Final = re.compile(r"/models/([^/:]+)")


def error(script: Script, message: str) -> JsonObject:
    """Return Google's error body."""
    status = script.code or _STATUS.get(script.status, "INTERNAL")
    return {"error": {"code": script.status, "message": message, "status": status}}


def entries(body: JsonObject) -> list[Entry]:
    """Return the conversation; a ``functionResponse`` part is a tool's entry of its own."""
    found = []
    for content in objects(body.get("contents")):
        parts = objects(content.get("parts"))
        kind = "assistant" if content.get("role") == "model" else "user"
        if any("functionResponse" in part for part in parts):
            found.append(Entry("tool", ""))
        text = text_of(parts)
        if text.strip() or kind == "assistant":
            found.append(Entry(kind, text))
    return found


def _tools(body: JsonObject) -> set[str]:
    return {
        str(declared.get("name"))
        for tool in objects(body.get("tools"))
        for declared in objects(tool.get("functionDeclarations"))
    }


DIALECT: Final = Dialect(name="gemini.generate", entries=entries, tools=_tools, error=error)


def usage(script: Script) -> JsonObject:
    """Return usageMetadata. The prompt's count holds the cache; the candidates' no thoughts."""
    said = max(0, script.output_tokens - script.reasoning_tokens)
    found: JsonObject = {
        "promptTokenCount": script.count(script.input_tokens),
        "candidatesTokenCount": script.count(said),
        "totalTokenCount": script.count(script.input_tokens + script.output_tokens),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": script.input_tokens}],
    }
    if script.cached:
        found["cachedContentTokenCount"] = script.cached
    if script.reasoning_tokens:
        found["thoughtsTokenCount"] = script.reasoning_tokens
    return found


def _parts(request: Request, script: Script) -> Iterator[JsonObject]:
    """Yield the parts of a stream, each of which is a chunk of it."""
    if script.reasoning:
        yield {"text": script.reasoning, "thought": True}
    if not script.tool_calls:
        words = [script.refusal] if script.refusal else script.pieces
        yield from ({"text": piece} for piece in words)
    for tool in script.tool_calls:
        yield {"functionCall": {"name": tool.name, "args": arguments_of(tool)}}


def _whole(request: Request, script: Script) -> list[JsonObject]:
    """Return the parts of an answer that comes whole: neighbouring texts are one part."""
    parts = [part for part in _parts(request, script) if part.get("thought") or "text" not in part]
    if not script.tool_calls:
        parts.append({"text": script.refusal or script.words})
    return parts


def _answer(request: Request, script: Script, parts: list[JsonObject], *, last: bool) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = script.stop or ("SAFETY" if script.refusal else "STOP")
    match = _MODEL.search(request.path)
    return {
        "candidates": [candidate],
        "usageMetadata": usage(script),
        "modelVersion": script.answer_model or (match.group(1) if match else "gemini-2.5-flash"),
        "responseId": f"gemini-{request.id}",
    }


def generate(request: Request, script: Script) -> Reply:
    """Answer ``…:generateContent``."""
    return json_reply(_answer(request, script, _whole(request, script), last=True))


def _stream(request: Request, script: Script) -> Iterator[JsonObject]:
    parts = list(_parts(request, script))
    for index, part in enumerate(parts, start=1):
        if script.error_after and index > script.error_after:
            yield error(Script(status=503), "The model is overloaded.")
            return
        yield _answer(request, script, [part], last=index == len(parts))


def stream(request: Request, script: Script) -> Reply:
    """Answer ``…:streamGenerateContent``: events with ``alt=sse``, else one JSON array."""
    values = list(_stream(request, script))
    if request.query.get("alt") == "sse":
        # Google ends its lines with CR LF.
        events = (sse_event(value).replace(b"\n", b"\r\n") for value in values)
        return stream_reply((Chunk(event, True) for event in events), "text/event-stream")
    chunks = [
        Chunk((b"[" if index == 0 else b",\r\n") + compact(value), True)
        for index, value in enumerate(values)
    ]
    return stream_reply([*chunks, Chunk(b"\n]")], JSON)


def count_tokens(request: Request, script: Script) -> Reply:
    """Answer ``…:countTokens``."""
    return json_reply({"totalTokens": script.count(script.input_tokens)})


def embed(request: Request, script: Script) -> Reply:
    """Answer ``…:embedContent`` and ``…:batchEmbedContents``."""
    vector = {"values": list(VECTOR)}
    if request.path.endswith("batchEmbedContents"):
        return json_reply({"embeddings": [vector for _ in objects(request.json.get("requests"))]})
    return json_reply({"embedding": vector})
