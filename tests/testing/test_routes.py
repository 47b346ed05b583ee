from typing import Any

import pytest

from llmtrace.testing.routes import SOCKETS, choose, failure, find, find_socket
from llmtrace.testing.script import AFTER_TOOL, Script, ScriptedTool
from llmtrace.testing.scripts import anthropic, bedrock, openai_chat


@pytest.mark.parametrize(
    ("method", "path", "dialect"),
    [
        ("POST", "/v1/chat/completions", "openai.chat"),
        ("POST", "/openai/v1/chat/completions", "openai.chat"),
        ("POST", "/openai/deployments/d/chat/completions", "openai.chat"),
        ("POST", "/any/prefix/v1/completions", "openai.completions"),
        ("POST", "/v1/embeddings", "openai.embeddings"),
        ("POST", "/v1/responses", "openai.responses"),
        ("GET", "/v1/responses/resp_1", "openai.responses"),
        ("GET", "/backend-api/codex/models", "openai.responses"),
        ("POST", "/v1/messages", "anthropic.messages"),
        ("POST", "/v1/messages/count_tokens", "anthropic.messages"),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict",
         "anthropic.messages"),
        ("POST", "/v1beta/models/m:generateContent", "gemini.generate"),
        ("POST", "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent",
         "gemini.generate"),
        ("POST", "/v1beta/models/m:batchEmbedContents", "gemini.generate"),
        ("POST", "/model/m:0/converse", "bedrock.converse"),
        ("POST", "/model/arn:aws:bedrock:us-east-1::inference-profile/m/converse-stream",
         "bedrock.converse"),
        ("POST", "/model/m/invoke-with-response-stream", "bedrock.invoke"),
        ("POST", "/api/chat", "ollama.chat"),
        ("POST", "/api/generate", "ollama.generate"),
        ("GET", "/api/tags", "ollama.chat"),
        ("POST", "/v2/chat", "cohere.chat"),
    ],
)  # fmt: skip
def test_a_path_is_answered_in(method: str, path: str, dialect: str) -> None:
    endpoint = find(method, path)
    assert endpoint is not None
    assert endpoint.dialect.name == dialect


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/chat/completions"), ("POST", "/v1/files"), ("POST", "/")]
)
def test_an_unknown_path_is_nobodys(method: str, path: str) -> None:
    assert find(method, path) is None


def test_sockets_are_found_by_path() -> None:
    assert [find_socket(path) for path in ("/v1/responses", "/v1/realtime", "/x")] == [
        *SOCKETS,
        None,
    ]


DIRECTIVE = '@script: tool_call=Bash {"command": "ls"}'
TOOLS = [{"name": "Bash", "input_schema": {"type": "object"}}]


def messages(*contents: tuple[str, Any]) -> dict[str, Any]:
    said = [{"role": role, "content": content} for role, content in contents]
    return {"messages": said, "tools": TOOLS}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(messages(("user", "hi")), Script(), id="default"),
        pytest.param(
            messages(("user", DIRECTIVE)),
            Script(tool_calls=(ScriptedTool(name="Bash", arguments='{"command": "ls"}'),)),
            id="directive",
        ),
        pytest.param(
            messages(("user", DIRECTIVE)) | {"tools": []}, Script(), id="tool-that-is-not-offered"
        ),
        pytest.param(
            messages(("user", DIRECTIVE), ("assistant", "Done."), ("user", "Thanks")),
            Script(),
            id="directive-of-an-old-turn",
        ),
        pytest.param(
            messages(
                ("user", DIRECTIVE),
                ("assistant", [{"type": "tool_use", "id": "1", "name": "Bash", "input": {}}]),
                ("user", [{"type": "tool_result", "tool_use_id": "1", "content": "a.txt"}]),
            ),
            AFTER_TOOL,
            id="tool-has-answered",
        ),
        pytest.param(
            messages(("user", "@script: chunks=3"), ("user", "a reminder beside it")),
            Script(chunks=3),
            id="directive-beside-other-texts",
        ),
    ],
)
def test_a_request_is_answered_by(body: dict[str, Any], expected: Script) -> None:
    assert choose(anthropic.DIALECT, body, None) == expected


def test_a_queued_script_comes_first() -> None:
    queued = Script(text="queued")
    assert choose(anthropic.DIALECT, messages(("user", DIRECTIVE)), queued) is queued


def test_errors_have_the_headers_that_go_with_them() -> None:
    plain = failure(openai_chat.DIALECT, Script(status=429, retry_after="7"))
    assert (plain.status, ("retry-after", "7") in plain.headers) == (429, True)
    aws = failure(bedrock.DIALECT, Script(status=429))
    assert ("x-amzn-errortype", "ThrottlingException") in aws.headers
