"""OpenAI's Responses API, over HTTP and over WebSocket: one sequence of events for both.

Source: the OpenAI API reference, "Responses", "Streaming events", "WebSocket mode".
"""

from collections.abc import Iterator
from typing import Final

from llmtrace.testing.script import Script, ScriptedTool, cut
from llmtrace.testing.scripts import openai_chat
from llmtrace.testing.wire import (
    CREATED,
    Chunk,
    Dialect,
    Entry,
    JsonObject,
    Reply,
    Request,
    compact,
    json_reply,
    objects,
    sse_event,
    stream_reply,
    text_of,
)

_TOOL_OUTPUTS: Final = "_output"


def entries(body: JsonObject) -> list[Entry]:
    """Return the entries of ``input``: messages, tool calls and their outputs."""
    value = body.get("input")
    if isinstance(value, str):
        return [Entry("user", value)]
    found = []
    for item in objects(value):
        kind, role = str(item.get("type") or "message"), str(item.get("role"))
        if kind == "message":
            found.append(
                Entry(
                    role if role in {"user", "assistant"} else "system",
                    text_of(item.get("content")),
                )
            )
        elif kind.endswith(_TOOL_OUTPUTS):
            found.append(Entry("tool", ""))
        elif kind.endswith("_call") or kind == "reasoning":
            found.append(Entry("assistant", ""))
    return found


def _offered(body: JsonObject) -> list[JsonObject]:
    """Return all tool definitions: of the request, of its input items, and within namespaces."""
    found = objects(body.get("tools"))
    for item in objects(body.get("input")):
        if item.get("type") == "additional_tools":
            found += objects(item.get("tools"))
    return found + [inner for tool in found for inner in objects(tool.get("tools"))]


def tools(body: JsonObject) -> set[str]:
    """Return the names of the tools offered, function and custom ones alike."""
    return {str(tool.get("name") or tool.get("type")) for tool in _offered(body)}


DIALECT: Final = Dialect(
    name="openai.responses", entries=entries, tools=tools, error=openai_chat.error
)


def usage(script: Script) -> JsonObject:
    """Return the usage object."""
    return {
        "input_tokens": script.count(script.input_tokens),
        "input_tokens_details": {
            "cached_tokens": script.cached,
            "cache_write_tokens": script.cache_write,
        },
        "output_tokens": script.count(script.output_tokens),
        "output_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
        "total_tokens": script.count(script.input_tokens + script.output_tokens),
    }


def _skeleton(request: Request, script: Script, body: JsonObject) -> JsonObject:
    return {
        "id": f"resp_{request.id}",
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": body.get("max_output_tokens"),
        "model": script.answer_model or str(body.get("model") or "gpt-5"),
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
    }


def _custom(body: JsonObject, name: str) -> bool:
    return any(tool.get("type") == "custom" and tool.get("name") == name for tool in _offered(body))


def _call_item(request: Request, tool: ScriptedTool, index: int, *, custom: bool) -> JsonObject:
    item = {
        "id": f"{'ctc' if custom else 'fc'}_{request.id}_{index}",
        "type": "custom_tool_call" if custom else "function_call",
        "status": "completed",
        "call_id": f"call_{request.id}_{index}",
        "name": tool.name,
    }
    return item | {"input" if custom else "arguments": tool.arguments}


def _output(request: Request, script: Script, body: JsonObject) -> list[JsonObject]:
    items: list[JsonObject] = []
    if script.reasoning:
        summary = [{"type": "summary_text", "text": script.reasoning}]
        items.append({"id": f"rs_{request.id}", "type": "reasoning", "summary": summary})
    if not script.tool_calls:
        part: JsonObject = {"type": "refusal", "refusal": script.refusal}
        if not script.refusal:
            part = {"type": "output_text", "text": script.words, "annotations": [], "logprobs": []}
        items.append(
            {
                "id": f"msg_{request.id}",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [part],
            }
        )
    for index, tool in enumerate(script.tool_calls):
        items.append(_call_item(request, tool, index, custom=_custom(body, tool.name)))
    return items


def final(request: Request, script: Script, body: JsonObject) -> JsonObject:
    """Return the finished response; a prewarm (``generate: false``) has no output or usage."""
    whole = _skeleton(request, script, body)
    whole["status"] = "incomplete" if script.stop == "max_output_tokens" else "completed"
    if script.stop == "max_output_tokens":
        whole["incomplete_details"] = {"reason": "max_output_tokens"}
    if body.get("generate") is False:
        none = Script(input_tokens=0, output_tokens=0)
        return whole | {"usage": usage(none)}
    return whole | {"output": _output(request, script, body), "usage": usage(script)}


type _Events = Iterator[tuple[JsonObject, bool]]


def _message_events(item: JsonObject, where: JsonObject, script: Script) -> _Events:
    part = item["content"][0]
    key = "refusal" if part["type"] == "refusal" else "text"
    name = "response.refusal" if key == "refusal" else "response.output_text"
    at = where | {"item_id": item["id"], "content_index": 0}
    extra: JsonObject = {"logprobs": []} if key == "text" else {}
    yield {"type": "response.content_part.added", **at, "part": part | {key: ""}}, False
    for piece in cut(part[key], script.chunks):
        yield {"type": f"{name}.delta", **at, "delta": piece, **extra}, True
    yield {"type": f"{name}.done", **at, key: part[key], **extra}, False
    yield {"type": "response.content_part.done", **at, "part": part}, False


def _reasoning_events(item: JsonObject, where: JsonObject, script: Script) -> _Events:
    part = item["summary"][0]
    at = where | {"item_id": item["id"], "summary_index": 0}
    stem = "response.reasoning_summary"
    yield {"type": f"{stem}_part.added", **at, "part": part | {"text": ""}}, False
    for piece in cut(part["text"], 0):
        yield {"type": f"{stem}_text.delta", **at, "delta": piece}, True
    yield {"type": f"{stem}_text.done", **at, "text": part["text"]}, False
    yield {"type": f"{stem}_part.done", **at, "part": part}, False


def _call_events(item: JsonObject, where: JsonObject, script: Script) -> _Events:
    key = "arguments" if "arguments" in item else "input"
    stem = {"arguments": "function_call_arguments", "input": "custom_tool_call_input"}[key]
    at = where | {"item_id": item["id"]}
    for piece in cut(item[key], max(script.chunks, 3)):
        yield {"type": f"response.{stem}.delta", **at, "delta": piece}, True
    yield {"type": f"response.{stem}.done", **at, key: item[key]}, False


_ITEM_EVENTS: Final = {
    "message": _message_events,
    "reasoning": _reasoning_events,
    "function_call": _call_events,
    "custom_tool_call": _call_events,
}
_EMPTY: Final = {
    "message": {"status": "in_progress", "content": []},
    "reasoning": {"summary": []},
    "function_call": {"status": "in_progress", "arguments": ""},
    "custom_tool_call": {"status": "in_progress", "input": ""},
}


def _events(request: Request, script: Script, body: JsonObject) -> _Events:
    whole = final(request, script, body)
    started = _skeleton(request, script, body)
    yield {"type": "response.created", "response": started}, False
    yield {"type": "response.in_progress", "response": started}, False
    paced = 0
    for index, item in enumerate(whole["output"]):
        where = {"output_index": index}
        opened = item | _EMPTY[item["type"]]
        yield {"type": "response.output_item.added", **where, "item": opened}, False
        for event, is_delta in _ITEM_EVENTS[item["type"]](item, where, script):
            yield event, is_delta
            paced += is_delta
            if script.error_after and paced == script.error_after:
                failure = {"code": "server_error", "message": "The server had an error."}
                failed = started | {"status": "failed", "error": failure}
                yield {"type": "response.failed", "response": failed}, False
                return
        yield {"type": "response.output_item.done", **where, "item": item}, False
    yield {"type": f"response.{whole['status']}", "response": whole}, False


def events(request: Request, script: Script, body: JsonObject) -> _Events:
    """Yield the numbered events of a stream in order, and whether each is a delta."""
    for number, (event, is_delta) in enumerate(_events(request, script, body)):
        yield event | {"sequence_number": number}, is_delta


def responses(request: Request, script: Script) -> Reply:
    """Answer ``POST …/responses``: one in the background is there when it is fetched."""
    body = request.json
    headers = (("x-request-id", f"req_{request.id}"), ("openai-processing-ms", "7"))
    if body.get("stream"):
        chunks = (
            Chunk(sse_event(event, name=event["type"]), is_delta)
            for event, is_delta in events(request, script, body)
        )
        return stream_reply(chunks, headers=headers)
    if body.get("background"):
        queued = {"status": "queued", "background": True}
        return json_reply(_skeleton(request, script, body) | queued, headers=headers)
    return json_reply(final(request, script, body), headers=headers)


def input_tokens(request: Request, script: Script) -> Reply:
    """Answer ``POST …/responses/input_tokens``."""
    counted = script.count(script.input_tokens)
    return json_reply({"object": "response.input_tokens", "input_tokens": counted})


def retrieve(request: Request, script: Script) -> Reply:
    """Answer ``GET …/responses/ID``: the response once more, with the same usage."""
    asked = Request(method="GET", path=request.path, id=request.path.rsplit("resp_", 1)[-1])
    return json_reply(final(asked, script, {}))


RESETS: Final = 1_800_000_000
"""When the window of the plan begins anew."""


def catalogue(request: Request, script: Script) -> Reply:
    """Answer ``GET …/codex/models``, Codex's own list of models: nothing beyond what it knows."""
    return json_reply({"models": []})


def plan_left(used_percent: float) -> JsonObject:
    """Return what ChatGPT's backend tells Codex of its plan before each answer."""
    window = {"used_percent": used_percent, "window_minutes": 300, "reset_at": RESETS}
    limits = {"allowed": True, "limit_reached": False, "primary": window, "secondary": None}
    return {"type": "codex.rate_limits", "plan_type": "pro", "rate_limits": limits}


def turn(request: Request, script: Script) -> list[Chunk]:
    """Return the messages that answer one ``response.create`` of a WebSocket."""
    body = request.json
    told = [Chunk(compact(plan_left(37.5)))] if "/backend-api/" in request.path else []
    return told + _turn(request, script, body)


def _turn(request: Request, script: Script, body: JsonObject) -> list[Chunk]:
    if script.status >= 400:
        refused = {"type": "error", "status": script.status}
        failure = openai_chat.error(script, "The scripted provider was told to fail.")
        return [Chunk(compact(refused | failure))]
    return [Chunk(compact(event), is_delta) for event, is_delta in events(request, script, body)]
