"""How many tokens a call sends: never more than is said."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.limits.prompts import (
    AROUND,
    HOSTED_TOKENS,
    HOSTED_USES,
    LIKELY_STORED,
    Hosted,
    Prompt,
    hosted_tools,
    measure,
)
from llmtrace.providers.base import Route
from llmtrace.providers.registry import DIALECTS

WINDOW = 200_000
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(200_000)).decode()


def measured(dialect: str, body: Any, provider: str = "openai", **given: Any) -> Prompt:
    route = Route(provider=provider, dialect=dialect, operation="chat")
    return measure(
        DIALECTS[dialect].request(body, route),
        body,
        size=len(json.dumps(body, ensure_ascii=False).encode()),
        provider=provider,
        dialect=dialect,
        window=WINDOW,
        hosted=given.pop("hosted", Hosted()),
        **given,
    )


def chat(content: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_every_token_is_a_byte_of_the_body_or_more(texts: list[str]) -> None:
    body = {"messages": [{"role": "user", "content": text} for text in texts]}
    found = measured("openai.chat", body)
    said = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    assert found.most >= said + 16 * len(texts)
    assert found.likely <= found.most


def test_likely_is_a_quarter_of_the_bytes() -> None:
    assert measured("openai.chat", chat("x" * 4000)).likely == 1000


def test_tool_definitions_count() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 400}}
    assert measured("openai.chat", chat("", tools=[tool])).likely >= 100


def test_a_picture_counts_by_its_size_and_not_by_its_bytes() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    with_picture = measured("openai.chat", chat([picture]), provider="anthropic")
    assert 5_000 <= with_picture.most < 5_000 + AROUND + 500
    assert with_picture.likely == 1_600


URI = f"data:image/png;base64,{PNG}"


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai.chat", chat(URI)),
        ("openai.chat", chat([{"type": "text", "text": URI}])),
        ("openai.chat", chat("hi", note=URI)),
        (
            "anthropic.messages",
            {"messages": [{"content": [{"type": "tool_use", "input": {"data": URI}}]}]},
        ),
        (
            "gemini.generate",
            {"contents": [{"parts": [{"functionResponse": {"response": {"data": URI}}}]}]},
        ),
    ],
    ids=["whole text", "text block", "unknown member", "tool call", "tool result"],
)
def test_a_text_that_looks_like_a_picture_counts_as_a_text(dialect: str, body: Any) -> None:
    assert measured(dialect, body).most >= len(PNG)


def test_a_picture_elsewhere_counts_by_the_largest() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert measured("openai.chat", chat([picture])).most >= 50_000


def test_a_packed_document_may_fill_the_window() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PNG}
    body = {"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]}
    assert measured("anthropic.messages", body, provider="anthropic").most >= WINDOW


def test_a_file_kept_by_the_provider_may_fill_the_window() -> None:
    block = {"type": "file", "file": {"file_id": "file-1"}}
    assert measured("openai.chat", chat([block])).most >= WINDOW


def test_the_key_of_a_remote_server_is_no_file() -> None:
    tool = {"type": "mcp", "server_url": "https://example.com", "authorization": "token-0815"}
    body = {"model": "m", "input": "hi", "tools": [tool]}
    assert measured("openai.responses", body).most < WINDOW


def test_sound_counts_by_its_length() -> None:
    sound = base64.b64encode(bytes(80_000)).decode()
    block = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
    assert 10_000 <= measured("openai.chat", chat([block])).most < 10_000 + AROUND + 500


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai.responses", {"input": "hi", "previous_response_id": "resp_1"}),
        ("openai.responses", {"input": "hi", "conversation": {"id": "conv_1"}}),
        ("openai.responses", {"prompt": {"id": "pmpt_1"}}),
        ("gemini.generate", {"contents": [], "cachedContent": "cachedContents/1"}),
    ],
)
def test_what_the_provider_keeps_counts_too(dialect: str, body: Any) -> None:
    unknown = measured(dialect, body)
    known = measured(dialect, body, stored_tokens=500)
    assert unknown.most >= WINDOW
    assert unknown.likely >= LIKELY_STORED
    assert 500 <= known.most < 500 + AROUND + 200
    assert known.likely < 600


@pytest.mark.parametrize(
    ("body", "provider", "fees", "uses"),
    [
        ({"tools": [{"type": "web_search"}]}, "openai", {"web_search"}, HOSTED_USES),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
            "anthropic",
            {"web_search"},
            3,
        ),
        (
            {"tools": [{"type": "web_search_preview"}], "max_tool_calls": 2},
            "openai",
            {"web_search"},
            2,
        ),
        ({"tools": [{"type": "code_interpreter"}]}, "openai", {"code_execution"}, HOSTED_USES),
        (
            {"tools": [{"type": "file_search"}, {"type": "image_generation"}]},
            "openai",
            {"file_search", "image"},
            2 * HOSTED_USES,
        ),
        ({"tools": [{"type": "mcp", "server_url": "x"}]}, "openai", set(), HOSTED_USES),
        ({"mcp_servers": [{"url": "x"}]}, "anthropic", set(), HOSTED_USES),
        ({"tools": [{"googleSearch": {}}]}, "gemini", {"web_search"}, HOSTED_USES),
        (
            {"tools": [{"google_search": {}}, {"url_context": {}}]},
            "vertex",
            {"web_search", "web_fetch"},
            HOSTED_USES,
        ),
        ({"web_search_options": {"a": 1}}, "openai", {"web_search"}, HOSTED_USES),
        (
            {"tools": [{"type": "web_search", "max_uses": True}]},
            "openai",
            {"web_search"},
            HOSTED_USES,
        ),
        ({"tools": [{"type": "web_search", "max_uses": 10**9}]}, "openai", {"web_search"}, 1000),
        (
            {"tools": [{"type": "web_search", "max_uses": -1}]},
            "openai",
            {"web_search"},
            HOSTED_USES,
        ),
        ({"tools": [{"type": "function", "name": "web_search"}]}, "openai", set(), 0),
        ({"tools": [{"type": "custom"}, {"name": "Read", "input_schema": {}}]}, "openai", set(), 0),
        ({"tools": [{"functionDeclarations": []}]}, "gemini", set(), 0),
        ({"tools": "web_search"}, "openai", set(), 0),
        (None, "openai", set(), 0),
        ({"messages": []}, "perplexity", {"web_search"}, 1),
    ],
)
def test_tools_of_the_provider_s_own_are_seen(
    body: Any, provider: str, fees: set[str], uses: int
) -> None:
    assert hosted_tools(body, provider) == Hosted(fees=frozenset(fees), uses=uses)


def test_each_use_of_such_a_tool_adds_tokens() -> None:
    plain, searching = (
        measured("openai.chat", chat("hi"), hosted=hosted)
        for hosted in (Hosted(), Hosted(fees=frozenset({"web_search"}), uses=3))
    )
    assert searching.most - plain.most == 3 * HOSTED_TOKENS
    assert searching.likely > plain.likely
