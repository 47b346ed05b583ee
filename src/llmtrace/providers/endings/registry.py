"""The endings by dialect: one line each. A dialect without one ends in its error."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from llmtrace.providers.base import Dialect, Frame, Json
from llmtrace.providers.endings.anthropic import AnthropicEnding, whole_anthropic
from llmtrace.providers.endings.base import ChunkCut, Ending, WholeEnding, document
from llmtrace.providers.endings.bedrock import (
    ConverseEnding,
    InvokeEnding,
    whole_converse,
    whole_invoke,
)
from llmtrace.providers.endings.chat import ChatEnding, CompletionsEnding, whole_chat
from llmtrace.providers.endings.cohere import CohereEnding, whole_cohere
from llmtrace.providers.endings.gemini import GeminiEnding, cut_gemini, whole_gemini
from llmtrace.providers.endings.ollama import (
    OllamaEnding,
    OllamaGenerateEnding,
    cut_ollama,
    whole_ollama,
)
from llmtrace.providers.endings.responses import (
    RealtimeEnding,
    ResponsesEnding,
    whole_responses,
)
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.openai_errors import encode

ENDINGS: Final[Mapping[str, Callable[[], Ending]]] = {
    "openai.chat": ChatEnding,
    "openai.completions": CompletionsEnding,
    "openai.responses": ResponsesEnding,
    "openai.realtime": RealtimeEnding,
    "anthropic.messages": AnthropicEnding,
    "gemini.generate": GeminiEnding,
    "bedrock.converse": ConverseEnding,
    "bedrock.invoke": InvokeEnding,
    "ollama.chat": OllamaEnding,
    "ollama.generate": OllamaGenerateEnding,
    "cohere.chat": CohereEnding,
}
"""What ends a streamed answer."""

WHOLE_ENDINGS: Final[Mapping[str, WholeEnding]] = {
    "openai.chat": whole_chat,
    "openai.responses": whole_responses,
    "anthropic.messages": whole_anthropic,
    "gemini.generate": whole_gemini,
    "bedrock.converse": whole_converse,
    "bedrock.invoke": whole_invoke,
    "ollama.chat": whole_ollama,
    "cohere.chat": whole_cohere,
}
"""What puts a text in the place of a tool call of a whole answer."""

CHUNK_CUTS: Final[Mapping[str, ChunkCut]] = {
    "gemini.generate": cut_gemini,
    "ollama.chat": cut_ollama,
}
"""What cuts a tool call from a frame, where a frame can say other things beside it."""

_ERROR_TYPES: Final[Mapping[str, str]] = {
    "bedrock.converse": "application/vnd.amazon.eventstream",
    "bedrock.invoke": "application/vnd.amazon.eventstream",
    "ollama.chat": "application/x-ndjson",
    "ollama.generate": "application/x-ndjson",
}
"""Media types that ``stream_error`` is written in, where that is not SSE."""
_TYPED_ERRORS: Final = frozenset({"openai.responses", "openai.realtime"})
"""Dialects whose events, errors too, are told by their ``type`` where they have no name."""


def error_frames(dialect: Dialect, *, code: str, message: str) -> list[Frame]:
    """Return the frames that end a stream of this dialect with an error."""
    written = dialect.stream_error(code=code, message=message)
    framing = framing_for(_ERROR_TYPES.get(dialect.name, "text/event-stream"))
    frames = [] if framing is None else [*framing.receive(written), *framing.close()]
    if dialect.name in _TYPED_ERRORS:
        return [replace(one, data=encode(_typed(document(one.data), code))) for one in frames]
    return frames


def _typed(error: dict[str, Json], code: str) -> dict[str, Json]:
    """Return an error as a WebSocket's clients know it: by its type."""
    return {"type": "error", "status": 400, "code": code, **error}
