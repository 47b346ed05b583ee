"""Reads the usage objects of all providers into one meaning (``domain.usage``).

Who counts what, and where it stands, is the table below. Sources: the types of the official
SDKs, and genai-prices 0.2, whose extractors the tests compare with. The traps: Anthropic and
Bedrock leave the cache out of their input counts; Gemini leaves thoughts out of the candidates;
xAI and Perplexity leave reasoning out of the completion.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from llmtrace.domain.usage import Usage

MAX_COUNT: Final = 1 << 40
"""No call has more tokens of a class; a larger count is a lie."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A step into a list: to its first object whose ``key`` has this value."""

    key: str
    value: str


type _Place = tuple[str | _Item, ...]
type _Report = Callable[[str], None]


def _at(*places: str) -> tuple[_Place, ...]:
    return tuple(tuple(place.split(".")) for place in places)


def _modality(*lists: str, kind: str = "AUDIO") -> tuple[_Place, ...]:
    return tuple((name, _Item("modality", kind), "tokenCount") for name in lists)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Where a usage object says what.

    ``input`` and ``output`` are added up; of the other classes the first place that is there
    counts.
    """

    input: tuple[_Place, ...]
    output: tuple[_Place, ...]
    cache_read: tuple[_Place, ...] = ()
    cache_write: tuple[_Place, ...] = ()
    cache_write_5m: tuple[_Place, ...] = ()
    cache_write_1h: tuple[_Place, ...] = ()
    input_audio: tuple[_Place, ...] = ()
    cache_audio_read: tuple[_Place, ...] = ()
    output_audio: tuple[_Place, ...] = ()
    reasoning: tuple[_Place, ...] = ()
    web_searches: tuple[_Place, ...] = ()
    total: tuple[_Place, ...] = ()
    cache_is_extra: bool = False
    """Whether cached and written tokens are missing from ``input``."""
    reasoning_may_be_extra: bool = False
    """Whether some providers leave reasoning out of ``output``; ``total`` then tells."""
    marks: tuple[_Place, ...] = ()
    """Where given, the object has this shape only if one of these is there."""


_CHAT: Final = _Shape(
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
    web_searches=_at("num_search_queries"),
    total=_at("total_tokens"),
    reasoning_may_be_extra=True,
)
_RESPONSES: Final = _Shape(
    input=_at("input_tokens"),
    output=_at("output_tokens"),
    cache_read=_at(
        "input_tokens_details.cached_tokens", "input_tokens_details.cache_read_input_tokens"
    ),
    cache_write=_at("input_tokens_details.cache_write_tokens"),
    input_audio=_at("input_tokens_details.audio_tokens"),
    output_audio=_at("output_tokens_details.audio_tokens"),
    reasoning=_at("output_tokens_details.reasoning_tokens"),
)
_REALTIME: Final = _Shape(
    input=_at("input_tokens"),
    output=_at("output_tokens"),
    cache_read=_at("input_token_details.cached_tokens"),
    cache_audio_read=_at("input_token_details.cached_tokens_details.audio_tokens"),
    input_audio=_at("input_token_details.audio_tokens"),
    output_audio=_at("output_token_details.audio_tokens"),
    marks=_at("input_token_details", "output_token_details"),
)
_ANTHROPIC: Final = _Shape(
    input=_at("input_tokens"),
    output=_at("output_tokens"),
    cache_read=_at("cache_read_input_tokens"),
    cache_write=_at("cache_creation_input_tokens"),
    cache_write_5m=_at("cache_creation.ephemeral_5m_input_tokens"),
    cache_write_1h=_at("cache_creation.ephemeral_1h_input_tokens"),
    reasoning=_at("output_tokens_details.thinking_tokens"),
    web_searches=_at("server_tool_use.web_search_requests"),
    cache_is_extra=True,
)
_ANTHROPIC_FOR_SURE: Final = replace(
    _ANTHROPIC, marks=_at("cache_read_input_tokens", "cache_creation_input_tokens")
)
_GEMINI: Final = _Shape(
    input=_at("promptTokenCount", "toolUsePromptTokenCount"),
    output=_at("candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount"),
    cache_read=_at("cachedContentTokenCount"),
    input_audio=_modality("promptTokensDetails"),
    cache_audio_read=_modality("cacheTokensDetails"),
    output_audio=_modality("candidatesTokensDetails", "responseTokensDetails"),
    reasoning=_at("thoughtsTokenCount"),
)
_CONVERSE: Final = _Shape(
    input=_at("inputTokens"),
    output=_at("outputTokens"),
    cache_read=_at("cacheReadInputTokens", "cacheReadInputTokenCount"),
    cache_write=_at("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    cache_write_5m=(("cacheDetails", _Item("ttl", "5m"), "inputTokens"),),
    cache_write_1h=(("cacheDetails", _Item("ttl", "1h"), "inputTokens"),),
    cache_is_extra=True,
)
_BEDROCK_METRICS: Final = replace(
    _CONVERSE, input=_at("inputTokenCount"), output=_at("outputTokenCount")
)
_OLLAMA: Final = _Shape(input=_at("prompt_eval_count"), output=_at("eval_count"))
_LLAMA: Final = _Shape(input=_at("prompt_token_count"), output=_at("generation_token_count"))
_TITAN: Final = _Shape(input=_at("inputTextTokenCount"), output=_at("totalOutputTextTokenCount"))
_COHERE_BILLED: Final = _Shape(
    input=_at("billed_units.input_tokens"),
    output=_at("billed_units.output_tokens"),
    cache_read=_at("cached_tokens"),
)
_COHERE: Final = replace(
    _COHERE_BILLED, input=_at("tokens.input_tokens"), output=_at("tokens.output_tokens")
)

_ANY: Final = (
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
)
"""What is tried, in this order, where the dialect's own shape does not fit."""

_SHAPES: Final[Mapping[str, tuple[_Shape, ...]]] = {
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

_REASONING_IS_EXTRA: Final = frozenset({"perplexity"})
_REASONING_IS_EXTRA_WITHOUT_TOTAL: Final = frozenset({"xai"})


def read_usage(
    provider: str,
    dialect: str,
    raw: Mapping[str, object] | None,
    model: str = "",
    *,
    on_invalid: Callable[[str], None] = lambda name: None,
) -> Usage | None:
    """Return what a provider's usage object says, None where it says nothing that can be.

    An explicit 0 is 0. A count that is no whole number within 0 and 2⁴⁰ is as good as
    missing: where it is the input's or the output's, nothing is returned; where it is a class
    within them, or the classes are more than their total, the class is left out. Each is
    reported to ``on_invalid`` by the name of its class.

    OpenAI's cache writes (30 minutes, 12 hours) have one price and count as the 5-minute class.
    """
    if not raw:
        return None
    for shape in _candidates(dialect, model):
        if _fits(shape, raw):
            return _read(shape, provider, raw, on_invalid)
    return None


def estimate_tokens(text: str) -> int:
    """Guess the tokens of a text: one for each 4 bytes of UTF-8, rounded up.

    That is about right for English and for scripts of 2 or 3 bytes a letter; code and numbers
    have up to 1.5 times as many.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // 4)


def _candidates(dialect: str, model: str) -> Iterator[_Shape]:
    if dialect == "bedrock.invoke" and "anthropic." in model:
        yield _ANTHROPIC
    yield from _SHAPES.get(dialect, ())
    yield from _ANY


def _fits(shape: _Shape, raw: Mapping[str, object]) -> bool:
    if shape.marks and all(_find(raw, place) is None for place in shape.marks):
        return False
    return any(_find(raw, place) is not None for place in (*shape.input, *shape.output))


def _find(raw: object, place: _Place) -> object:
    """Return what stands at a place, None where nothing does."""
    for step in place:
        if isinstance(step, _Item):
            raw = _item(raw, step)
        elif isinstance(raw, (dict, Mapping)):  # a dict is told without asking the abstract class
            raw = raw.get(step)
        else:
            return None
    return raw


def _item(items: object, step: _Item) -> object:
    if not isinstance(items, list):
        return None
    for item in items:
        if isinstance(item, Mapping) and item.get(step.key) == step.value:
            return item
    return None


def _count(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():  # Cohere writes 12.0
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return value
    return None


def _sum(raw: Mapping[str, object], places: tuple[_Place, ...]) -> int | None:
    """Return the sum over the places, None where one of them has no valid count."""
    total = 0
    for place in places:
        value = _find(raw, place)
        if value is not None:
            count = _count(value)
            if count is None:
                return None
            total += count
    return total


def _first(
    raw: Mapping[str, object], places: tuple[_Place, ...], name: str, report: _Report
) -> int | None:
    for place in places:
        value = _find(raw, place)
        if value is not None:
            if (count := _count(value)) is not None:
                return count
            report(name)
    return None


_CLASSES: Final = (
    "cache_read",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "cache_audio_read",
    "output_audio",
    "reasoning",
    "web_searches",
)


def _read(shape: _Shape, provider: str, raw: Mapping[str, object], report: _Report) -> Usage | None:
    read, written = _sum(raw, shape.input), _sum(raw, shape.output)
    if read is None or written is None:
        report("input" if read is None else "output")
        return None
    classes = {
        name: _first(raw, places, name, report)
        for name in _CLASSES
        if (places := getattr(shape, name))
    }
    cached, short, long = _cache(classes)
    if shape.cache_is_extra:
        read += cached + short + long
    reasoning = classes.get("reasoning") or 0
    if shape.reasoning_may_be_extra:
        total = _first(raw, shape.total, "total", report)
        if _is_extra(provider, total, read + written, reasoning):
            written += reasoning
    return _consistent(
        Usage(
            input_tokens=read,
            output_tokens=written,
            cache_read_tokens=cached,
            cache_write_5m_tokens=short,
            cache_write_1h_tokens=long,
            input_audio_tokens=classes.get("input_audio") or 0,
            cache_audio_read_tokens=classes.get("cache_audio_read") or 0,
            output_audio_tokens=classes.get("output_audio") or 0,
            reasoning_tokens=reasoning,
            web_searches=classes.get("web_searches") or 0,
        ),
        report,
    )


def _cache(classes: Mapping[str, int | None]) -> tuple[int, int, int]:
    """Return tokens read from the cache, written for 5 minutes, and written for an hour."""
    short, long = classes.get("cache_write_5m") or 0, classes.get("cache_write_1h") or 0
    total = classes.get("cache_write")
    if total is None:
        total = short + long
    long = min(long, total)
    return classes.get("cache_read") or 0, total - long, long


def _is_extra(provider: str, total: int | None, counted: int, reasoning: int) -> bool:
    """Whether reasoning is missing from the output count."""
    if provider in _REASONING_IS_EXTRA:
        return True
    if total is None:
        return provider in _REASONING_IS_EXTRA_WITHOUT_TOTAL
    return total == counted + reasoning


_WITHIN: Final = {
    "cache": (
        ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
        "input_tokens",
    ),
    "input_audio": (("input_audio_tokens",), "input_tokens"),
    "cache_audio_read": (("cache_audio_read_tokens",), "cache_read_tokens"),
    "cached_audio": (("cache_audio_read_tokens",), "input_audio_tokens"),
    "output": (("reasoning_tokens", "output_audio_tokens"), "output_tokens"),
}
"""Classes that together are no more than another."""
_PARTS: Final = tuple(dict.fromkeys(part for parts, _ in _WITHIN.values() for part in parts))


def _consistent(usage: Usage, report: _Report) -> Usage:
    if not any(getattr(usage, part) for part in _PARTS):
        return usage
    for name, (parts, whole) in _WITHIN.items():
        if sum(getattr(usage, part) for part in parts) > getattr(usage, whole):
            report(name)
            kept = {f.name: getattr(usage, f.name) for f in fields(usage) if f.name not in parts}
            usage = Usage(**kept)
    return usage
