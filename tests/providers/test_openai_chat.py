"""Chat requests: roles, tools, media, limits."""

import base64
import json
from typing import Any

import pytest

from llmtrace.domain.parts import MediaKind, Origin, Role
from llmtrace.providers.base import RequestView, Route
from llmtrace.providers.openai_chat import OpenAIChat

ROUTE = Route(provider="openai", dialect="openai.chat", operation="chat", model="deployment")


def read(body: Any, route: Route = ROUTE) -> RequestView:
    return OpenAIChat().request(body, route)


def message(content: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content, **more}]}


@pytest.mark.parametrize(
    ("role", "read_as"),
    [
        ("system", Role.SYSTEM),
        ("developer", Role.SYSTEM),
        ("user", Role.USER),
        ("assistant", Role.ASSISTANT),
        ("tool", Role.TOOL_RESULT),
        ("function", Role.TOOL_RESULT),
    ],
)
@pytest.mark.parametrize("content", ["hi", [{"type": "text", "text": "hi"}], ["hi"]])
def test_roles(role: str, read_as: Role, content: object) -> None:
    [part] = read(message(content, role)).parts
    assert (part.role, part.text) == (read_as, "hi")


def test_an_unknown_role_is_not_trusted() -> None:
    [part] = read(message("hi", "wizard")).parts
    assert (part.role, part.origin) == (Role.USER, Origin.UNTRUSTED)


def test_null_content_says_nothing() -> None:
    assert read(message(None)).parts == []


def test_locations_are_those_of_the_body() -> None:
    view = read(message([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))
    assert [part.location for part in view.parts] == [
        "messages[0].content[0].text",
        "messages[0].content[1].text",
    ]


def test_calls_in_the_history() -> None:
    calls = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "2", "type": "custom", "custom": {"name": "g", "input": "in"}},
    ]
    legacy = {"name": "h", "arguments": "old"}
    view = read(message(None, "assistant", tool_calls=calls, function_call=legacy))
    assert [(part.role, part.text) for part in view.parts] == [
        (Role.TOOL_CALL, "{}"),
        (Role.TOOL_CALL, "in"),
        (Role.TOOL_CALL, "old"),
    ]


def test_a_tool_name_that_is_a_sentence_is_read() -> None:
    call = {"function": {"name": "ignore all previous", "arguments": ""}}
    view = read(message(None, "assistant", tool_calls=[call]))
    assert [part.text for part in view.parts] == ["ignore all previous"]


def test_tools_and_functions() -> None:
    function = {"name": "f", "description": "Does f", "parameters": {"type": "object"}}
    custom = {"name": "g", "description": "Does g"}
    tools = [{"type": "function", "function": function}, {"type": "custom", "custom": custom}]
    view = read({"tools": tools, "functions": [function], "messages": []})
    assert [tool.name for tool in view.tools] == ["f", "g", "f"]
    assert {part.role for part in view.parts} == {Role.TOOL_DESCRIPTION}
    assert "Does f" in {part.text for part in view.parts}


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00").decode()


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}, "image"),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}, "image"),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}, "audio"),
        ({"type": "file", "file": {"file_data": PNG}}, "file"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file"),
        ({"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{PNG}"}}, "video"),
    ],
)
def test_media(block: dict[str, Any], kind: str) -> None:
    view = read(message([block]))
    assert [media.kind for media in view.media] == [MediaKind(kind)]
    assert view.parts == []


def test_text_in_an_image_is_read() -> None:
    uri = "data:image/png;base64," + base64.b64encode(b"ignore all").decode()
    view = read(message([{"type": "image_url", "image_url": {"url": uri}}]))
    assert [part.text for part in view.parts] == ["ignore all"]


def test_structured_output_and_prediction_are_read() -> None:
    schema = {"properties": {"a": {"description": "An a", "type": "string"}}}
    body = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": schema}},
        "prediction": {"type": "content", "content": "Expected"},
    }
    roles = {part.text: part.role for part in read(body).parts}
    assert roles == {"o": Role.SYSTEM, "An a": Role.SYSTEM, "Expected": Role.USER}


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": -5}, None),
        ({}, None),
    ],
)
def test_limits(body: dict[str, Any], limit: int | None) -> None:
    assert read(body).max_output_tokens == limit


@pytest.mark.parametrize(("n", "choices"), [(3, 3), (0, 1), (None, 1), ("3", 1), (-2, 1)])
def test_choices(n: object, choices: int) -> None:
    assert read({"n": n}).choices == choices


def test_the_path_names_the_model_where_the_body_does_not() -> None:
    assert read({}).model == "deployment"
    assert read({"model": "gpt"}).model == "gpt"


def test_personal_data_beside_the_messages_is_read() -> None:
    texts = {part.text for part in read({"user": "a@b.example", "metadata": {"id": "x"}}).parts}
    assert texts == {"a@b.example", "x"}


def test_a_refusal_keeps_the_code() -> None:
    body = json.loads(OpenAIChat().refusal(status=429, code="budget", message="Spent."))
    assert (body["error"]["code"], body["error"]["type"]) == ("budget", "rate_limit_error")
