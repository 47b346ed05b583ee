"""OpenAI's Realtime API over WebSocket, text only.

Source: the OpenAI API reference, "Realtime", client and server events.
"""

from typing import Final

from llmtrace.testing.script import Script
from llmtrace.testing.scripts import openai_chat
from llmtrace.testing.wire import (
    Chunk,
    Dialect,
    Entry,
    JsonObject,
    Request,
    compact,
    objects,
    text_of,
)

DIALECT: Final = Dialect(
    name="openai.realtime",
    entries=lambda body: [
        Entry(str(item.get("role") or "tool"), text_of(item.get("content")))
        for item in objects((body.get("response") or {}).get("input"))
    ],
    tools=lambda body: {
        str(tool.get("name")) for tool in objects((body.get("response") or {}).get("tools"))
    },
    error=openai_chat.error,
)


def _session(request: Request) -> JsonObject:
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": f"sess_{request.id}",
        "model": request.query.get("model", "gpt-realtime"),
        "output_modalities": ["text"],
    }


def opened(request: Request) -> list[Chunk]:
    """Return what the server says first."""
    return [Chunk(compact({"type": "session.created", "session": _session(request)}))]


def _usage(script: Script) -> JsonObject:
    return {
        "total_tokens": script.count(script.input_tokens + script.output_tokens),
        "input_tokens": script.count(script.input_tokens),
        "output_tokens": script.count(script.output_tokens),
        "input_token_details": {
            "cached_tokens": script.cached,
            "text_tokens": script.input_tokens,
            "audio_tokens": 0,
        },
        "output_token_details": {"text_tokens": script.output_tokens, "audio_tokens": 0},
    }


def _response(request: Request, script: Script, status: str) -> JsonObject:
    item = {
        "id": f"item_{request.id}",
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [{"type": "output_text", "text": script.words}],
    }
    done = status == "completed"
    return {
        "object": "realtime.response",
        "id": f"resp_{request.id}",
        "status": status,
        "output": [item] if done else [],
        "usage": _usage(script) if done else None,
    }


def turn(request: Request, script: Script) -> list[Chunk]:
    """Return the events that answer one client event; only ``response.create`` is a call.

    All ``audio`` that is appended is a whole sentence, which voice detection answers.
    """
    event = request.json
    if event.get("type") == "session.update":
        return [Chunk(compact({"type": "session.updated", "session": _session(request)}))]
    if event.get("type") == "conversation.item.create":
        item = {"id": f"item_{request.id}", **(event.get("item") or {})}
        kinds = ("conversation.item.added", "conversation.item.done")
        return [Chunk(compact({"type": kind, "item": item})) for kind in kinds]
    if event.get("type") != "response.create" and not event.get("audio"):
        return []
    at = {
        "response_id": f"resp_{request.id}",
        "item_id": f"item_{request.id}",
        "output_index": 0,
        "content_index": 0,
    }
    whole = _response(request, script, "completed")
    events: list[tuple[JsonObject, bool]] = [
        ({"type": "response.created", "response": _response(request, script, "in_progress")}, False)
    ]
    events += [
        ({"type": "response.output_text.delta", **at, "delta": piece}, True)
        for piece in script.pieces
    ]
    events += [
        ({"type": "response.output_text.done", **at, "text": script.words}, False),
        ({"type": "response.done", "response": whole}, False),
    ]
    return [
        Chunk(compact(event | {"event_id": f"event_{request.id}_{number}"}), is_delta)
        for number, (event, is_delta) in enumerate(events)
    ]
