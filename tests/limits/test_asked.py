"""How much a call asks for, in every dialect's spelling, and what cannot be read."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.limits.asked import MAX_CHOICES, PICTURES, Asked, Spelling, read_asked, spelling
from llmtrace.limits.refusals import Refused
from llmtrace.providers.base import Json

CONVERSE = {"inferenceConfig": {"maxTokens": 7}}


def how(dialect: str, provider: str = "", body: Any = None) -> Spelling:
    found = spelling(dialect, provider, body or {})
    assert found is not None
    return found


def asked(dialect: str, body: Any, provider: str = "", prefix: tuple[str, ...] = ()) -> Asked:
    found = read_asked(how(dialect, provider, body), body, prefix)
    assert isinstance(found, Asked), found
    return found


def refused(dialect: str, body: Any, provider: str = "") -> Refused:
    found = read_asked(how(dialect, provider, body), body)
    assert isinstance(found, Refused), found
    return found


@pytest.mark.parametrize(
    ("dialect", "body", "limit", "choices"),
    [
        ("openai.chat", {"max_completion_tokens": 7}, 7, 1),
        ("openai.chat", {"max_tokens": 7, "n": 3}, 7, 3),
        ("openai.completions", {"max_tokens": 7, "n": 2, "best_of": 5}, 7, 5),
        ("openai.responses", {"max_output_tokens": 7}, 7, 1),
        ("anthropic.messages", {"max_tokens": 7}, 7, 1),
        (
            "gemini.generate",
            {"generationConfig": {"maxOutputTokens": 7, "candidateCount": 4}},
            7,
            4,
        ),
        (
            "gemini.generate",
            {"generation_config": {"max_output_tokens": 7, "candidate_count": 4}},
            7,
            4,
        ),
        ("bedrock.converse", CONVERSE, 7, 1),
        ("bedrock.invoke", {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 7}, 7, 1),
        ("bedrock.invoke", {"schemaVersion": "messages-v1", **CONVERSE}, 7, 1),
        (
            "bedrock.invoke",
            {"inferenceConfig": {"max_new_tokens": 7}, "messages": []},
            7,
            1,
        ),
        ("bedrock.invoke", {"inputText": "", "textGenerationConfig": {"maxTokenCount": 7}}, 7, 1),
        ("bedrock.invoke", {"messages": [], "max_completion_tokens": 7}, 7, 1),
        ("bedrock.invoke", {"prompt": "", "max_gen_len": 7}, 7, 1),
        ("bedrock.invoke", {"prompt": "", "max_tokens_to_sample": 7}, 7, 1),
        ("bedrock.invoke", {"prompt": "", "max_tokens": 7, "num_generations": 3}, 7, 3),
        ("ollama.chat", {"options": {"num_predict": 7}}, 7, 1),
        ("ollama.generate", {"options": {"num_predict": 7}}, 7, 1),
        ("cohere.chat", {"max_tokens": 7}, 7, 1),
    ],
)
def test_every_dialect_says_it_its_own_way(
    dialect: str, body: Any, limit: int, choices: int
) -> None:
    found = asked(dialect, body)
    assert (found.limit, found.choices) == (limit, choices)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai.chat", {}),
        ("openai.chat", {"max_tokens": None, "n": None}),
        ("openai.chat", {"max_output_tokens": 1}),  # another dialect's word: it limits nothing
        ("openai.responses", {"max_tokens": 1}),
        ("gemini.generate", {"generationConfig": None}),
        ("bedrock.converse", {"inferenceConfig": {}}),
        ("ollama.chat", {"options": {"num_predict": -1}}),
        ("ollama.chat", {"options": {"num_predict": -2}}),
        ("ollama.chat", {"options": {"num_predict": 0}}),
    ],
)
def test_what_sets_no_limit_asks_for_none(dialect: str, body: Any) -> None:
    assert asked(dialect, body).limit is None


BAD: list[Any] = [
    -1,
    1e308,
    "10",
    "",
    True,
    False,
    2**53,
    2**63,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    [10],
    {"tokens": 10},
]


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:24])
@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("openai.chat", ("max_tokens",)),
        ("openai.chat", ("max_completion_tokens",)),
        ("openai.chat", ("n",)),
        ("openai.completions", ("best_of",)),
        ("openai.responses", ("max_output_tokens",)),
        ("anthropic.messages", ("max_tokens",)),
        ("gemini.generate", ("generationConfig", "maxOutputTokens")),
        ("gemini.generate", ("generationConfig", "candidateCount")),
        ("bedrock.converse", ("inferenceConfig", "maxTokens")),
        ("bedrock.converse", ("additionalModelRequestFields", "max_tokens")),
    ],
)
def test_no_number_of_tokens_is_refused(dialect: str, path: tuple[str, ...], value: Any) -> None:
    body = value
    for name in reversed(path):
        body = {name: body}
    found = refused(dialect, body)
    assert (found.status, found.code) == (400, "bad_token_cap")
    assert found.details["param"] == ".".join(path)
    assert ".".join(path) in found.message
    assert found.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("value", [value for value in BAD if value not in (-1,)])
def test_ollama_reads_small_numbers_as_none_but_nothing_else(value: Any) -> None:
    assert refused("ollama.chat", {"options": {"num_predict": value}}).code == "bad_token_cap"


@pytest.mark.parametrize(
    ("dialect", "body", "param"),
    [
        ("gemini.generate", {"generationConfig": "none"}, "generationConfig"),
        ("bedrock.converse", {"inferenceConfig": [1]}, "inferenceConfig"),
        ("ollama.chat", {"options": 5}, "options"),
    ],
)
def test_what_leaves_no_place_for_a_limit_is_refused(dialect: str, body: Any, param: str) -> None:
    found = refused(dialect, body)
    assert (found.code, found.details["param"]) == ("bad_token_cap", param)
    assert "expected an object" in found.message


def test_a_refusal_does_not_quote_texts() -> None:
    found = refused("openai.chat", {"max_tokens": "my secret"})
    assert "secret" not in found.message
    assert "a text" in found.message


@pytest.mark.parametrize(
    ("dialect", "allowed"),
    [("anthropic.messages", True), ("openai.completions", True), ("openai.chat", False)],
)
def test_zero_is_a_limit_where_providers_take_it(dialect: str, allowed: bool) -> None:
    found = read_asked(how(dialect), {"max_tokens": 0})
    assert isinstance(found, Asked) is allowed


def test_of_two_limits_the_larger_counts() -> None:
    body = {"max_tokens": 10, "max_completion_tokens": 1000}
    assert asked("openai.chat", body, "openai").limit == 1000


def test_a_word_that_a_provider_does_not_know_limits_nothing() -> None:
    assert asked("openai.chat", {"max_completion_tokens": 1}, "deepseek").limit is None


@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("meta.llama3-1-8b-instruct-v1:0", "max_gen_len"),
        ("mistral.mistral-large-2402-v1:0", "max_tokens"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", "max_tokens"),
    ],
)
def test_at_bedrock_a_model_reads_its_own_word_only(model: str, own: str) -> None:
    native = spelling(
        "bedrock.invoke", "bedrock", {"prompt": "", "max_completion_tokens": 1}, model
    )
    assert native is not None
    assert native.own == (own,)
    found = read_asked(native, {"prompt": "", "max_completion_tokens": 1})
    assert isinstance(found, Asked)
    assert found.limit is None


def test_whole_floats_are_whole_numbers() -> None:
    assert asked("openai.chat", {"max_tokens": 10.0}).limit == 10


@pytest.mark.parametrize(
    ("dialect", "provider", "body", "own"),
    [
        ("openai.chat", "openai", {}, ("max_completion_tokens",)),
        ("openai.chat", "azure", {}, ("max_completion_tokens",)),
        ("openai.chat", "mistral", {}, ("max_tokens",)),
        ("openai.chat", "vllm", {}, ("max_tokens",)),
        ("openai.responses", "openai", {}, ("max_output_tokens",)),
        ("anthropic.messages", "anthropic", {}, ("max_tokens",)),
        ("gemini.generate", "gemini", {}, ("generationConfig", "maxOutputTokens")),
        (
            "gemini.generate",
            "gemini",
            {"generation_config": {}},
            ("generation_config", "maxOutputTokens"),
        ),
        ("bedrock.converse", "bedrock", {}, ("inferenceConfig", "maxTokens")),
        ("ollama.chat", "ollama", {}, ("options", "num_predict")),
    ],
)
def test_a_limit_is_put_where_the_provider_reads_it(
    dialect: str, provider: str, body: Any, own: tuple[str, ...]
) -> None:
    assert asked(dialect, body, provider).own == own


def test_what_wraps_a_request_is_told_with_the_place() -> None:
    found = asked("gemini.generate", {}, prefix=("request",))
    assert found.own == ("request", "generationConfig", "maxOutputTokens")


def test_each_prompt_of_a_list_has_its_answers() -> None:
    found = read_asked(how("openai.completions"), {"n": 2}, prompts=3)
    assert isinstance(found, Asked)
    assert found.choices == 6


def test_nobody_has_more_answers_than_anybody_gives() -> None:
    assert refused("openai.chat", {"n": MAX_CHOICES + 1}).details["param"] == "n"
    assert refused("openai.chat", {"n": 0}).details["param"] == "n"


def test_pictures_are_counted() -> None:
    found = read_asked(PICTURES, {"n": 4, "max_tokens": "many"})
    assert isinstance(found, Asked)
    assert found.choices == 4


def test_a_dialect_that_nobody_knows_has_no_spelling() -> None:
    assert spelling("", "openai", {}) is None


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["max_tokens", "n", "generationConfig", "maxOutputTokens", "options"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    body=ANY_JSON,
    dialect=st.sampled_from(["openai.chat", "gemini.generate", "ollama.chat", "bedrock.invoke"]),
)
def test_any_body_is_read_or_refused(body: Json, dialect: str) -> None:
    found = read_asked(how(dialect), body)
    if isinstance(found, Asked):
        assert found.choices >= 1
        assert found.limit is None or 1 <= found.limit < 2**53
