"""Requests and replies of the scripted provider, apart from how they travel."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import brotli  # type: ignore[import-untyped]  # it ships no stubs
import zstandard

from llmtrace.testing.script import Script, ScriptedTool

type JsonObject = dict[str, Any]
type Headers = tuple[tuple[str, str], ...]

JSON: Final = "application/json"
SSE: Final = "text/event-stream; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
CREATED: Final = 1_760_000_000
"""The moment at which every answer says it was made: answers don't depend on the clock."""

_DECODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as a dialect reads it. Header names are lower-case; ``path`` has no query.

    ``id`` tells the call from all others of this provider; ids in the answer are made of it.
    """

    method: str
    path: str
    id: str = "0"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> JsonObject:
        """The body as a JSON object after content decoding; empty where it is none."""
        body = self.body
        try:
            for coding in self.headers.get("content-encoding", "").split(","):
                body = _DECODERS.get(coding.strip().lower(), bytes)(body)
            value = json.loads(body)
        except (ValueError, OSError, EOFError, zlib.error, brotli.error, zstandard.ZstdError):
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One write of an answer's body. A ``delta`` is paced by the script's delay."""

    data: bytes
    delta: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer. ``streamed`` ones are sent chunk by chunk and without a Content-Length."""

    status: int = 200
    headers: Headers = ()
    chunks: tuple[Chunk, ...] = ()
    streamed: bool = False

    @property
    def body(self) -> bytes:
        """All chunks joined."""
        return b"".join(chunk.data for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of a conversation: ``kind`` is user, assistant, tool or system."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One wire format, as the provider speaks it."""

    name: str
    entries: Callable[[JsonObject], list[Entry]]
    """The conversation of a request, in order."""
    tools: Callable[[JsonObject], set[str]]
    """The names of the tools that a request offers."""
    error: Callable[[Script, str], JsonObject]
    """An error body for a script's status, with a message."""


def compact(value: object) -> bytes:
    """Return ``value`` as JSON without spaces, non-ASCII as UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def json_reply(value: object, *, status: int = 200, headers: Headers = ()) -> Reply:
    """Return a whole JSON answer."""
    return Reply(
        status=status,
        headers=(("content-type", JSON), *headers),
        chunks=(Chunk(compact(value)),),
    )


def sse_event(value: object, *, name: str = "") -> bytes:
    """Return one server-sent event; ``name`` becomes its ``event`` field."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + (value if isinstance(value, bytes) else compact(value)) + b"\n\n"


def stream_reply(chunks: Iterable[Chunk], content_type: str = SSE, headers: Headers = ()) -> Reply:
    """Return a streamed answer."""
    return Reply(
        headers=(("content-type", content_type), ("cache-control", "no-cache"), *headers),
        chunks=tuple(chunks),
        streamed=True,
    )


def text_of(content: object) -> str:
    """Return the text of a message's content, whether a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part if isinstance(part, str) else str(part.get("text") or "")
            for part in content
            if isinstance(part, str | dict)
        )
    return ""


def objects(value: object) -> list[JsonObject]:
    """Return the objects of a list, nothing where it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def chat_entries(body: JsonObject) -> list[Entry]:
    """Return the entries of ``messages`` whose roles are user, assistant, tool and system."""
    kinds = {"user": "user", "assistant": "assistant", "tool": "tool", "function": "tool"}
    return [
        Entry(kinds.get(str(message.get("role")), "system"), text_of(message.get("content")))
        for message in objects(body.get("messages"))
    ]


def chat_tools(body: JsonObject) -> set[str]:
    """Return the names in ``tools[].function.name``."""
    functions = (tool.get("function") for tool in objects(body.get("tools")))
    return {str(function.get("name")) for function in functions if isinstance(function, dict)}


def arguments_of(tool: ScriptedTool) -> Any:
    """Return a tool call's arguments parsed; the text itself where it is no JSON."""
    try:
        return json.loads(tool.arguments)
    except ValueError:
        return tool.arguments
