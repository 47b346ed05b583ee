"""Clients are told by what they send, and nothing that they send does harm."""

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.clients import (
    CREDENTIAL_HEADERS,
    CREDENTIAL_QUERY,
    TELLING,
    ClientIdentity,
    _identified,
    _remembered,
    identify,
    plain,
    proxy_userinfo,
)


@pytest.mark.parametrize(
    ("headers", "program", "version"),
    [
        ({"user-agent": "claude-cli/2.1.329 (external, cli)"}, "claude-code", "2.1.329"),
        ({"user-agent": "codex_cli_rs/0.169.0 (Debian 12; x86_64)"}, "codex", "0.169.0"),
        ({"user-agent": "codex_exec/0.169.0 (Linux)"}, "codex", "0.169.0"),
        ({"originator": "codex_vscode", "user-agent": "x/1"}, "codex", ""),
        (
            {"user-agent": "GeminiCLI/0.61.0/gemini-2.5-pro (linux; x64)"},
            "gemini-cli",
            "0.61.0",
        ),
        ({"user-agent": "QwenCode/0.24.1 (linux; x64)"}, "qwen-code", "0.24.1"),
        ({"user-agent": "opencode/1.18.0 ai-sdk/provider-utils/4.0"}, "opencode", "1.18.0"),
        (
            {
                "user-agent": "OpenAI/JS 5.20.1",
                "x-initiator": "user",
                "x-interaction-type": "conversation-agent",
            },
            "copilot-cli",
            "",
        ),
        ({"user-agent": "GitHubCopilotChat/0.30.1"}, "copilot-chat", "0.30.1"),
        ({"user-agent": "OpenAI/Python 3.52.0"}, "openai-python", "3.52.0"),
        ({"user-agent": "AsyncOpenAI/Python 3.52.0"}, "openai-python", "3.52.0"),
        ({"user-agent": "AzureOpenAI/Python 3.52.0"}, "openai-python", "3.52.0"),
        ({"user-agent": "OpenAI/JS 7.55.0"}, "openai-js", "7.55.0"),
        ({"user-agent": "Anthropic/Python 2.11.0"}, "anthropic-python", "2.11.0"),
        ({"user-agent": "AsyncAnthropicBedrock/Python 2.11.0"}, "anthropic-python", "2.11.0"),
        ({"user-agent": "Anthropic/JS 1.11.0"}, "anthropic-js", "1.11.0"),
        (
            {"x-stainless-lang": "js", "x-stainless-package-version": "7.55.0"},
            "openai-js",
            "7.55.0",
        ),
        (
            {
                "x-stainless-lang": "python",
                "x-stainless-package-version": "2.11.0",
                "anthropic-version": "2023-06-01",
            },
            "anthropic-python",
            "2.11.0",
        ),
        (
            {"user-agent": "google-genai-sdk/3.4.0 gl-python/3.13.0"},
            "google-genai",
            "3.4.0",
        ),
        ({"x-goog-api-client": "google-genai-sdk/3.4.0 gl-python/3.13"}, "google-genai", "3.4.0"),
        ({"user-agent": "Boto3/1.44.0 md/Botocore#1.44.0 ua/2.1"}, "boto3", "1.44.0"),
        ({"user-agent": "aws-sdk-js/3.900.0 ua/2.1"}, "aws-sdk-js", "3.900.0"),
        ({"user-agent": "litellm/1.106.2"}, "litellm", "1.106.2"),
        ({"user-agent": "curl/7.88.1"}, "curl", "7.88.1"),
        (
            {"user-agent": "ollama-python/0.6.0 (x86_64 linux) Python/3.13"},
            "ollama-python",
            "0.6.0",
        ),
        ({"user-agent": "ollama/0.12.1 (amd64 linux) Go/go1.24"}, "ollama", "0.12.1"),
        ({"user-agent": "python-httpx2/2.0.1"}, "httpx", "2.0.1"),
        ({"user-agent": "node"}, "node", ""),
        ({"user-agent": "nodeish/3.1"}, "nodeish", "3.1"),
        ({"user-agent": "MyAgent/9.1 (x)"}, "MyAgent", "9.1"),
        ({"x-claude-code-session-id": "s"}, "claude-code", ""),
        ({}, "", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_program_is_told(headers: dict[str, str], program: str, version: str) -> None:
    found = identify(headers)
    assert (found.program, found.version) == (program, version)


@pytest.mark.parametrize(
    ("headers", "session", "conversation"),
    [
        pytest.param({"x-claude-code-session-id": "8b1f"}, "8b1f", "", id="claude-code"),
        pytest.param({"session-id": "s1", "thread-id": "t1"}, "s1", "t1", id="codex"),
        pytest.param({"session_id": "s1", "conversation_id": "c1"}, "s1", "c1", id="older-codex"),
        pytest.param(
            {"x-codex-turn-metadata": '{"session_id":"s2","thread_id":"t2","turn_id":"u"}'},
            "s2",
            "t2",
            id="codex-metadata",
        ),
        pytest.param(
            {"session-id": "s1", "x-codex-turn-metadata": '{"session_id":"s2","thread_id":7}'},
            "s1",
            "",
            id="header-before-metadata",
        ),
        pytest.param({"x-codex-turn-metadata": "{" * 9000}, "", "", id="metadata-huge"),
        pytest.param({"x-codex-turn-metadata": "{bad"}, "", "", id="metadata-broken"),
        pytest.param({"x-codex-turn-metadata": "[1]"}, "", "", id="metadata-no-object"),
        pytest.param({"x-session-id": "o1"}, "o1", "", id="opencode"),
        pytest.param({"x-session-affinity": "o2"}, "o2", "", id="opencode-affinity"),
    ],
)
def test_the_session_is_told(headers: dict[str, str], session: str, conversation: str) -> None:
    found = identify(headers)
    assert (found.session, found.conversation) == (session, conversation)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "user-agent",
                "originator",
                "session-id",
                "thread-id",
                "x-codex-turn-metadata",
                "x-stainless-lang",
                "x-goog-api-client",
            ]
        ),
        st.one_of(
            st.text(max_size=300),
            st.from_regex(r"\{\"session_id\":\"[^\"]{0,200}\"\}", fullmatch=True),
        ),
    )
)
def test_any_headers_give_plain_bounded_names(headers: dict[str, str]) -> None:
    found = identify(headers)
    assert isinstance(found, ClientIdentity)
    for value in (found.program, found.version, found.session, found.conversation):
        assert re.fullmatch(r"[A-Za-z0-9._:/-]{0,128}", value.replace("_", "-"))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*TELLING, "accept", "authorization", "content-type"]),
        st.sampled_from(["", "x", "codex_exec/0.1", "curl/8", "js", '{"session_id":"s"}']),
    )
)
def test_a_client_is_told_by_the_telling_headers_alone(headers: dict[str, str]) -> None:
    assert identify(headers) == _identified(headers)


def test_long_headers_are_not_remembered() -> None:
    headers = {"user-agent": "curl/8 " + "x" * 5_000}
    before = _remembered.cache_info().currsize
    assert identify(headers).program == "curl"
    assert _remembered.cache_info().currsize == before


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a" * 10_000, "a" * 128),
        ("a\r\nSet-Cookie: x", "a_Set-Cookie:_x"),
        ("../../etc", "../../etc"),
        ("\x00\x1b[31m", "31m"),
        ("émoji🙂x", "moji_x"),
    ],
    ids=["long", "crlf", "path", "control", "non-ascii"],
)
def test_names_are_reduced_to_plain_characters(text: str, name: str) -> None:
    assert plain(text) == name


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(basic("brave-otter:tok3n"), ("brave-otter", "tok3n"), id="run-and-token"),
        pytest.param(basic("run:a:b"), ("run", "a:b"), id="colon-in-password"),
        pytest.param("basic " + basic("run:x")[6:], ("run", "x"), id="scheme-in-lower-case"),
        pytest.param(basic("run:"), ("run", ""), id="no-password"),
        pytest.param(basic("run"), ("", ""), id="no-colon"),
        pytest.param(basic("a\r\nb:x"), ("a_b", "x"), id="control-in-user"),
        pytest.param(basic("a:x\r\n"), ("", ""), id="control-in-password"),
        pytest.param("Bearer abc", ("", ""), id="other-scheme"),
        pytest.param("Basic !!!", ("", ""), id="no-base64"),
        pytest.param("Basic /w==", ("", ""), id="no-utf8"),
        pytest.param("Basic " + "QUFB" * 1000, ("", ""), id="too-long"),
        pytest.param("Basic é", ("", ""), id="non-ascii"),
        pytest.param("", ("", ""), id="empty"),
    ],
)
def test_userinfo_is_read_from_the_proxy_header(header: str, expected: tuple[str, str]) -> None:
    assert proxy_userinfo(header) == expected


def test_credential_names_are_lower_case_and_hold_what_providers_use() -> None:
    assert all(name == name.lower() for name in CREDENTIAL_HEADERS | CREDENTIAL_QUERY)
    assert {
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "cookie",
        "x-amz-security-token",
        "x-llmtrace-token",
    } <= CREDENTIAL_HEADERS
