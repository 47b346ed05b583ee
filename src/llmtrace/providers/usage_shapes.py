"""Where the usage objects of all providers say what. ``usage`` reads by this table."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

USES: Final = "llmtrace_uses"
"""Under this key stands what an answer shows of tools and pictures, by the names of
``rates.TOOLS``: what no usage object tells, and the dialects count themselves."""

BATCH: Final = "llmtrace_batch"
"""Under this key stands what a batch has used, as ``batch_parts`` has it."""

PICTURES: Final = "pictures"
"""The name there of pictures that an answer is all about, and tells no tokens of."""


@dataclass(frozen=True, slots=True)
class Item:
    """A step into a list: to its first object whose ``key`` has this value."""

    key: str
    value: str


type Place = tuple[str | Item, ...]


def _at(*places: str) -> tuple[Place, ...]:
    return tuple(tuple(place.split(".")) for place in places)


def _modality(*lists: str, kind: str = "AUDIO") -> tuple[Place, ...]:
    return tuple((name, Item("modality", kind), "tokenCount") for name in lists)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Where a usage object says what.

    ``input`` and ``output`` are added up; of the other classes the first place that is there
    counts.
    """

    input: tuple[Place, ...]
    output: tuple[Place, ...]
    cache_read: tuple[Place, ...] = ()
    cache_write: tuple[Place, ...] = ()
    cache_write_5m: tuple[Place, ...] = ()
    cache_write_1h: tuple[Place, ...] = ()
    input_audio: tuple[Place, ...] = ()
    cache_audio_read: tuple[Place, ...] = ()
    output_audio: tuple[Place, ...] = ()
    reasoning: tuple[Place, ...] = ()
    web_searches: tuple[Place, ...] = ()
    input_image: tuple[Place, ...] = ()
    cache_image_read: tuple[Place, ...] = ()
    output_image: tuple[Place, ...] = ()
    audio_seconds: tuple[Place, ...] = ()
    web_fetches: tuple[Place, ...] = ()
    file_searches: tuple[Place, ...] = ()
    code_executions: tuple[Place, ...] = ()
    x_searches: tuple[Place, ...] = ()
    generated_images: tuple[Place, ...] = ()
    total: tuple[Place, ...] = ()
    cache_is_extra: bool = False
    """Whether cached and written tokens are missing from ``input``."""
    reasoning_may_be_extra: bool = False
    """Whether some providers leave reasoning out of ``output``; ``total`` then tells."""
    marks: tuple[Place, ...] = ()
    """Where given, the object has this shape only if one of these is there."""
    classes: tuple[tuple[str, frozenset[object], tuple[Place, ...]], ...] = field(
        init=False, repr=False
    )
    """What is counted beside ``input`` and ``output``, below which keys, and where."""

    def __post_init__(self) -> None:
        classes = tuple(
            (name, frozenset(place[0] for place in places), places)
            for name in CLASSES
            if (places := getattr(self, name))
        )
        object.__setattr__(self, "classes", classes)


CLASSES: Final = (
    "cache_read",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "cache_audio_read",
    "output_audio",
    "reasoning",
    "web_searches",
    "input_image",
    "cache_image_read",
    "output_image",
    "web_fetches",
    "file_searches",
    "code_executions",
    "x_searches",
    "generated_images",
)


_CHAT: Final = Shape(
    input=_at("prompt_tokens"),
    output=_at("completion_tokens"),
    cache_read=_at(
        "prompt_tokens_details.cached_tokens",
        "prompt_cache_hit_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
        "cached_prompt_text_tokens",
    ),
    cache_write=_at("prompt_tokens_details.cache_write_tokens"),
    input_audio=_at("prompt_tokens_details.audio_tokens"),
    output_audio=_at("completion_tokens_details.audio_tokens"),
    reasoning=_at("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
    web_searches=_at(
        "num_search_queries",
        "server_side_tool_usage_details.web_search_calls",
        "connectors.web_search",
    ),
    x_searches=_at("server_side_tool_usage_details.x_search_calls"),
    code_executions=_at(
        "server_side_tool_usage_details.code_interpreter_calls", "connectors.code_interpreter"
    ),
    file_searches=_at("server_side_tool_usage_details.file_search_calls"),
    generated_images=_at("connectors.image_generation"),
    input_image=_at("prompt_tokens_details.image_tokens"),
    output_image=_at("completion_tokens_details.image_tokens"),
    audio_seconds=_at("prompt_audio_seconds"),
    total=_at("total_tokens"),
    reasoning_may_be_extra=True,
)
_RESPONSES: Final = Shape(
    input=_at("input_tokens"),
    output=_at("output_tokens"),
    cache_read=_at(
        "input_tokens_details.cached_tokens", "input_tokens_details.cache_read_input_tokens"
    ),
    cache_write=_at("input_tokens_details.cache_write_tokens"),
    input_audio=_at("input_tokens_details.audio_tokens"),
    output_audio=_at("output_tokens_details.audio_tokens"),
    reasoning=_at("output_tokens_details.reasoning_tokens"),
    input_image=_at("input_tokens_details.image_tokens"),
    output_image=_at("output_tokens_details.image_tokens"),
    web_searches=_at(
        "tool_usage.web_search.num_requests", "server_side_tool_usage_details.web_search_calls"
    ),
    x_searches=_at("server_side_tool_usage_details.x_search_calls"),
    code_executions=_at("server_side_tool_usage_details.code_interpreter_calls"),
    file_searches=_at("server_side_tool_usage_details.file_search_calls"),
)
_REALTIME: Final = Shape(
    input=_at("input_tokens"),
    output=_at("output_tokens"),
    cache_read=_at("input_token_details.cached_tokens"),
    cache_audio_read=_at("input_token_details.cached_tokens_details.audio_tokens"),
    input_audio=_at("input_token_details.audio_tokens"),
    output_audio=_at("output_token_details.audio_tokens"),
    input_image=_at("input_token_details.image_tokens"),
    cache_image_read=_at("input_token_details.cached_tokens_details.image_tokens"),
    marks=_at("input_token_details", "output_token_details"),
)
_ANTHROPIC: Final = Shape(
    input=_at("input_tokens"),
    output=_at("output_tokens"),
    cache_read=_at("cache_read_input_tokens"),
    cache_write=_at("cache_creation_input_tokens"),
    cache_write_5m=_at("cache_creation.ephemeral_5m_input_tokens"),
    cache_write_1h=_at("cache_creation.ephemeral_1h_input_tokens"),
    reasoning=_at("output_tokens_details.thinking_tokens"),
    web_searches=_at("server_tool_use.web_search_requests"),
    web_fetches=_at("server_tool_use.web_fetch_requests"),
    code_executions=_at("server_tool_use.code_execution_requests"),
    cache_is_extra=True,
)
_ANTHROPIC_FOR_SURE: Final = replace(
    _ANTHROPIC, marks=_at("cache_read_input_tokens", "cache_creation_input_tokens")
)
_GEMINI: Final = Shape(
    input=_at("promptTokenCount", "toolUsePromptTokenCount"),
    output=_at("candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount"),
    cache_read=_at("cachedContentTokenCount"),
    input_audio=_modality("promptTokensDetails"),
    cache_audio_read=_modality("cacheTokensDetails"),
    output_audio=_modality("candidatesTokensDetails", "responseTokensDetails"),
    input_image=_modality("promptTokensDetails", kind="IMAGE"),
    cache_image_read=_modality("cacheTokensDetails", kind="IMAGE"),
    output_image=_modality("candidatesTokensDetails", "responseTokensDetails", kind="IMAGE"),
    reasoning=_at("thoughtsTokenCount"),
)
_CONVERSE: Final = Shape(
    input=_at("inputTokens"),
    output=_at("outputTokens"),
    cache_read=_at("cacheReadInputTokens", "cacheReadInputTokenCount"),
    cache_write=_at("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    cache_write_5m=(("cacheDetails", Item("ttl", "5m"), "inputTokens"),),
    cache_write_1h=(("cacheDetails", Item("ttl", "1h"), "inputTokens"),),
    cache_is_extra=True,
)
_BEDROCK_METRICS: Final = replace(
    _CONVERSE, input=_at("inputTokenCount"), output=_at("outputTokenCount")
)
_OLLAMA: Final = Shape(input=_at("prompt_eval_count"), output=_at("eval_count"))
_LLAMA: Final = Shape(input=_at("prompt_token_count"), output=_at("generation_token_count"))
_TITAN: Final = Shape(input=_at("inputTextTokenCount"), output=_at("totalOutputTextTokenCount"))
_COHERE_BILLED: Final = Shape(
    input=_at("billed_units.input_tokens"),
    output=_at("billed_units.output_tokens"),
    cache_read=_at("cached_tokens"),
)
_COHERE: Final = replace(
    _COHERE_BILLED, input=_at("tokens.input_tokens"), output=_at("tokens.output_tokens")
)
_DURATION: Final = Shape(input=(), output=(), audio_seconds=_at("seconds"), marks=_at("seconds"))
_REPORTED: Final = Shape(input=(), output=(), marks=_at("cost_in_usd_ticks"))
_PICTURES: Final = Shape(
    input=(),
    output=(),
    generated_images=_at(f"{USES}.{PICTURES}"),
    marks=_at(f"{USES}.{PICTURES}"),
)

ANY: Final = (
    _CHAT,
    _REALTIME,
    _ANTHROPIC_FOR_SURE,
    _RESPONSES,
    _GEMINI,
    _CONVERSE,
    _BEDROCK_METRICS,
    _OLLAMA,
    _COHERE_BILLED,
    _COHERE,
    _LLAMA,
    _TITAN,
    _DURATION,
    _REPORTED,
    _PICTURES,
)
"""What is tried, in this order, where the dialect's own shape does not fit."""

SHAPES: Final[Mapping[str, tuple[Shape, ...]]] = {
    "openai.responses": (_RESPONSES,),
    "openai.realtime": (_REALTIME,),
    "anthropic.messages": (_ANTHROPIC,),
    "gemini.generate": (_GEMINI,),
    "bedrock.converse": (_CONVERSE,),
    "ollama.chat": (_OLLAMA,),
    "ollama.generate": (_OLLAMA,),
    "cohere.chat": (_COHERE_BILLED, _COHERE),
}
"""The shapes of a dialect, where they are not found by trying."""
