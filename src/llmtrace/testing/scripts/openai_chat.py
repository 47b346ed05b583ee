"""Chat completions, legacy completions, embeddings and models of OpenAI and its likes.

Source: the OpenAI API reference, "Chat", "Completions (legacy)", "Embeddings", "Models".
"""

import base64
import struct
from collections.abc import Iterator
from typing import Final

from llmtrace.testing.script import Script, cut
from llmtrace.testing.wire import (
    CREATED,
    Chunk,
    Dialect,
    Entry,
    JsonObject,
    Reply,
    Request,
    chat_entries,
    chat_tools,
    json_reply,
    sse_event,
    stream_reply,
    text_of,
)

DONE: Final = b"data: [DONE]\n\n"
_TYPES: Final = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def error(script: Script, message: str) -> JsonObject:
    """Return OpenAI's error body."""
    kind, code = _TYPES.get(script.status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": script.code or code}}


DIALECT: Final = Dialect(name="openai.chat", entries=chat_entries, tools=chat_tools, error=error)
LEGACY: Final = Dialect(
    name="openai.completions",
    entries=lambda body: [Entry("user", str(body.get("prompt") or ""))],
    tools=lambda _: set(),
    error=error,
)

EMBEDDINGS: Final = Dialect(
    name="openai.embeddings",
    entries=lambda body: [Entry("user", text_of(body.get("input")))],
    tools=lambda _: set(),
    error=error,
)


def usage(script: Script) -> JsonObject:
    """Return the usage object of chat and completions."""
    return {
        "prompt_tokens": script.count(script.input_tokens),
        "completion_tokens": script.count(script.output_tokens),
        "total_tokens": script.count(script.input_tokens + script.output_tokens),
        "prompt_tokens_details": {"cached_tokens": script.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": script.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tool_calls(request: Request, script: Script) -> list[JsonObject]:
    return [
        {
            "id": f"call_{request.id}_{index}",
            "type": "function",
            "function": {"name": tool.name, "arguments": tool.arguments},
        }
        for index, tool in enumerate(script.tool_calls)
    ]


def _finish(script: Script) -> str:
    return script.stop or ("tool_calls" if script.tool_calls else "stop")


def _message(request: Request, script: Script) -> JsonObject:
    calls = _tool_calls(request, script)
    silent = bool(calls or script.refusal)
    message: JsonObject = {
        "role": "assistant",
        "content": None if silent else script.words,
        "refusal": script.refusal or None,
        "annotations": [],
    }
    if calls:
        message["tool_calls"] = calls
    if script.reasoning:
        message["reasoning_content"] = script.reasoning
    return message


def _deltas(request: Request, script: Script) -> Iterator[tuple[JsonObject, bool]]:
    """Yield each delta of one choice, and whether it is paced."""
    yield {"role": "assistant", "content": "", "refusal": None}, False
    for piece in cut(script.reasoning, 0):
        yield {"reasoning_content": piece}, True
    for piece in cut(script.refusal, 0):
        yield {"refusal": piece}, True
    for index, call in enumerate(_tool_calls(request, script)):
        arguments = call["function"]["arguments"]
        call["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index, **call}]}, False
        for piece in cut(arguments, max(script.chunks, 3)):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, True
    if not (script.tool_calls or script.refusal):
        for piece in script.pieces:
            yield {"content": piece}, True


def _stream(request: Request, script: Script, base: JsonObject, choices: int) -> Iterator[Chunk]:
    body = request.json
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    base = base | {"object": "chat.completion.chunk"} | ({"usage": None} if wants_usage else {})

    def event(index: int, delta: JsonObject, finish: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse_event(base | {"choices": [choice]})

    if "/openai/deployments/" in request.path:
        filtered = [{"prompt_index": 0, "content_filter_results": {}}]
        yield Chunk(sse_event(base | {"choices": [], "prompt_filter_results": filtered}))
    paced = 0
    for delta, is_delta in _deltas(request, script):
        for index in range(choices):
            yield Chunk(event(index, delta, None), is_delta and index == 0)
        paced += is_delta
        if script.error_after and paced == script.error_after:
            yield Chunk(sse_event(error(script, "The server had an error in mid-stream.")))
            return
    for index in range(choices):
        yield Chunk(event(index, {}, _finish(script)))
    if wants_usage:
        yield Chunk(sse_event(base | {"choices": [], "usage": usage(script)}))
    yield Chunk(DONE)


def _base(request: Request, script: Script) -> JsonObject:
    model = script.answer_model or str(request.json.get("model") or "gpt-4o-2024-11-20")
    return {
        "id": f"chatcmpl-{request.id}",
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def chat(request: Request, script: Script) -> Reply:
    """Answer ``POST …/chat/completions``."""
    body = request.json
    choices = max(1, min(int(body.get("n") or 1), 16))
    base = _base(request, script)
    if body.get("stream"):
        return stream_reply(_stream(request, script, base, choices))
    return json_reply(
        base
        | {
            "object": "chat.completion",
            "choices": [
                {
                    "index": index,
                    "message": _message(request, script),
                    "logprobs": None,
                    "finish_reason": _finish(script),
                }
                for index in range(choices)
            ],
            "usage": usage(script),
        },
        headers=(("x-request-id", f"req_{request.id}"), ("openai-processing-ms", "7")),
    )


def completions(request: Request, script: Script) -> Reply:
    """Answer ``POST …/completions``, the legacy endpoint."""
    base = _base(request, script) | {"id": f"cmpl-{request.id}", "object": "text_completion"}

    def choice(text: str, finish: str | None) -> JsonObject:
        return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}

    if not request.json.get("stream"):
        return json_reply(
            base | {"choices": [choice(script.words, "stop")], "usage": usage(script)}
        )
    chunks = [
        Chunk(sse_event(base | {"choices": [choice(piece, None)]}), True) for piece in script.pieces
    ]
    chunks.append(Chunk(sse_event(base | {"choices": [choice("", "stop")]})))
    if (request.json.get("stream_options") or {}).get("include_usage"):
        chunks.append(Chunk(sse_event(base | {"choices": [], "usage": usage(script)})))
    return stream_reply([*chunks, Chunk(DONE)])


VECTOR: Final = (0.5, -0.25, 0.125, 0.0)
"""The one embedding; each of its numbers is exact in float32."""


def embeddings(request: Request, script: Script) -> Reply:
    """Answer ``POST …/embeddings``, one vector for each input."""
    body = request.json
    inputs = body.get("input")
    many = isinstance(inputs, list) and bool(inputs) and not isinstance(inputs[0], int)
    packed = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    vector: object = packed if body.get("encoding_format") == "base64" else list(VECTOR)
    return json_reply(
        {
            "object": "list",
            "model": script.answer_model or body.get("model"),
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index in range(len(inputs) if many and isinstance(inputs, list) else 1)
            ],
            "usage": {
                "prompt_tokens": script.count(script.input_tokens),
                "total_tokens": script.count(script.input_tokens),
            },
        }
    )


MODELS: Final = ("gpt-4o", "gpt-4o-mini", "gpt-5", "text-embedding-3-small", "claude-sonnet-4-5")


def models(request: Request, script: Script) -> Reply:
    """Answer ``GET …/models`` in the shape of whoever is asked."""
    if "anthropic-version" in request.headers:
        rows = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2025-10-09T00:00:00Z",
            }
            for name in MODELS
        ]
        ends = {"first_id": MODELS[0], "last_id": MODELS[-1]}
        return json_reply({"data": rows, "has_more": False, **ends})
    made = {"object": "model", "created": CREATED, "owned_by": "scripted"}
    return json_reply({"object": "list", "data": [{"id": name, **made} for name in MODELS]})
