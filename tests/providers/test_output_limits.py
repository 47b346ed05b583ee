"""How long answers can be."""

import pytest

from llmtrace.providers.output_limits import most_output


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4o-mini-2024-07-18", 16_384),
        ("gpt-4o-2024-05-13", 4_096),
        ("openai/gpt-4.1-mini", 32_768),
        ("gpt-4", 8_192),
        ("gpt-4-turbo-2024-04-09", 4_096),
        ("gpt-3.5-turbo", 4_096),
        ("o1", 100_000),
        ("o3-mini", 100_000),
        ("o1-mini", 65_536),
        ("gpt-5-chat-latest", 16_384),
        ("gpt-5.6-sol", 128_000),
        ("claude-3-haiku-20240307", 4_096),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-sonnet-4-5", 64_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 64_000),
        ("anthropic/claude-opus-5", 128_000),
        ("models/gemini-2.5-flash", 65_535),
        ("gemini-2.0-flash", 8_192),
        ("amazon.nova-pro-v1:0", 10_000),
        ("meta.llama3-1-8b-instruct-v1:0", 8_192),
        ("deepseek-chat", 8_192),
        ("my-own-model", None),
        ("", None),
        ("x" * 10_000, None),
    ],
)
def test_the_most_of_a_model_is_known_by_any_of_its_names(model: str, most: int | None) -> None:
    assert most_output(model) == most
