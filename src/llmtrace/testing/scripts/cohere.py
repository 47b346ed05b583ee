"""Cohere's Chat API, version 2.

Source: the Cohere API reference, "Chat v2", "Streaming".
"""

from collections.abc import Iterator
from typing import Final

from llmtrace.testing.script import Script, cut
from llmtrace.testing.wire import (
    Chunk,
    Dialect,
    JsonObject,
    Reply,
    Request,
    chat_entries,
    chat_tools,
    json_reply,
    sse_event,
    stream_reply,
)


def error(script: Script, message: str) -> JsonObject:
    """Return Cohere's error body."""
    return {"id": "scripted", "message": message}


DIALECT: Final = Dialect(name="cohere.chat", entries=chat_entries, tools=chat_tools, error=error)


def usage(script: Script) -> JsonObject:
    """Return the usage object: what is billed, and what was counted."""
    counts = {
        "input_tokens": script.count(script.input_tokens),
        "output_tokens": script.count(script.output_tokens),
    }
    return {"billed_units": counts, "tokens": counts, "cached_tokens": script.cached}


def _calls(request: Request, script: Script) -> list[JsonObject]:
    return [
        {
            "id": f"call_{request.id}_{index}",
            "type": "function",
            "function": {"name": tool.name, "arguments": tool.arguments},
        }
        for index, tool in enumerate(script.tool_calls)
    ]


def _finish(script: Script) -> str:
    return script.stop or ("TOOL_CALL" if script.tool_calls else "COMPLETE")


def _text_events(script: Script) -> Iterator[tuple[JsonObject, bool]]:
    empty = {"message": {"content": {"type": "text", "text": ""}}}
    yield {"type": "content-start", "index": 0, "delta": empty}, False
    for piece in script.pieces:
        delta = {"message": {"content": {"text": piece}}}
        yield {"type": "content-delta", "index": 0, "delta": delta}, True
    yield {"type": "content-end", "index": 0}, False


def _call_events(index: int, call: JsonObject) -> Iterator[tuple[JsonObject, bool]]:
    arguments = call["function"]["arguments"]
    opened = call | {"function": call["function"] | {"arguments": ""}}
    start = {"message": {"tool_calls": opened}}
    yield {"type": "tool-call-start", "index": index, "delta": start}, False
    for piece in cut(arguments, 3):
        delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
        yield {"type": "tool-call-delta", "index": index, "delta": delta}, True
    yield {"type": "tool-call-end", "index": index}, False


def _events(request: Request, script: Script) -> Iterator[tuple[JsonObject, bool]]:
    opened = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    start = {"id": f"cohere-{request.id}", "delta": {"message": opened}}
    yield {"type": "message-start", **start}, False
    calls = _calls(request, script)
    if not calls:
        yield from _text_events(script)
    for index, call in enumerate(calls):
        yield from _call_events(index, call)
    end = {"finish_reason": _finish(script), "usage": usage(script)}
    yield {"type": "message-end", "delta": end}, False


def chat(request: Request, script: Script) -> Reply:
    """Answer ``POST /v2/chat``."""
    if request.json.get("stream"):
        return stream_reply(
            Chunk(sse_event(event, name=event["type"]), is_delta)
            for event, is_delta in _events(request, script)
        )
    message: JsonObject = {"role": "assistant"}
    if script.tool_calls:
        message["tool_calls"] = _calls(request, script)
    else:
        message["content"] = [{"type": "text", "text": script.words}]
    return json_reply(
        {
            "id": f"cohere-{request.id}",
            "finish_reason": _finish(script),
            "message": message,
            "usage": usage(script),
        }
    )
