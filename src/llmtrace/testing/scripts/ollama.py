"""Ollama's own API: chat and generate as NDJSON, and what its clients ask beside.

Source: the Ollama API documentation, "Generate a completion", "Generate a chat completion".
"""

from typing import Final

from llmtrace.testing.script import Script
from llmtrace.testing.scripts.openai_chat import VECTOR
from llmtrace.testing.wire import (
    NDJSON,
    Chunk,
    Dialect,
    Entry,
    JsonObject,
    Reply,
    Request,
    arguments_of,
    chat_entries,
    chat_tools,
    compact,
    json_reply,
    stream_reply,
)

_AT: Final = "2025-10-09T08:53:20.000000Z"
VERSION: Final = "0.12.3"


def error(script: Script, message: str) -> JsonObject:
    """Return Ollama's error body."""
    return {"error": message}


DIALECT: Final = Dialect(name="ollama.chat", entries=chat_entries, tools=chat_tools, error=error)
GENERATE: Final = Dialect(
    name="ollama.generate",
    entries=lambda body: [Entry("user", str(body.get("prompt") or ""))],
    tools=lambda _: set(),
    error=error,
)


def _end(script: Script) -> JsonObject:
    return {
        "done": True,
        "done_reason": script.stop or "stop",
        "total_duration": 7_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": script.count(script.input_tokens),
        "prompt_eval_duration": 2_000_000,
        "eval_count": script.count(script.output_tokens),
        "eval_duration": 4_000_000,
    }


def _base(request: Request, script: Script) -> JsonObject:
    model = script.answer_model or str(request.json.get("model") or "llama3.2")
    return {"model": model, "created_at": _AT}


def _lines(base: JsonObject, pieces: list[JsonObject], end: JsonObject, script: Script) -> Reply:
    chunks = []
    for number, piece in enumerate(pieces, start=1):
        chunks.append(Chunk(compact(base | piece | {"done": False}) + b"\n", True))
        if script.error_after and number == script.error_after:
            failed = Chunk(compact(error(script, "the model runner has stopped")) + b"\n")
            return stream_reply([*chunks, failed], NDJSON)
    return stream_reply([*chunks, Chunk(compact(base | end) + b"\n")], NDJSON)


def _calls(script: Script) -> list[JsonObject]:
    return [
        {"function": {"name": tool.name, "arguments": arguments_of(tool)}}
        for tool in script.tool_calls
    ]


def chat(request: Request, script: Script) -> Reply:
    """Answer ``POST /api/chat``, which streams unless it is told not to."""
    base = _base(request, script)

    def message(text: str, **more: object) -> JsonObject:
        return {"message": {"role": "assistant", "content": text, **more}}

    if request.json.get("stream") is False:
        more: JsonObject = {"tool_calls": _calls(script)} if script.tool_calls else {}
        if script.reasoning:
            more["thinking"] = script.reasoning
        text = "" if script.tool_calls else script.words
        return json_reply(base | message(text, **more) | _end(script))
    pieces = [message("", thinking=script.reasoning)] if script.reasoning else []
    if script.tool_calls:
        pieces.append(message("", tool_calls=_calls(script)))
    else:
        pieces += [message(piece) for piece in script.pieces]
    return _lines(base, pieces, message("") | _end(script), script)


def generate(request: Request, script: Script) -> Reply:
    """Answer ``POST /api/generate``."""
    base = _base(request, script)
    if request.json.get("stream") is False:
        return json_reply(base | {"response": script.words} | _end(script))
    pieces: list[JsonObject] = [{"response": piece} for piece in script.pieces]
    return _lines(base, pieces, {"response": ""} | _end(script), script)


_DETAILS: Final = {
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
}


def tags(request: Request, script: Script) -> Reply:
    """Answer ``GET /api/tags``."""
    row = {"name": "llama3.2:latest", "model": "llama3.2:latest", "modified_at": _AT}
    return json_reply({"models": [row | {"size": 7, "digest": "0" * 64, "details": _DETAILS}]})


def show(request: Request, script: Script) -> Reply:
    """Answer ``POST /api/show``."""
    capabilities = ["completion", "tools"]
    described = {"details": _DETAILS, "model_info": {}, "capabilities": capabilities}
    return json_reply({"modelfile": "FROM llama3.2", "template": "", **described})


def version(request: Request, script: Script) -> Reply:
    """Answer ``GET /api/version``."""
    return json_reply({"version": VERSION})


def embed(request: Request, script: Script) -> Reply:
    """Answer ``POST /api/embed``."""
    inputs = request.json.get("input")
    count = len(inputs) if isinstance(inputs, list) else 1
    counts = {"prompt_eval_count": script.count(script.input_tokens)}
    vectors = [list(VECTOR) for _ in range(count)]
    return json_reply({"model": request.json.get("model"), "embeddings": vectors, **counts})
