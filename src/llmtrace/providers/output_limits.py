"""How many tokens an answer of a model can have at most, where a call does not say it.

Price lists don't have it. The table is from the providers' model pages; a model that is not in it
is better off with a limit of the operator's than with a guess.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_K: Final = 1024
_TABLE: Final[Sequence[tuple[str, int]]] = (
    # platform.openai.com/docs/models
    (r"gpt-3\.5-turbo-instruct", 4 * _K),
    (r"gpt-3\.5", 4 * _K),
    (r"gpt-4-32k", 8 * _K),
    (r"gpt-4-(?:turbo|1106|0125|vision)", 4 * _K),
    (r"gpt-4o-2024-05-13", 4 * _K),
    (r"(?:gpt-4o|chatgpt-4o|gpt-4\.5)", 16 * _K),
    (r"gpt-4\.1", 32 * _K),
    (r"gpt-4(?:-0613|-0314)?$", 8 * _K),
    (r"gpt-(?:audio|realtime)", 16 * _K),
    (r"o1-mini", 64 * _K),
    (r"o1-preview", 32 * _K),
    (r"(?:o[134](?:-|$)|codex-mini)", 100_000),
    (r"gpt-5(?:\.\d)?-chat", 16 * _K),
    (r"gpt-5-pro", 272_000),
    (r"gpt-5", 128_000),
    (r"(?:babbage|davinci|ada|curie)", 16 * _K),
    # docs.anthropic.com/en/docs/about-claude/models
    (r"claude-(?:v1|2|instant|3-(?:opus|sonnet|haiku))", 4 * _K),
    (r"claude-3-5", 8 * _K),
    (r"claude-3-7", 128_000),  # with its beta header; 64,000 without
    (r"claude-opus-4-(?:0|1|2025)", 32_000),
    (r"claude-(?:sonnet|haiku|opus)-4-[0-5](?!\d)", 64_000),
    (r"claude-", 128_000),
    # ai.google.dev/gemini-api/docs/models; Vertex takes one less than 65,536
    (r"gemini-(?:1|2\.0|flash-1|pro-1|pro$)", 8 * _K),
    (r"gemini-(?:2\.5|3)[^/]*-(?:image|tts)", 32 * _K),
    (r"gemini-", 64 * _K - 1),
    # api-docs.deepseek.com
    (r"deepseek-(?:chat|v3)", 8 * _K),
    (r"deepseek-reasoner", 64 * _K),
    # docs.aws.amazon.com/bedrock, model parameters
    (r"nova-(?:micro|lite|pro)-v1", 10_000),
    (r"titan-text-premier", 3 * _K),
    (r"titan-text", 8 * _K),
    (r"llama-?3", 8 * _K),
    (r"command", 8 * _K),
)
"""The beginning of a model's name, after those of providers and regions, and its most tokens."""

_RULES: Final = [(re.compile(pattern), most) for pattern, most in _TABLE]
_BEFORE: Final = re.compile(
    r"^(?:(?:us|eu|apac|jp|au|ca|sa|global|us-gov)\.)?(?:[a-z0-9]+\.)?(?=[a-z])"
)
_MAX_NAME: Final = 512


def most_output(model: str) -> int | None:
    """Return how many tokens an answer can have at most, None where that is not known.

    ``model`` may have its provider, its region or its date with it.
    """
    return _most(model[:_MAX_NAME].lower())


@lru_cache(maxsize=4096)
def _most(model: str) -> int | None:
    name = model.rpartition("/")[2]
    bare = _BEFORE.sub("", name)
    for candidate in dict.fromkeys((name, bare)):
        for pattern, most in _RULES:
            if pattern.match(candidate):
                return most
    return None
