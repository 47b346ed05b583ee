"""How much a call asks for: the most tokens of its answer, in every dialect's spelling.

A number that is none is refused, since providers do not agree on what it means: to one of them
``"10"`` is ten, to the next an error, to a third no limit at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from llmtrace.domain.parts import location
from llmtrace.limits.refusals import Refused, bad_token_cap
from llmtrace.providers.base import Json

type Place = tuple[str, ...]
"""Where a member stands, by names."""

LARGEST: Final = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a dialect says how much is wanted.

    ``limits`` bound the tokens of one answer; of several that are given the largest counts, since
    providers do not agree which does. ``choices`` say how many answers there are. ``own`` is what
    is put where there is no limit.
    """

    limits: tuple[Place, ...]
    own: Place
    choices: tuple[Place, ...] = ()
    least: int = 1
    """The smallest limit that is one."""
    endless_below: int | None = None
    """Limits smaller than this are allowed too and mean none: Ollama's -1, -2 and 0."""


class Asked(NamedTuple):
    """What a call asks for. ``limit`` None: it sets none."""

    limit: int | None
    choices: int
    own: Place
    """Where a limit is to be put."""


def _places(*dotted: str) -> tuple[Place, ...]:
    return tuple(tuple(place.split(".")) for place in dotted)


_CHAT: Final = Spelling(
    limits=_places("max_completion_tokens", "max_tokens"),
    own=("max_tokens",),
    choices=_places("n"),
)
_NEW_CHAT: Final = Spelling(
    limits=_CHAT.limits, own=("max_completion_tokens",), choices=_CHAT.choices
)
_OLD_CHAT: Final = Spelling(
    limits=_places("max_tokens"), own=("max_tokens",), choices=_CHAT.choices
)
_MESSAGES: Final = Spelling(limits=_places("max_tokens"), own=("max_tokens",), least=0)
_CONVERSE: Final = Spelling(
    limits=_places(
        "inferenceConfig.maxTokens",
        "inferenceConfig.max_new_tokens",
        "additionalModelRequestFields.max_tokens",
        "additionalModelRequestFields.max_gen_len",
        "additionalModelRequestFields.maxTokens",
        "additionalModelRequestFields.inferenceConfig.max_new_tokens",
        "additionalModelRequestFields.inferenceConfig.maxTokens",
    ),
    own=("inferenceConfig", "maxTokens"),
)
_TITAN: Final = Spelling(
    limits=_places("textGenerationConfig.maxTokenCount"),
    own=("textGenerationConfig", "maxTokenCount"),
)
_LLAMA: Final = Spelling(limits=_places("max_gen_len"), own=("max_gen_len",))
_CLAUDE_2: Final = Spelling(limits=_places("max_tokens_to_sample"), own=("max_tokens_to_sample",))
_NATIVE: Final = Spelling(
    limits=_places("max_tokens", "maxTokens"),
    own=("max_tokens",),
    choices=_places("num_generations", "numResults", "n"),
)
PICTURES: Final = Spelling(limits=(), own=(), choices=_places("n"))
"""Of calls for pictures, whatever their dialect."""
_OLLAMA: Final = Spelling(
    limits=_places("options.num_predict"),
    own=("options", "num_predict"),
    endless_below=1,
)
_GEMINI_LIMITS: Final = _places(
    *(
        f"{config}.{limit}"
        for config in ("generationConfig", "generation_config")
        for limit in ("maxOutputTokens", "max_output_tokens")
    )
)
_GEMINI_CHOICES: Final = _places(
    *(
        f"{config}.{count}"
        for config in ("generationConfig", "generation_config")
        for count in ("candidateCount", "candidate_count")
    )
)
_GEMINI: Final = Spelling(
    limits=_GEMINI_LIMITS, own=("generationConfig", "maxOutputTokens"), choices=_GEMINI_CHOICES
)
_GEMINI_SNAKE: Final = Spelling(
    limits=_GEMINI_LIMITS, own=("generation_config", "maxOutputTokens"), choices=_GEMINI_CHOICES
)
_SPELLINGS: Final[Mapping[str, Spelling]] = {
    "openai.chat": _CHAT,
    "openai.completions": Spelling(
        limits=_places("max_tokens"),
        own=("max_tokens",),
        choices=_places("n", "best_of"),
        least=0,
    ),
    "openai.responses": Spelling(limits=_places("max_output_tokens"), own=("max_output_tokens",)),
    "anthropic.messages": _MESSAGES,
    "gemini.generate": _GEMINI,
    "bedrock.converse": _CONVERSE,
    "ollama.chat": _OLLAMA,
    "ollama.generate": _OLLAMA,
    "cohere.chat": _MESSAGES,
}
"""By dialect. Sources: the request types of the official SDKs."""

_NEW: Final = frozenset({"openai", "azure", "copilot", "groq", "xai", "cerebras"})
"""Providers of chats whose own word is ``max_completion_tokens``; of OpenAI's reasoning models it
is the only one, and with both a call is refused."""
_OLD: Final = frozenset({"deepseek", "mistral", "perplexity", "ollama", "tgi"})
"""Providers of chats that know only ``max_tokens``, and ignore or refuse the other."""

MAX_CHOICES: Final = 2**20


def spelling(
    dialect: str, provider: str, body: Mapping[str, Json], model: str = ""
) -> Spelling | None:
    """Return how a call says how much it wants, None where nobody knows."""
    if dialect == "openai.chat":
        return _NEW_CHAT if provider in _NEW else _OLD_CHAT if provider in _OLD else _CHAT
    if dialect == "bedrock.invoke":
        return _native(body, model.lower())
    if dialect == "gemini.generate" and "generation_config" in body:
        return _GEMINI_SNAKE
    return _SPELLINGS.get(dialect)


_NATIVE_OF: Final[Mapping[str, Spelling]] = {
    "llama": _LLAMA,
    "titan": _TITAN,
    "nova": _CONVERSE,
    "mistral": _OLD_CHAT,
    "mixtral": _OLD_CHAT,
}
"""Formats of models at Bedrock, by what is in their names; each ignores the others' words."""


def _native(body: Mapping[str, Json], model: str) -> Spelling:
    """Return the spelling of a model's own format at Bedrock, told by its name or its shape."""
    for name, native in _NATIVE_OF.items():
        if name in model:
            return native
    if "anthropic_version" in body:
        return _MESSAGES
    if "schemaVersion" in body or "inferenceConfig" in body:
        return _CONVERSE
    if "inputText" in body:
        return _TITAN
    if "messages" in body:
        return _CHAT
    for one in (_LLAMA, _CLAUDE_2):
        if one.own[0] in body:
            return one
    return _NATIVE


def read_asked(
    how: Spelling, body: Json, prefix: Place = (), *, prompts: int = 1
) -> Asked | Refused:
    """Read what a call asks for; what cannot be a number of tokens is refused.

    An explicit ``null`` is as good as nothing.

    Args:
        how: How its dialect says it.
        body: The object that says it.
        prefix: Where that object stands in the body.
        prompts: How many prompts it has; each has its choices.
    """
    if (blocked := _in_the_way(how.own, body)) is not None:
        place, value = blocked
        return bad_token_cap(location(prefix + place), _shown(value), expected="an object")
    limits: list[int] = []
    endless = False
    for place, value in _given(how.limits, body):
        limit = _count(value)
        if limit is not None and how.endless_below is not None and limit < how.endless_below:
            endless = True
        elif limit is None or limit < how.least:
            return bad_token_cap(
                location(prefix + place),
                _shown(value),
                expected=f"a whole number from {how.least} to 2^53 - 1",
            )
        else:
            limits.append(limit)
    choices = 1
    for place, value in _given(how.choices, body):
        count = _count(value)
        if count is None or not 1 <= count <= MAX_CHOICES:
            return bad_token_cap(
                location(prefix + place),
                _shown(value),
                expected=f"a whole number from 1 to {MAX_CHOICES}",
            )
        choices = max(choices, count)
    return Asked(
        limit=None if endless or not limits else max(limits),
        choices=choices * prompts,
        own=prefix + how.own,
    )


def _in_the_way(place: Place, body: Json) -> tuple[Place, Json] | None:
    """Return what stands where an object is to hold a limit, None where nothing is in the way."""
    for depth, step in enumerate(place[:-1], 1):
        body = body.get(step) if isinstance(body, dict) else None
        if body is not None and not isinstance(body, dict):
            return place[:depth], body
    return None


def _given(places: Sequence[Place], body: Json) -> Iterator[tuple[Place, Json]]:
    for place in places:
        value = body
        for step in place:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            yield place, value


def _count(value: Json) -> int | None:
    """Return a whole number, None where it is none. 10.0 is 10: so it reads for everybody."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) <= LARGEST else None


def _shown(value: Json) -> str:
    """Say what stands there, without quoting what could be anything."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) <= LARGEST else "a number beyond 2^53"
    return {"str": "a text", "list": "a list", "dict": "an object"}[type(value).__name__]
