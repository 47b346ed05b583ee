"""Responses requests: items, tools, what refers to earlier turns."""

import base64
import json
from typing import Any

import pytest

from llmtrace.domain.parts import MediaKind, Role
from llmtrace.providers.base import RequestView, Route
from llmtrace.providers.media import CREDENTIAL, ENCRYPTED
from llmtrace.providers.openai_responses import OpenAIRealtime, OpenAIResponses

ROUTE = Route(provider="openai", dialect="openai.responses", operation="chat")


def read(body: Any) -> RequestView:
    return OpenAIResponses().request(body, ROUTE)


def items(*given: Any) -> RequestView:
    return read({"input": [*given]})


@pytest.mark.parametrize(
    "given",
    [
        "hi",
        [{"role": "user", "content": "hi"}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        ["hi"],
    ],
)
def test_input_in_every_form(given: object) -> None:
    [part] = read({"input": given}).parts
    assert (part.role, part.text) == (Role.USER, "hi")


def test_instructions_and_developer_messages_are_the_systems() -> None:
    view = read({"instructions": "a", "input": [{"role": "developer", "content": "b"}]})
    assert [part.role for part in view.parts] == [Role.SYSTEM, Role.SYSTEM]


@pytest.mark.parametrize(
    ("item", "role", "texts"),
    [
        ({"type": "function_call", "name": "f", "arguments": "{}"}, Role.TOOL_CALL, ["{}"]),
        ({"type": "custom_tool_call", "name": "f", "input": "in"}, Role.TOOL_CALL, ["in"]),
        ({"type": "shell_call", "action": {"commands": ["a", "b"]}}, Role.TOOL_CALL, ["a", "b"]),
        ({"type": "local_shell_call", "action": {"command": ["ls"]}}, Role.TOOL_CALL, ["ls"]),
        ({"type": "apply_patch_call", "operation": {"diff": "+"}}, Role.TOOL_CALL, ["+"]),
        ({"type": "mcp_call", "name": "f", "arguments": "{}"}, Role.TOOL_CALL, ["{}"]),
        ({"type": "mcp_call", "name": "f", "output": "out"}, Role.TOOL_RESULT, ["out"]),
        ({"type": "mcp_call", "name": "f", "error": "bad"}, Role.TOOL_RESULT, ["bad"]),
        ({"type": "function_call_output", "output": "out"}, Role.TOOL_RESULT, ["out"]),
        ({"type": "web_search_call", "action": {"query": "q"}}, Role.TOOL_CALL, ["q"]),
        ({"type": "web_search_call", "results": [{"snippet": "s"}]}, Role.TOOL_RESULT, ["s"]),
        (
            {"type": "web_search_call", "action": {"sources": [{"title": "t", "url": "u"}]}},
            Role.TOOL_RESULT,
            ["t", "u"],
        ),
        (
            {"type": "function_call_output", "output": [{"type": "input_text", "text": "out"}]},
            Role.TOOL_RESULT,
            ["out"],
        ),
        ({"type": "custom_tool_call_output", "output": "out"}, Role.TOOL_RESULT, ["out"]),
        ({"type": "shell_call_output", "output": [{"stdout": "out"}]}, Role.TOOL_RESULT, ["out"]),
        (
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            Role.ASSISTANT,
            ["hm"],
        ),
        (
            {"type": "mcp_list_tools", "tools": [{"name": "f", "description": "Does f"}]},
            Role.TOOL_DESCRIPTION,
            ["f", "Does f"],
        ),
        ({"type": "item_reference", "id": "msg_1"}, Role.USER, []),
    ],
)
def test_items(item: dict[str, Any], role: Role, texts: list[str]) -> None:
    view = items(item)
    assert [part.text for part in view.parts] == texts
    assert all(part.role is role for part in view.parts)


def test_encrypted_reasoning_is_a_gap() -> None:
    view = items({"type": "reasoning", "summary": [], "encrypted_content": "ZW5j" * 9})
    assert [(media.mime, media.size) for media in view.media] == [(ENCRYPTED, 36)]
    assert view.parts == []


def test_a_sentence_is_not_encrypted() -> None:
    view = items({"type": "reasoning", "encrypted_content": "ignore all of it"})
    assert [part.text for part in view.parts] == ["ignore all of it"]


NOTE = base64.b64encode(b"ignore all").decode()


@pytest.mark.parametrize(
    ("content", "kind", "texts"),
    [
        (
            {"type": "input_image", "image_url": "https://i.example/"},
            "image",
            ["https://i.example/"],
        ),
        ({"type": "input_image", "file_id": "file-1"}, "image", []),
        ({"type": "input_file", "file_data": NOTE}, "file", ["ignore all"]),
        ({"type": "input_file", "file_url": "https://f.example/"}, "file", ["https://f.example/"]),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, "audio", []),
        ({"type": "input_audio", "audio": "AAAA", "transcript": "Hi"}, "audio", ["Hi"]),
    ],
)
def test_media(content: dict[str, Any], kind: str, texts: list[str]) -> None:
    view = items({"role": "user", "content": [content]})
    assert [media.kind for media in view.media] == [MediaKind(kind)]
    assert [part.text for part in view.parts] == texts


def test_tools_of_all_kinds() -> None:
    tools = [
        {"type": "function", "name": "f", "description": "Does f", "parameters": {}},
        {"type": "custom", "name": "g", "format": {"type": "grammar", "definition": "start: X y"}},
        {"type": "mcp", "server_label": "m", "headers": {"Authorization": "Bearer abc"}},
        {"type": "web_search"},
    ]
    view = read({"tools": tools})
    assert [tool.name for tool in view.tools] == ["f", "g", "m", "web_search"]
    assert "start: X y" in {part.text for part in view.parts}
    assert "Bearer abc" not in {part.text for part in view.parts}
    assert CREDENTIAL in {media.mime for media in view.media}


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"prompt_cache_key": "k"}, "k"),
        ({"conversation": "conv_1", "prompt_cache_key": "k"}, "conv_1"),
        ({"conversation": {"id": "conv_2"}}, "conv_2"),
        ({"conversation": "none"}, ""),
    ],
)
def test_the_conversation(fields: dict[str, Any], hint: str) -> None:
    assert read(fields).conversation_hint == hint


def test_what_a_turn_refers_to() -> None:
    view = read({"previous_response_id": "resp_0", "max_output_tokens": 7, "stream": True})
    assert (view.previous_response_id, view.max_output_tokens, view.stream) == ("resp_0", 7, True)


@pytest.mark.parametrize(("generate", "billable"), [(False, False), (True, True), (None, True)])
def test_a_warm_up_costs_nothing(generate: object, billable: bool) -> None:
    assert read({"generate": generate}).billable is billable


def test_a_stream_ends_with_an_error_object() -> None:
    written = OpenAIResponses().stream_error(code="llmtrace_blocked", message="No.")
    event, data, *rest = written.split(b"\n")
    assert (event, rest) == (b"event: error", [b"", b""])
    error = json.loads(data.removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"]) == ("llmtrace_blocked", "policy_violation")


def test_realtime_has_its_own_name() -> None:
    assert OpenAIRealtime().name == "openai.realtime"
