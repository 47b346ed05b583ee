"""How many tokens a call sends: at most, and likely.

At most: every token of a byte-level tokenizer is a byte or more, and what a model is given around
texts (roles, separators, the forms of tools) is shorter than the JSON that stands for it. So the
bytes of the body bound its tokens; pictures, which are tokens by their size alone, count by
their providers' formulas instead. What stands elsewhere (stored conversations, files by their id)
counts as all that the model can take.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from llmtrace.domain.parts import Media, MediaKind, Role
from llmtrace.providers.base import Json, RequestView
from llmtrace.providers.media import CREDENTIAL, ENCRYPTED, NUMBERS
from llmtrace.providers.reading import as_dict, as_list, as_str
from llmtrace.providers.usage import estimate_tokens

AROUND: Final = 1024
"""Tokens that a provider adds to a call at most: the words that explain tools to the model."""
LIKELY_STORED: Final = 32_768
"""Tokens that a conversation which the provider keeps is held to have, where nobody knows."""
BUILT_IN_TOKENS: Final = 2_048
"""Tokens of a tool that a request only names, at most: its description is the provider's. At
Anthropic 735 of the largest, and 499 around them."""
HOSTED_TOKENS: Final = 32_768
"""Tokens that one use of a tool of the provider's own is held to add to a call."""
HOSTED_USES: Final = 8
"""How often such a tool is held to be used in a call that sets no most."""
BYTES_PER_SOUND_TOKEN: Final = 8
"""Sound has 32 tokens a second at most (Gemini), and 256 bytes at least."""

_IMAGE_MOST: Final[Mapping[str, int]] = {"anthropic": 5_000, "gemini": 6_192, "vertex": 6_192}
"""Tokens of a picture at most, by provider: 4,784 of the largest at Anthropic, 24 tiles of 258
at Google."""
_IMAGE_MOST_ELSE: Final = 50_000
"""gpt-4o-mini: 2,833 and 5,667 for each of 8 tiles."""
_IMAGE_LIKELY: Final = 1_600
_PDF_LIKELY: Final = 16
"""Bytes of a document for a token."""

_MEASURED_SOUND: Final = frozenset(
    {"audio/mp3", "audio/mpeg", "audio/wav", "audio/wave", "audio/x-wav", "audio/pcm", "audio/l16"}
)
"""Kinds of sound that have so many bytes whatever is heard; others make silence out of nothing."""
_COUNTED_FILES: Final = frozenset({CREDENTIAL, ENCRYPTED, NUMBERS})
"""Kinds of files that have no more tokens than bytes; pages and tables are packed."""
_OWN_TOOLS: Final = frozenset({"", "custom", "function"})
"""Types of tools that a request describes in full."""

_DATA: Final = frozenset({"url", "data", "bytes", "image_url", "images"})
"""Members that hold the data of media, or their lists."""
_FREE_FORM: Final = frozenset({"args", "arguments", "parameters", "response", "text"})
"""Members in which everything is text to the model."""

_STORED: Final[Mapping[str, tuple[str, ...]]] = {
    "openai.responses": ("previous_response_id", "conversation", "prompt"),
    "gemini.generate": ("cachedContent", "cached_content"),
    "bedrock.converse": ("promptVariables",),
}
"""Members that bring in what is kept at the provider's."""

_HOSTED: Final[Mapping[str, str]] = {
    "web_search": "web_search",
    "web_fetch": "web_fetch",
    "file_search": "file_search",
    "code_interpreter": "code_execution",
    "code_execution": "code_execution",
    "image_generation": "image",
    "x_search": "x_search",
    "collections_search": "file_search",
    "shell": "code_execution",
    "mcp": "",
    "mcp_toolset": "",
    "googleSearch": "web_search",
    "google_search": "web_search",
    "googleSearchRetrieval": "web_search",
    "google_search_retrieval": "web_search",
    "googleMaps": "map_search",
    "google_maps": "map_search",
    "urlContext": "web_fetch",
    "url_context": "web_fetch",
    "codeExecution": "code_execution",
}
"""Tools that run at the provider's, by the beginning of their type (Gemini's by their key), and
their names among ``rates.TOOLS``; empty where there is no fee."""
_HOSTED_TYPE: Final = re.compile("|".join(sorted(map(re.escape, _HOSTED), key=len, reverse=True)))
_SEARCHING: Final = ("web_search_options", "search_parameters", "plugins", "web_search")
"""Members of a chat that let it search."""
_OFFERS: Final = frozenset({"tools", "mcp_servers", *_SEARCHING})
"""Members without any of which a call offers no tool that runs at the provider's."""
_ALWAYS: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {"perplexity": (("web_search", 1),)}
"""Providers that search in every call, and how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """The provider's own tools that a call may use: names with a fee, and uses in all."""

    fees: frozenset[str] = frozenset()
    uses: int = 0


_NONE: Final = Hosted()


class Prompt(NamedTuple):
    """What a call sends, in tokens."""

    most: int
    likely: int


def measure(
    view: RequestView,
    body: Json,
    *,
    size: int,
    provider: str,
    dialect: str,
    window: int,
    hosted: Hosted,
    stored_tokens: int | None = None,
) -> Prompt:
    """Measure a call.

    Args:
        view: What it says.
        body: The same, parsed.
        size: Its bytes, decoded.
        provider: Who answers.
        dialect: In which format.
        window: Tokens that the model can be given at most.
        hosted: Tools that run at the provider's.
        stored_tokens: What is known of a conversation that the provider keeps.
    """
    fields = as_dict(body)
    most = size + AROUND
    likely = sum([estimate_tokens(part.text) for part in view.parts])
    if view.unread:
        likely += sum(unread.size for unread in view.unread) // 4
    if view.media:
        most += sum(_most(item, provider) for item in view.media)
        likely += sum(map(_likely, view.media))
    if tools := as_list(fields.get("tools")):
        most += BUILT_IN_TOKENS * sum(map(_is_built_in, tools))
    if dialect in _STORED and any(fields.get(key) for key in _STORED[dialect]):
        most += window if stored_tokens is None else stored_tokens
        likely += LIKELY_STORED if stored_tokens is None else stored_tokens
    if any(map(_is_boundless, view.media)):
        most = max(most, window)
    added = hosted.uses * HOSTED_TOKENS
    return Prompt(most=most + added, likely=likely + added // HOSTED_USES)


def hosted_tools(body: Json, provider: str) -> Hosted:
    """Return which tools of the provider's own a call may use."""
    fields = as_dict(body)
    if provider not in _ALWAYS and _OFFERS.isdisjoint(fields):
        return _NONE
    kinds: list[str] = []
    uses = 0
    for kind, most in (*_offered(fields), *_ALWAYS.get(provider, ())):
        kinds.append(kind)
        uses += most
    if not kinds:
        return _NONE
    given = _uses(fields.get("max_tool_calls"))
    if provider in ("gemini", "vertex"):
        uses = HOSTED_USES
    return Hosted(fees=frozenset(filter(None, kinds)), uses=uses if given is None else given)


def _offered(fields: Mapping[str, Json]) -> Iterator[tuple[str, int]]:
    for tool in as_list(fields.get("tools")):
        definition = as_dict(tool)
        for name in (as_str(definition.get("type")), *definition):
            fee = _fee(name)
            if fee is not None:
                most = _uses(definition.get("max_uses"))
                yield fee, HOSTED_USES if most is None else most
                break
    if any(fields.get(key) for key in _SEARCHING):
        yield "web_search", HOSTED_USES
    yield from (("", HOSTED_USES) for _ in as_list(fields.get("mcp_servers")))


def _is_built_in(tool: Json) -> bool:
    """Whether a request only names a tool, which is described to the model all the same."""
    return as_str(as_dict(tool).get("type")) not in _OWN_TOOLS


def _fee(name: str) -> str | None:
    found = _HOSTED_TYPE.match(name)
    return _HOSTED[found[0]] if found else None


def _uses(value: Json) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return min(value, 1000) if whole and isinstance(value, int) and value >= 0 else None


def _most(item: Media, provider: str) -> int:
    """Return the tokens of media at most, less the bytes that stand for it in the body."""
    if item.kind is MediaKind.IMAGE:
        return _IMAGE_MOST.get(provider, _IMAGE_MOST_ELSE) - _bytes_in_body(item)
    if item.kind is MediaKind.AUDIO and item.size is not None:
        return -(-item.size // BYTES_PER_SOUND_TOKEN) - _bytes_in_body(item)
    return 0


def _bytes_in_body(item: Media) -> int:
    """Return how many bytes of base64 stand for media at least, 0 where it may be read as text.

    A text that looks like a picture is a text all the same, and has a text's tokens.
    """
    if item.role is Role.TOOL_CALL or not _DATA.intersection(item.path[-2:]):
        return 0
    return 0 if _FREE_FORM.intersection(item.path) else (item.size or 0) * 4 // 3


def _is_boundless(item: Media) -> bool:
    """Whether the bytes of media do not bound its tokens: packed ones, or what is elsewhere."""
    if item.kind is MediaKind.IMAGE or item.mime in _COUNTED_FILES:
        return False
    return item.size is None or item.mime not in _MEASURED_SOUND


def _likely(item: Media) -> int:
    if item.kind is MediaKind.IMAGE:
        return _IMAGE_LIKELY
    if item.size is None:
        return LIKELY_STORED if item.kind is not MediaKind.FILE else 8_192
    if item.kind is MediaKind.FILE:
        return item.size // _PDF_LIKELY
    return item.size // 256
