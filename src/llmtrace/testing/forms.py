"""A request of each dialect, with something planted in one place of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

PLACES: Final = ("user", "system", "tool_result", "tool_description")
"""Where a text can stand in a request."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a dialect is asked. ``make`` takes user, system, tool result and description.

    ``name`` is the provider's in the paths of base-URL clients; where there is no ``stream_path``,
    a member of the body asks for a stream.
    """

    host: str
    name: str
    path: str
    make: Callable[[str, str, str, str], dict[str, Any]]
    stream_path: str = ""

    def target(self, *, streamed: bool) -> str:
        """Return the path to ask."""
        return self.stream_path if streamed and self.stream_path else self.path

    def body(self, *, streamed: bool, place: str = "", text: str = "") -> dict[str, Any]:
        """Return a request with ``text`` in one of ``PLACES``, and plain words in the others."""
        words = {name: f"Plain words in the {name}." for name in PLACES} | {place: text}
        made = self.make(*(words[name] for name in PLACES))
        return made if self.stream_path else {**made, "stream": streamed}


def _chat(user: str, system: str, result: str, description: str) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": "Begin."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": result},
            {"role": "user", "content": [{"type": "text", "text": user}]},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": description}}],
    }


def _responses(user: str, system: str, result: str, description: str) -> dict[str, Any]:
    return {
        "model": "gpt-4o",
        "instructions": system,
        "input": [
            {"role": "user", "content": "Begin."},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": result},
            {"role": "user", "content": [{"type": "input_text", "text": user}]},
        ],
        "tools": [{"type": "function", "name": "look", "description": description}],
    }


def _anthropic(user: str, system: str, result: str, description: str) -> dict[str, Any]:
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": system}],
        "messages": [
            {"role": "user", "content": "Begin."},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": result},
                    {"type": "text", "text": user},
                ],
            },
        ],
        "tools": [{"name": "look", "description": description, "input_schema": {"type": "object"}}],
    }


def _gemini(user: str, system: str, result: str, description: str) -> dict[str, Any]:
    response = {"name": "look", "response": {"output": result}}
    return {
        "systemInstruction": {"parts": [{"text": system}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Begin."}]},
            {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": response}, {"text": user}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "look", "description": description}]}],
    }


def _bedrock(user: str, system: str, result: str, description: str) -> dict[str, Any]:
    return {
        "system": [{"text": system}],
        "messages": [
            {"role": "user", "content": [{"text": "Begin."}]},
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [{"text": result}]}},
                    {"text": user},
                ],
            },
        ],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "look",
                        "description": description,
                        "inputSchema": {"json": {"type": "object"}},
                    }
                }
            ]
        },
    }


def _ollama(user: str, system: str, result: str, description: str) -> dict[str, Any]:
    return {
        "model": "llama3.2",
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": "Begin."},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "look", "arguments": {}}}],
            },
            {"role": "tool", "content": result},
            {"role": "user", "content": user},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": description}}],
    }


_AWS: Final = "/model/anthropic.claude-3-5-sonnet/"
_GOOGLE: Final = "/v1beta/models/gemini-2.5-flash:"
FORMS: Final[Mapping[str, Form]] = {
    "openai.chat": Form("api.openai.com", "openai", "/v1/chat/completions", _chat),
    "openai.responses": Form("api.openai.com", "openai", "/v1/responses", _responses),
    "anthropic.messages": Form("api.anthropic.com", "anthropic", "/v1/messages", _anthropic),
    "gemini.generate": Form(
        "generativelanguage.googleapis.com",
        "gemini",
        f"{_GOOGLE}generateContent",
        _gemini,
        f"{_GOOGLE}streamGenerateContent?alt=sse",
    ),
    "bedrock.converse": Form(
        "bedrock-runtime.us-east-1.amazonaws.com",
        "bedrock",
        f"{_AWS}converse",
        _bedrock,
        f"{_AWS}converse-stream",
    ),
    "ollama.chat": Form("ollama.com", "ollama", "/api/chat", _ollama),
}
