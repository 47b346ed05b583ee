"""Which path is answered by whom: one table, read from the top."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from llmtrace.testing.script import AFTER_TOOL, Script, directive
from llmtrace.testing.scripts import (
    anthropic,
    batches,
    bedrock,
    cohere,
    gemini,
    ollama,
    openai_chat,
    openai_realtime,
    openai_responses,
)
from llmtrace.testing.wire import Chunk, Dialect, JsonObject, Reply, Request, json_reply

type Answer = Callable[[Request, Script], Reply]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place of an API. ``scripted`` ones are model calls: queued scripts are for them."""

    method: str
    pattern: re.Pattern[str]
    dialect: Dialect
    answer: Answer
    scripted: bool = True


def _endpoint(method: str, path: str, dialect: Dialect, answer: Answer) -> Endpoint:
    return Endpoint(method, re.compile(path + "/?$"), dialect, answer)


def _beside(method: str, path: str, dialect: Dialect, answer: Answer) -> Endpoint:
    return replace(_endpoint(method, path, dialect, answer), scripted=False)


# A path may have any prefix, as a gateway's base URL gives it one; so only its end is matched.
ENDPOINTS: Final = (
    _endpoint("POST", r"/chat/completions", openai_chat.DIALECT, openai_chat.chat),
    _endpoint("POST", r"/completions", openai_chat.LEGACY, openai_chat.completions),
    _endpoint("POST", r"/embeddings", openai_chat.EMBEDDINGS, openai_chat.embeddings),
    _endpoint("POST", r"/responses", openai_responses.DIALECT, openai_responses.responses),
    _beside(
        "POST", r"/responses/input_tokens", openai_responses.DIALECT, openai_responses.input_tokens
    ),
    _beside("GET", r"/responses/resp_[^/]+", openai_responses.DIALECT, openai_responses.retrieve),
    _endpoint("POST", r"/v1/messages", anthropic.DIALECT, anthropic.messages),
    _beside("POST", r"/v1/messages/count_tokens", anthropic.DIALECT, anthropic.count_tokens),
    _beside("POST", r"/v1/messages/batches", batches.ANTHROPIC, batches.begin_messages),
    _beside("GET", r"/batches/[^/]+/results", batches.ANTHROPIC, batches.results),
    _beside("POST", r"/batches", batches.OPENAI, batches.begin),
    _beside("POST", r"/batches/[^/]+/cancel", batches.OPENAI, batches.status),
    _beside("GET", r"/batches/[^/]+", batches.OPENAI, batches.status),
    _endpoint("POST", r":(?:stream)?[rR]awPredict", anthropic.DIALECT, anthropic.messages),
    _endpoint("POST", r":generateContent", gemini.DIALECT, gemini.generate),
    _endpoint("POST", r":streamGenerateContent", gemini.DIALECT, gemini.stream),
    _beside("POST", r":countTokens", gemini.DIALECT, gemini.count_tokens),
    _endpoint("POST", r":(?:batchE|e)mbedContents?", gemini.DIALECT, gemini.embed),
    _endpoint("POST", r"/model/.+/converse", bedrock.DIALECT, bedrock.converse),
    _endpoint("POST", r"/model/.+/converse-stream", bedrock.DIALECT, bedrock.converse_stream),
    _endpoint("POST", r"/model/.+/invoke", bedrock.INVOKE, bedrock.invoke),
    _endpoint(
        "POST",
        r"/model/.+/invoke-with-response-stream",
        bedrock.INVOKE,
        bedrock.invoke_stream,
    ),
    _beside("POST", r"/model/.+/count-tokens", bedrock.DIALECT, bedrock.count_tokens),
    _endpoint("POST", r"/api/chat", ollama.DIALECT, ollama.chat),
    _endpoint("POST", r"/api/generate", ollama.GENERATE, ollama.generate),
    _endpoint("POST", r"/api/embed", ollama.DIALECT, ollama.embed),
    _beside("GET", r"/api/tags", ollama.DIALECT, ollama.tags),
    _beside("POST", r"/api/show", ollama.DIALECT, ollama.show),
    _beside("GET", r"/api/version", ollama.DIALECT, ollama.version),
    _endpoint("POST", r"/v2/chat", cohere.DIALECT, cohere.chat),
    _beside("GET", r"/codex/models", openai_responses.DIALECT, openai_responses.catalogue),
    _beside("GET", r"/models", openai_chat.DIALECT, openai_chat.models),
)


def find(method: str, path: str) -> Endpoint | None:
    """Return the endpoint for a path without its query, None where there is none."""
    return next(
        (e for e in ENDPOINTS if e.method == method and e.pattern.search(path)),
        None,
    )


def choose(dialect: Dialect, body: JsonObject, queued: Script | None) -> Script:
    """Return the script for a request: the queued one, what its prompt asks for, or the default.

    Only what the user said since the model spoke last is read for a directive. A tool that the
    request doesn't offer is not called, as agents send side requests with the same prompt.
    """
    if queued is not None:
        return queued
    said, after_tool = [], False
    for entry in reversed(dialect.entries(body)):
        if entry.kind == "assistant":
            break
        after_tool = after_tool or entry.kind == "tool"
        if entry.kind == "user":
            said.append(entry.text)
    script = next((found for text in said if (found := directive(text))), None)
    if script is None:
        return AFTER_TOOL if after_tool else Script()
    offered = dialect.tools(body)
    calls = tuple(call for call in script.tool_calls if call.name in offered)
    return replace(script, tool_calls=calls)


FAILURE: Final = "The scripted provider was told to fail."


def failure(dialect: Dialect, script: Script) -> Reply:
    """Return a script's error in the dialect's shape, with the headers that go with it."""
    headers: tuple[tuple[str, str], ...] = ()
    if script.retry_after:
        headers = (("retry-after", script.retry_after),)
    if dialect.name.startswith("bedrock"):
        kind = bedrock.ERROR_TYPES.get(script.status, "InternalServerException")
        headers = (*headers, ("x-amzn-errortype", script.code or kind))
    return json_reply(dialect.error(script, FAILURE), status=script.status, headers=headers)


def not_found(request: Request) -> Reply:
    """Return what an unknown path is told."""
    message = f"{request.method} of this path is not scripted"
    return json_reply({"error": {"message": message, "type": "not_found"}}, status=404)


@dataclass(frozen=True, slots=True)
class Socket:
    """A WebSocket endpoint: what the server says first, and to each message.

    ``calls`` are the types of client messages that are model calls.
    """

    pattern: re.Pattern[str]
    dialect: Dialect
    opened: Callable[[Request], list[Chunk]]
    turn: Callable[[Request, Script], list[Chunk]]
    calls: frozenset[str] = frozenset({"response.create"})


SOCKETS: Final = (
    Socket(
        re.compile(r"/responses/?$"),
        openai_responses.DIALECT,
        lambda _: [],
        openai_responses.turn,
    ),
    Socket(
        re.compile(r"/realtime/?$"),
        openai_realtime.DIALECT,
        openai_realtime.opened,
        openai_realtime.turn,
    ),
)


def find_socket(path: str) -> Socket | None:
    """Return the WebSocket endpoint for a path without its query."""
    return next((socket for socket in SOCKETS if socket.pattern.search(path)), None)
