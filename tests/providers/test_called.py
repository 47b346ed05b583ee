import json
from typing import Any

import pytest

from llmtrace.providers import called
from llmtrace.providers.called import Called, tool_calls

ARGUMENTS = {"command": "ls"}
TEXT = json.dumps(ARGUMENTS)


@pytest.mark.parametrize(
    ("item", "path"),
    [
        pytest.param(
            {"tool_calls": [{"type": "function", "function": {"name": "sh", "arguments": TEXT}}]},
            ("tool_calls", 0, "function", "arguments"),
            id="openai.chat",
        ),
        pytest.param(
            {"function_call": {"name": "sh", "arguments": TEXT}},
            ("function_call", "arguments"),
            id="openai.chat-legacy",
        ),
        pytest.param(
            {"type": "function_call", "name": "sh", "arguments": TEXT},
            ("arguments",),
            id="openai.responses",
        ),
        pytest.param(
            {"content": [{"type": "tool_use", "name": "sh", "input": ARGUMENTS}]},
            ("content", 0, "input"),
            id="anthropic.messages",
        ),
        pytest.param(
            {"parts": [{"functionCall": {"name": "sh", "args": ARGUMENTS}}]},
            ("parts", 0, "functionCall", "args"),
            id="gemini.generate",
        ),
        pytest.param(
            {"content": [{"toolUse": {"name": "sh", "input": ARGUMENTS}}]},
            ("content", 0, "toolUse", "input"),
            id="bedrock.converse",
        ),
        pytest.param(
            {"tool_calls": [{"function": {"name": "sh", "arguments": ARGUMENTS}}]},
            ("tool_calls", 0, "function", "arguments"),
            id="ollama.chat",
        ),
    ],
)
def test_a_call_is_found_in_each_dialect(item: Any, path: tuple[str | int, ...]) -> None:
    (found,) = tool_calls({"messages": ["hello", item]})
    assert (found.name, json.loads(found.arguments)) == ("sh", ARGUMENTS)
    assert found.path == ("messages", 1, *path)


def test_a_shell_of_the_provider_has_the_name_of_its_type() -> None:
    item: Any = {"type": "local_shell_call", "action": {"command": ["ls"]}}
    (found,) = tool_calls([item])
    assert found == Called(name="local_shell", arguments='{"command":["ls"]}', path=(0, "action"))


def test_a_definition_is_no_call() -> None:
    tools: Any = [
        {"type": "function", "function": {"name": "sh", "parameters": {"type": "object"}}},
        {"name": "sh", "input_schema": {"properties": {"function": {"type": "string"}}}},
        {"type": "tool_use", "name": 5, "input": {}},
        {"type": ["tool_use"]},
    ]
    assert list(tool_calls({"tools": tools, "model": "m"})) == []


def test_calls_and_depth_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    call: Any = {"type": "tool_use", "name": "sh", "input": {}}
    monkeypatch.setattr(called, "MAX_CALLS", 3)
    assert len(list(tool_calls([call] * 5))) == 3
    for _ in range(5_000):
        call = [call]
    assert list(tool_calls(call)) == []
