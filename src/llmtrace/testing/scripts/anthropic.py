"""Anthropic's Messages API: answers, streams, token counts.

Source: the Anthropic API reference, "Messages", "Streaming messages", "Count tokens".
"""

from collections.abc import Iterator
from typing import Final

from llmtrace.testing.script import Script, cut
from llmtrace.testing.wire import (
    Chunk,
    Dialect,
    Entry,
    JsonObject,
    Reply,
    Request,
    arguments_of,
    json_reply,
    objects,
    sse_event,
    stream_reply,
    text_of,
)

SIGNATURE: Final = "c2NyaXB0ZWQtc2lnbmF0dXJl"
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def error(script: Script, message: str) -> JsonObject:
    """Return Anthropic's error body."""
    kind = script.code or _TYPES.get(script.status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_scripted",
    }


def entries(body: JsonObject) -> list[Entry]:
    """Return the conversation; a ``tool_result`` block is a tool's entry of its own."""
    found = []
    for message in objects(body.get("messages")):
        content = message.get("content")
        blocks = objects(content)
        if any(block.get("type") == "tool_result" for block in blocks):
            found.append(Entry("tool", ""))
        said = [block for block in blocks if block.get("type") == "text"]
        text = content if isinstance(content, str) else text_of(said)
        if text:
            found.append(Entry("assistant" if message.get("role") == "assistant" else "user", text))
        elif message.get("role") == "assistant":
            found.append(Entry("assistant", ""))
    return found


DIALECT: Final = Dialect(
    name="anthropic.messages",
    entries=entries,
    tools=lambda body: {str(tool.get("name")) for tool in objects(body.get("tools"))},
    error=error,
)


def usage(script: Script, output: int) -> JsonObject:
    """Return a usage object. ``input_tokens`` leaves out what was read from or put in the cache."""
    written = script.cache_write + script.cache_write_1h
    return {
        "input_tokens": script.count(max(0, script.input_tokens - script.cached - written)),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": script.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": script.cache_write,
            "ephemeral_1h_input_tokens": script.cache_write_1h,
        },
        "output_tokens": script.count(output),
        "service_tier": "standard",
    }


def _blocks(request: Request, script: Script) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    if script.reasoning:
        thinking = {"type": "thinking", "thinking": script.reasoning, "signature": SIGNATURE}
        blocks.append(thinking)
    words = script.refusal or ("" if script.tool_calls else script.words)
    if words:
        blocks.append({"type": "text", "text": words})
    for index, tool in enumerate(script.tool_calls):
        blocks.append(
            {
                "type": "tool_use",
                "id": f"toolu_{request.id}_{index}",
                "name": tool.name,
                "input": arguments_of(tool),
            }
        )
    return blocks


def _stop_reason(script: Script) -> str:
    if script.stop:
        return script.stop
    if script.refusal:
        return "refusal"
    return "tool_use" if script.tool_calls else "end_turn"


def message(request: Request, script: Script) -> JsonObject:
    """Return a whole Message."""
    return {
        "id": f"msg_{request.id}",
        "type": "message",
        "role": "assistant",
        "model": script.answer_model or str(request.json.get("model") or "claude-sonnet-4-5"),
        "content": _blocks(request, script),
        "stop_reason": _stop_reason(script),
        "stop_sequence": None,
        "usage": usage(script, script.output_tokens),
    }


def _deltas(block: JsonObject, script: Script) -> tuple[JsonObject, list[JsonObject]]:
    """Return what a block holds when it opens, and its deltas."""
    if block["type"] == "text":
        pieces = cut(block["text"], script.chunks)
        return {"text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
    if block["type"] == "thinking":
        pieces = cut(block["thinking"], 0)
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        return {"thinking": "", "signature": ""}, deltas
    tool = script.tool_calls[int(str(block["id"]).rsplit("_", 1)[1])]
    pieces = ["", *cut(tool.arguments, max(script.chunks, 3))]
    return {"input": {}}, [{"type": "input_json_delta", "partial_json": p} for p in pieces]


def _block_events(
    index: int, block: JsonObject, script: Script
) -> Iterator[tuple[JsonObject, bool]]:
    """Yield the events of one block, and whether each is a delta."""
    empty, deltas = _deltas(block, script)
    start = {"type": "content_block_start", "index": index, "content_block": block | empty}
    yield start, False
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}, True
    yield {"type": "content_block_stop", "index": index}, False


def events(request: Request, script: Script) -> Iterator[tuple[JsonObject, bool]]:
    """Yield the events of a stream in order, and whether each is a delta."""
    whole = message(request, script)
    start = whole | {"content": [], "stop_reason": None, "usage": usage(script, 1)}
    yield {"type": "message_start", "message": start}, False
    yield {"type": "ping"}, False
    paced = 0
    for index, block in enumerate(whole["content"]):
        for event, is_delta in _block_events(index, block, script):
            yield event, is_delta
            paced += is_delta
            if script.error_after and paced == script.error_after:
                failure = {"type": "overloaded_error", "message": "Overloaded"}
                yield {"type": "error", "error": failure}, False
                return
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    final = {"output_tokens": script.count(script.output_tokens)}
    yield {"type": "message_delta", "delta": delta, "usage": final}, False
    yield {"type": "message_stop"}, False


def messages(request: Request, script: Script) -> Reply:
    """Answer ``POST …/v1/messages``, and Vertex's ``rawPredict`` and ``streamRawPredict``."""
    headers = (("request-id", f"req_{request.id}"),)
    if request.json.get("stream") or request.path.endswith("streamRawPredict"):
        chunks = (
            Chunk(sse_event(event, name=event["type"]), is_delta)
            for event, is_delta in events(request, script)
        )
        return stream_reply(chunks, headers=headers)
    return json_reply(message(request, script), headers=headers)


def count_tokens(request: Request, script: Script) -> Reply:
    """Answer ``POST …/v1/messages/count_tokens``."""
    return json_reply({"input_tokens": script.count(script.input_tokens)})
