import json
from pathlib import Path
from typing import Any

import pytest
from genai_prices import extract_usage
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.usage import Usage
from llmtrace.providers.usage import MAX_COUNT, estimate_tokens, read_usage

PAYLOADS: dict[str, Any] = json.loads(Path(__file__).with_name("usage_payloads.json").read_text())
CHAT: dict[str, Any] = PAYLOADS["chat"]
RESPONSES: dict[str, Any] = PAYLOADS["responses"]
REALTIME: dict[str, Any] = PAYLOADS["realtime"]
ANTHROPIC: dict[str, Any] = PAYLOADS["anthropic"]
GEMINI: dict[str, Any] = PAYLOADS["gemini"]
CONVERSE: dict[str, Any] = PAYLOADS["converse"]
XAI: dict[str, Any] = PAYLOADS["xai"]
FIELDS: dict[str, Any] = PAYLOADS["fields"]


@pytest.mark.parametrize(
    ("provider", "dialect", "raw", "expected"),
    [
        pytest.param(
            "openai",
            "openai.chat",
            CHAT,
            Usage(
                input_tokens=100,
                output_tokens=50,
                cache_read_tokens=40,
                cache_write_5m_tokens=8,
                input_audio_tokens=5,
                output_audio_tokens=7,
                reasoning_tokens=30,
            ),
            id="chat",
        ),
        pytest.param(
            "openai",
            "openai.responses",
            RESPONSES,
            Usage(
                input_tokens=100,
                output_tokens=50,
                cache_read_tokens=40,
                cache_write_5m_tokens=8,
                reasoning_tokens=30,
            ),
            id="responses",
        ),
        pytest.param(
            "openai",
            "openai.realtime",
            REALTIME,
            Usage(
                input_tokens=100,
                output_tokens=50,
                cache_read_tokens=30,
                input_audio_tokens=40,
                cache_audio_read_tokens=10,
                output_audio_tokens=35,
            ),
            id="realtime",
        ),
        pytest.param(
            "openai",
            "openai.embeddings",
            {"prompt_tokens": 8, "total_tokens": 8},
            Usage(input_tokens=8),
            id="embeddings",
        ),
        pytest.param(
            "anthropic",
            "anthropic.messages",
            ANTHROPIC,
            Usage(
                input_tokens=100,
                output_tokens=50,
                cache_read_tokens=60,
                cache_write_5m_tokens=20,
                cache_write_1h_tokens=10,
                reasoning_tokens=20,
                web_searches=2,
                web_fetches=1,
            ),
            id="anthropic-input-leaves-out-the-cache",
        ),
        pytest.param(
            "anthropic",
            "anthropic.messages",
            {"input_tokens": 1, "cache_creation_input_tokens": 5, "output_tokens": 1},
            Usage(input_tokens=6, output_tokens=1, cache_write_5m_tokens=5),
            id="anthropic-writes-are-of-5-minutes-unless-said",
        ),
        pytest.param(
            "gemini",
            "gemini.generate",
            GEMINI,
            Usage(
                input_tokens=111,
                output_tokens=50,
                cache_read_tokens=40,
                input_audio_tokens=25,
                cache_audio_read_tokens=5,
                output_audio_tokens=6,
                reasoning_tokens=30,
            ),
            id="gemini-candidates-leave-out-thoughts",
        ),
        pytest.param(
            "gemini",
            "gemini.generate",
            {"promptTokenCount": 3, "responseTokenCount": 4},
            Usage(input_tokens=3, output_tokens=4),
            id="gemini-live",
        ),
        pytest.param(
            "bedrock",
            "bedrock.converse",
            CONVERSE,
            Usage(
                input_tokens=100,
                output_tokens=50,
                cache_read_tokens=60,
                cache_write_5m_tokens=20,
                cache_write_1h_tokens=10,
            ),
            id="converse-input-leaves-out-the-cache",
        ),
        pytest.param(
            "bedrock",
            "bedrock.invoke",
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": 0,
                "output_tokens": 5,
                "inputTokenCount": 10,
                "outputTokenCount": 5,
            },
            Usage(input_tokens=10, output_tokens=5),
            id="invoke-of-claude",
        ),
        pytest.param(
            "bedrock",
            "bedrock.invoke",
            {"inputTokenCount": 10, "outputTokenCount": 5, "cacheReadInputTokenCount": 90},
            Usage(input_tokens=100, output_tokens=5, cache_read_tokens=90),
            id="invoke-with-metrics-alone",
        ),
        pytest.param(
            "bedrock",
            "bedrock.invoke",
            {"prompt_token_count": 10, "generation_token_count": 5},
            Usage(input_tokens=10, output_tokens=5),
            id="invoke-of-llama",
        ),
        pytest.param(
            "ollama",
            "ollama.chat",
            {"prompt_eval_count": 10, "eval_count": 5, "eval_duration": 123456789},
            Usage(input_tokens=10, output_tokens=5),
            id="ollama",
        ),
        pytest.param(
            "cohere",
            "cohere.chat",
            {
                "billed_units": {"input_tokens": 10.0, "output_tokens": 5.0},
                "tokens": {"input_tokens": 80, "output_tokens": 7},
                "cached_tokens": 3,
            },
            Usage(input_tokens=10, output_tokens=5, cache_read_tokens=3),
            id="cohere-what-is-billed",
        ),
        pytest.param(
            "xai",
            "openai.chat",
            XAI,
            Usage(input_tokens=32, output_tokens=103, cache_read_tokens=6, reasoning_tokens=94),
            id="xai-completion-leaves-out-reasoning",
        ),
        pytest.param(
            "xai",
            "openai.chat",
            XAI | {"total_tokens": None},
            Usage(input_tokens=32, output_tokens=103, cache_read_tokens=6, reasoning_tokens=94),
            id="xai-without-a-total",
        ),
        pytest.param(
            "xai",
            "openai.chat",
            XAI | {"completion_tokens": 103},
            Usage(input_tokens=32, output_tokens=103, cache_read_tokens=6, reasoning_tokens=94),
            id="xai-whose-total-says-that-reasoning-is-in",
        ),
        pytest.param(
            "perplexity",
            "openai.chat",
            {
                "prompt_tokens": 33,
                "completion_tokens": 7163,
                "total_tokens": 7196,
                "reasoning_tokens": 95305,
                "num_search_queries": 18,
            },
            Usage(input_tokens=33, output_tokens=102468, reasoning_tokens=95305, web_searches=18),
            id="perplexity-completion-and-total-leave-out-reasoning",
        ),
        pytest.param(
            "deepseek",
            "openai.chat",
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_cache_hit_tokens": 4,
                "prompt_cache_miss_tokens": 6,
            },
            Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4),
            id="deepseek-hits",
        ),
        pytest.param(
            "custom",
            "generic",
            ANTHROPIC | {"server_tool_use": None},
            Usage(
                input_tokens=100,
                output_tokens=50,
                cache_read_tokens=60,
                cache_write_5m_tokens=20,
                cache_write_1h_tokens=10,
                reasoning_tokens=20,
            ),
            id="any-dialect-by-what-is-there",
        ),
        pytest.param(
            "openai",
            "openai.chat",
            {"prompt_tokens": 0, "completion_tokens": 0},
            Usage(),
            id="zero-is-zero",
        ),
    ],
)
def test_one_meaning_for_all(
    provider: str, dialect: str, raw: dict[str, object], expected: Usage
) -> None:
    invalid: list[str] = []
    assert read_usage(provider, dialect, raw, on_invalid=invalid.append) == expected
    assert invalid == []


def test_claude_on_bedrock_is_known_by_its_model() -> None:
    raw = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation": {"ephemeral_1h_input_tokens": 4},
    }
    usage = read_usage("bedrock", "bedrock.invoke", raw, "us.anthropic.claude-sonnet-4-5")
    assert usage == Usage(input_tokens=5, output_tokens=2, cache_write_1h_tokens=4)


@pytest.mark.parametrize(
    ("provider", "dialect", "raw", "theirs", "flavor", "wrap"),
    [
        ("openai", "openai.chat", CHAT, "openai", "chat", ["usage"]),
        ("openai", "openai.responses", RESPONSES, "openai", "responses", ["usage"]),
        ("openai", "openai.realtime", REALTIME, "openai", "realtime", ["response", "usage"]),
        ("anthropic", "anthropic.messages", ANTHROPIC, "anthropic", "default", ["usage"]),
        ("gemini", "gemini.generate", GEMINI, "google", "default", ["usageMetadata"]),
        ("bedrock", "bedrock.converse", CONVERSE, "aws", "default", ["usage"]),
        ("xai", "openai.chat", XAI, "x-ai", "chat", ["usage"]),
    ],
    ids=["chat", "responses", "realtime", "anthropic", "gemini", "converse", "xai"],
)
def test_genai_prices_reads_the_same(
    provider: str, dialect: str, raw: dict[str, object], theirs: str, flavor: str, wrap: list[str]
) -> None:
    answer: dict[str, Any] = dict(raw)
    for key in reversed(wrap):
        answer = {key: answer}
    extracted = extract_usage(answer, provider_id=theirs, api_flavor=flavor).usage
    usage = read_usage(provider, dialect, raw)
    assert usage is not None
    values = extracted.__dict__
    assert {ours: getattr(usage, ours) for ours in FIELDS} == {
        ours: values.get(name, 0) for ours, name in FIELDS.items()
    }


@pytest.mark.parametrize("raw", [None, {}, {"input": 3}, {"total_tokens": 3}, {"x": {"y": []}}])
def test_nothing_said_is_no_usage(raw: dict[str, object] | None) -> None:
    assert read_usage("openai", "openai.chat", raw) is None


BAD = [-5, 10**18, MAX_COUNT + 1, "12", float("nan"), float("inf"), 1.5, True, [], {}]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("key", ["prompt_tokens", "completion_tokens"])
def test_an_impossible_total_is_as_good_as_missing(bad: object, key: str) -> None:
    invalid: list[str] = []
    raw = CHAT | {key: bad}
    assert read_usage("openai", "openai.chat", raw, on_invalid=invalid.append) is None
    assert invalid == ["input" if key == "prompt_tokens" else "output"]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_an_impossible_class_is_left_out(bad: object) -> None:
    invalid: list[str] = []
    raw = {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": bad},
    }
    usage = read_usage("openai", "openai.chat", raw, on_invalid=invalid.append)
    assert usage == Usage(input_tokens=9, output_tokens=3)
    assert invalid == ["cache_read"]


@pytest.mark.parametrize(
    ("details", "name"),
    [
        pytest.param({"prompt_tokens_details": {"cached_tokens": 10}}, "cache", id="cache"),
        pytest.param({"prompt_tokens_details": {"audio_tokens": 10}}, "input_audio", id="audio"),
        pytest.param({"completion_tokens_details": {"reasoning_tokens": 4}}, "output", id="out"),
    ],
)
def test_a_class_larger_than_its_total_is_left_out(details: dict[str, object], name: str) -> None:
    invalid: list[str] = []
    raw = {"prompt_tokens": 9, "completion_tokens": 3} | details
    usage = read_usage("openai", "openai.chat", raw, on_invalid=invalid.append)
    assert usage == Usage(input_tokens=9, output_tokens=3)
    assert invalid == [name]


DIALECTS = [
    "openai.chat",
    "openai.responses",
    "openai.realtime",
    "anthropic.messages",
    "gemini.generate",
    "bedrock.converse",
    "bedrock.invoke",
    "ollama.chat",
    "cohere.chat",
    "",
]
KEYS = sorted(
    {key for raw in (CHAT, RESPONSES, REALTIME, ANTHROPIC, GEMINI, CONVERSE) for key in raw}
)
VALUES = st.recursive(
    st.integers(-10, 10**19) | st.floats() | st.none() | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([*KEYS, "modality", "audio_tokens"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(["openai", "xai", "perplexity"]),
    st.sampled_from(DIALECTS),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
)
@settings(max_examples=300)
def test_no_usage_object_raises_or_contradicts_itself(
    provider: str, dialect: str, raw: dict[str, object]
) -> None:
    usage = read_usage(provider, dialect, raw, "anthropic.claude")
    if usage is not None:
        cached = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        assert cached <= usage.input_tokens
        assert usage.cache_audio_read_tokens <= usage.input_audio_tokens <= usage.input_tokens
        assert usage.reasoning_tokens + usage.output_audio_tokens <= usage.output_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("a", 1, id="rounded-up"),
        pytest.param("The quick brown fox jumps over", 8, id="english"),
        pytest.param("тест", 2, id="two-byte-letters"),
        pytest.param("漢字漢字", 3, id="three-byte-letters"),
        pytest.param("\ud800", 1, id="lone-surrogate"),
    ],
)
def test_estimate(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
