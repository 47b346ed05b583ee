"""The dialects by name, and the WebSocket sessions. A new one is a file, and a line here."""

from collections.abc import Callable, Mapping
from typing import Final

from llmtrace.providers.anthropic_messages import AnthropicMessages
from llmtrace.providers.base import Dialect
from llmtrace.providers.bedrock import BedrockConverse, BedrockInvoke
from llmtrace.providers.cohere import CohereChat
from llmtrace.providers.gemini_generate import GeminiGenerate
from llmtrace.providers.generic import GenericDialect
from llmtrace.providers.ollama import OllamaChat, OllamaGenerate
from llmtrace.providers.openai_chat import OpenAIChat
from llmtrace.providers.openai_completions import OpenAICompletions
from llmtrace.providers.openai_embeddings import OpenAIEmbeddings
from llmtrace.providers.openai_responses import OpenAIRealtime, OpenAIResponses
from llmtrace.providers.realtime_session import RealtimeSession
from llmtrace.providers.responses_session import ResponsesSession
from llmtrace.providers.websocket import WebSocketSession

GENERIC: Final[Dialect] = GenericDialect()
"""What reads a route that no dialect knows."""

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        GENERIC,
        OpenAIChat(),
        OpenAICompletions(),
        OpenAIEmbeddings(),
        OpenAIResponses(),
        OpenAIRealtime(),
        AnthropicMessages(),
        GeminiGenerate(),
        BedrockConverse(),
        BedrockInvoke(),
        OllamaChat(),
        OllamaGenerate(),
        CohereChat(),
    )
}

SESSIONS: Final[Mapping[str, Callable[[], WebSocketSession]]] = {
    "openai.responses": ResponsesSession,
    "openai.realtime": RealtimeSession,
}
"""What tells the calls on a WebSocket, by dialect."""


def dialect(name: str) -> Dialect:
    """Return the dialect of this name, or the generic one."""
    return DIALECTS.get(name, GENERIC)
