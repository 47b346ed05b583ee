"""What Gemini's requests say is found in both of Google's spellings, bare and wrapped."""

import json
from collections.abc import Mapping

import pytest

from llmtrace.domain.parts import MediaKind, Origin, Role
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.gemini_generate import GeminiGenerate, snake

GEMINI = GeminiGenerate()
ROUTE = Route(
    provider="gemini", dialect="gemini.generate", operation="chat", model="g-pro", stream=True
)


def read(body: Json, route: Route = ROUTE) -> RequestView:
    return GEMINI.request(body, route)


def said(body: Json) -> list[tuple[Role, Origin, str, str]]:
    return [(p.role, p.origin, p.location, p.text) for p in read(body).parts]


def in_snake(value: Json) -> Json:
    if isinstance(value, dict):
        return {snake(key): in_snake(item) for key, item in value.items()}
    return [in_snake(item) for item in value] if isinstance(value, list) else value


TRUSTED, UNTRUSTED = Origin.TRUSTED, Origin.UNTRUSTED
BODY: Json = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"parts": [{"text": "Hello"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": "b"}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "f", "response": {"out": "from afar"}}}],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "description": "Does it."}]}],
    "generationConfig": {"candidateCount": 3, "maxOutputTokens": 7},
}


def test_each_text_has_its_role_and_place() -> None:
    assert said(BODY) == [
        (Role.SYSTEM, TRUSTED, "systemInstruction.parts[0].text", "Be brief."),
        (Role.USER, TRUSTED, "contents[0].parts[0].text", "Hello"),
        (Role.TOOL_CALL, TRUSTED, "contents[1].parts[0].functionCall.args.a", "b"),
        (
            Role.TOOL_RESULT,
            UNTRUSTED,
            "contents[2].parts[0].functionResponse.response.out",
            "from afar",
        ),
        (Role.TOOL_DESCRIPTION, UNTRUSTED, "tools[0].functionDeclarations[0].name", "f"),
        (
            Role.TOOL_DESCRIPTION,
            UNTRUSTED,
            "tools[0].functionDeclarations[0].description",
            "Does it.",
        ),
    ]


def test_both_spellings_say_the_same() -> None:
    camel, other = read(BODY), read(in_snake(BODY))
    assert [(p.role, p.text) for p in camel.parts] == [(p.role, p.text) for p in other.parts]
    for view in (camel, other):
        assert (view.choices, view.max_output_tokens) == (3, 7)
        assert [tool.name for tool in view.tools] == ["f"]


def test_path_and_route_name_model_and_stream() -> None:
    view = read({"model": "models/other", "contents": []})
    assert (view.model, view.stream) == ("g-pro", True)


def test_what_the_cli_wraps_is_unwrapped() -> None:
    body: Json = {
        "model": "gemini-2.5-pro",
        "project": "p",
        "request": {
            "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
            "session_id": "s-1",
            "generationConfig": {"maxOutputTokens": 9},
        },
    }
    view = read(body, Route(provider="gemini", dialect="gemini.generate", operation="chat"))
    assert [(p.role, p.location) for p in view.parts] == [
        (Role.USER, "request.contents[0].parts[0].text")
    ]
    assert (view.model, view.max_output_tokens, view.conversation_hint) == (
        "gemini-2.5-pro",
        9,
        "s-1",
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"content": {"parts": [{"text": "Hello"}]}}, id="embed"),
        pytest.param(
            {"requests": [{"model": "m", "content": {"parts": [{"text": "Hello"}]}}]}, id="batch"
        ),
        pytest.param(
            {"generateContentRequest": {"contents": [{"parts": [{"text": "Hello"}]}]}}, id="count"
        ),
        pytest.param({"contents": {"parts": {"text": "Hello"}}}, id="no-lists"),
        pytest.param({"contents": "Hello"}, id="string"),
        pytest.param({"contents": ["Hello"]}, id="list-of-strings"),
    ],
)
def test_a_prompt_is_the_users_wherever_it_stands(body: Json) -> None:
    assert [(p.role, p.text) for p in read(body).parts] == [(Role.USER, "Hello")]


def test_a_role_that_nobody_knows_is_not_trusted() -> None:
    parts = read({"contents": [{"role": "god", "parts": [{"text": "Hello you"}]}]}).parts
    assert [(p.origin, p.text) for p in parts] == [(UNTRUSTED, "Hello you")]


def test_media_are_typed_and_hashed() -> None:
    parts: Json = [
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"inlineData": {"mimeType": "text/plain", "data": "aGlkZGVu"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://evil.example/x?q=1"}},
    ]
    view = read({"contents": [{"role": "user", "parts": parts}]})
    assert [(m.kind, m.mime, m.size, m.host) for m in view.media] == [
        (MediaKind.AUDIO, "audio/wav", 3, None),
        (MediaKind.FILE, "text/plain", 6, None),
        (MediaKind.VIDEO, "", None, "evil.example"),
    ]
    assert [p.text for p in view.parts] == ["hidden", "https://evil.example/x?q=1"]


def test_services_of_google_are_tools_too() -> None:
    view = read({"tools": [{"googleSearch": {}}, {"codeExecution": {}}]})
    assert [tool.name for tool in view.tools] == ["googleSearch", "codeExecution"]


@pytest.mark.parametrize(
    ("status", "named"),
    [
        (400, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (418, "INVALID_ARGUMENT"),
        (503, "UNAVAILABLE"),
        (599, "INTERNAL"),
    ],
)
def test_a_refusal_has_googles_shape(status: int, named: str) -> None:
    body = json.loads(GEMINI.refusal(status=status, code="llmtrace_x", message="No."))
    error: Mapping[str, object] = body["error"]
    assert (error["code"], error["status"], error["message"]) == (status, named, "No.")


def test_a_stream_ends_in_an_event_with_the_error() -> None:
    event = GEMINI.stream_error(code="llmtrace_policy_violation", message="No.")
    assert event.startswith(b"data: {")
    assert event.endswith(b"\r\n\r\n")
    assert json.loads(event[6:])["error"]["status"] == "INVALID_ARGUMENT"
