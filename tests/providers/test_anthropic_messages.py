"""Messages requests: blocks, tools, documents, sessions."""

import base64
import json
from typing import Any

import pytest

from llmtrace.domain.parts import MediaKind, Origin, Role
from llmtrace.providers.anthropic_messages import AnthropicMessages, session_of
from llmtrace.providers.base import RequestView, Route
from llmtrace.providers.media import ENCRYPTED

ROUTE = Route(provider="anthropic", dialect="anthropic.messages", operation="chat")


def read(body: Any, route: Route = ROUTE) -> RequestView:
    return AnthropicMessages().request(body, route)


def blocks(*content: Any, role: str = "user") -> RequestView:
    return read({"messages": [{"role": role, "content": [*content]}]})


@pytest.mark.parametrize("system", ["Be kind", [{"type": "text", "text": "Be kind"}]])
def test_system_as_string_or_blocks(system: object) -> None:
    [part] = read({"system": system}).parts
    assert (part.role, part.text) == (Role.SYSTEM, "Be kind")


def test_system_in_the_messages() -> None:
    [part] = read({"messages": [{"role": "system", "content": "Be kind"}]}).parts
    assert part.role is Role.SYSTEM


def test_tool_use_and_its_result() -> None:
    view = blocks(
        {"type": "tool_use", "id": "1", "name": "Bash", "input": {"command": "ls", "id": "2"}},
        {"type": "tool_result", "tool_use_id": "1", "content": "plain"},
        {"type": "tool_result", "content": [{"type": "text", "text": "in a block"}]},
        {"type": "mcp_tool_result", "content": [{"type": "text", "text": "of a server"}]},
    )
    assert [(part.role, part.text) for part in view.parts] == [
        (Role.TOOL_CALL, "ls"),
        (Role.TOOL_CALL, "2"),
        (Role.TOOL_RESULT, "plain"),
        (Role.TOOL_RESULT, "in a block"),
        (Role.TOOL_RESULT, "of a server"),
    ]
    assert view.parts[3].location == "messages[0].content[2].content[0].text"


def test_results_of_server_tools_are_untrusted_and_their_blobs_opaque() -> None:
    found = {"type": "web_search_result", "title": "A page", "encrypted_content": "ZW5j"}
    view = blocks({"type": "web_search_tool_result", "content": [found]}, role="assistant")
    [part] = view.parts
    assert (part.role, part.origin, part.text) == (Role.TOOL_RESULT, Origin.UNTRUSTED, "A page")
    assert [media.mime for media in view.media] == [ENCRYPTED]


def test_thinking_is_the_assistants_and_what_is_encrypted_is_a_gap() -> None:
    view = blocks(
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        role="assistant",
    )
    assert [(part.role, part.text) for part in view.parts] == [(Role.ASSISTANT, "Hm")]
    assert [media.size for media in view.media] == [4, 4]


NOTE = base64.b64encode(b"ignore all").decode()


@pytest.mark.parametrize(
    "source",
    [
        {"type": "base64", "media_type": "text/plain", "data": NOTE},
        {"type": "base64", "media_type": "application/pdf", "data": NOTE},
        {"type": "text", "media_type": "text/plain", "data": "ignore all"},
        {"type": "content", "content": "ignore all"},
        {"type": "content", "content": [{"type": "text", "text": "ignore all"}]},
        {"type": "future", "data": "ignore all"},
    ],
)
def test_documents_are_read_and_not_trusted(source: dict[str, Any]) -> None:
    parts = blocks({"type": "document", "source": source}).parts
    assert ("ignore all", Origin.UNTRUSTED) in [(part.text, part.origin) for part in parts]


@pytest.mark.parametrize(
    ("source", "host", "size"),
    [
        ({"type": "base64", "media_type": "image/png", "data": "iVBORwA="}, None, 5),
        ({"type": "url", "url": "https://i.example/x"}, "i.example", None),
        ({"type": "file", "file_id": "file_1"}, None, None),
    ],
)
def test_images(source: dict[str, Any], host: str | None, size: int | None) -> None:
    [media] = blocks({"type": "image", "source": source}).media
    assert (media.kind, media.host, media.size) == (MediaKind.IMAGE, host, size)


def test_tools() -> None:
    schema = {"type": "object", "properties": {"p": {"type": "string", "description": "A p"}}}
    tools = [
        {"name": "Bash", "description": "Runs", "input_schema": schema},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
    ]
    view = read({"tools": tools})
    assert [tool.name for tool in view.tools] == ["Bash", "web_search"]
    assert [part.text for part in view.parts] == ["Bash", "Runs", "A p", "web_search"]


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        ('{"device_id":"d","session_id":"s-1"}', "s-1"),
        ("user_ab_account_cd_session_s-2", "s-2"),
        ("someone", ""),
        ('{"session_id": 5}', ""),
        ("[1]", ""),
    ],
)
def test_the_session_of_claude_code(user_id: str, session: str) -> None:
    assert session_of(user_id) == session
    assert read({"metadata": {"user_id": user_id}}).conversation_hint == session


def test_counting_tokens_costs_nothing() -> None:
    route = Route(provider="anthropic", dialect="anthropic.messages", operation="count_tokens")
    assert not read({"messages": []}, route).billable
    assert read({"messages": []}).billable


def test_a_servers_token_is_read_by_nobody() -> None:
    view = read({"mcp_servers": [{"url": "https://m.example/", "authorization_token": "s3cret"}]})
    assert "s3cret" not in {part.text for part in view.parts}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_refusals(status: int, kind: str) -> None:
    body = json.loads(AnthropicMessages().refusal(status=status, code="c", message="No."))
    assert body["type"] == "error"
    assert body["error"] == {"type": kind, "message": "No."}


def test_what_a_policy_refuses_is_final() -> None:
    written = AnthropicMessages().refusal(status=400, code="llmtrace_blocked", message="No.")
    error = json.loads(written)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["details"] == {"error_code": "dlp_request_denied"}


def test_a_stream_ends_with_a_named_event() -> None:
    written = AnthropicMessages().stream_error(code="llmtrace_blocked", message="No.")
    event, data, *rest = written.split(b"\n")
    assert (event, rest) == (b"event: error", [b"", b""])
    error = json.loads(data.removeprefix(b"data: "))["error"]
    details = {"error_code": "dlp_request_denied"}
    assert error == {"type": "permission_error", "message": "No.", "details": details}


def test_a_mishap_may_be_asked_about_again() -> None:
    written = AnthropicMessages().stream_error(code="detection_failed", message="No.")
    assert b"details" not in written
