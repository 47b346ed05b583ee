"""Counts what an answer shows of the provider's own tools, where no usage object tells.

The names are those of ``rates.TOOLS``. What a failed use costs nobody says: it is counted where
the provider shows it as used.
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent, UsageSeen
from llmtrace.providers.base import Json
from llmtrace.providers.reading import as_dict, as_list, as_str
from llmtrace.providers.usage_shapes import PICTURES, USES

MAX_USES: Final = 10_000
"""Uses of one answer that are told apart."""

_ITEMS: Final[Mapping[str, str]] = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_execution",
    "image_generation_call": "image",
}
"""Items of a Responses output, and the tool that each one is a use of."""

_UNBILLED: Final = frozenset({"open_page", "find_in_page", "find"})
"""What a web search call may do besides searching. OpenAI bills searches."""


class ToolUses:
    """The uses of one answer. What has been counted under a key is not counted again."""

    def __init__(self) -> None:
        self._seen: set[object] = set()
        self._counts: dict[str, int] = {}

    def use(self, name: str, key: object = None) -> list[AnswerEvent]:
        """Count a use, and return the event that tells how many there are now."""
        key = (name, len(self._seen) if key is None else key)
        if key in self._seen or len(self._seen) >= MAX_USES:
            return []
        self._seen.add(key)
        self._counts[name] = self._counts.get(name, 0) + 1
        return [UsageSeen(raw={USES: dict(self._counts)})]

    def item(self, item: Json, place: int) -> list[AnswerEvent]:
        """Count an item of a Responses output that is done, by its place."""
        fields = as_dict(item)
        name = _ITEMS.get(as_str(fields.get("type")))
        action = as_str(as_dict(fields.get("action")).get("type"))
        if name is None or action in _UNBILLED:
            return []
        return self.use(name, place)

    def grounding(self, candidate: dict[str, Json]) -> list[AnswerEvent]:
        """Count what grounded a candidate of Gemini: each query once, maps once."""
        metadata = as_dict(candidate.get("groundingMetadata"))
        events: list[AnswerEvent] = []
        for key in ("webSearchQueries", "imageSearchQueries"):
            for query in as_list(metadata.get(key)):
                if isinstance(query, str) and query:
                    events += self.use("web_search", hash((key, query)))
        if any("maps" in as_dict(chunk) for chunk in as_list(metadata.get("groundingChunks"))):
            events += self.use("map_search", "once")
        return events


def pictures(fields: dict[str, Json]) -> list[AnswerEvent]:
    """Count the pictures of an answer that tells no usage, as OpenAI's Images API gives them."""
    if fields.get("usage") or "created" not in fields:
        return []
    data = (as_dict(item) for item in as_list(fields.get("data")))
    count = sum("b64_json" in item or "url" in item for item in data)
    return [UsageSeen(raw={USES: {PICTURES: count}})] if count else []
