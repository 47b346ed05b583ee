"""Whether a call writes a cache: a write costs more than what is only read."""

from collections.abc import Iterator
from typing import Final

from llmtrace.domain.values import dataclass
from llmtrace.providers.base import Json
from llmtrace.providers.reading import as_dict

_SHORT: Final = "5m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """Whether a cache is written, and whether for longer than five minutes."""

    any: bool = False
    long: bool = False


def cache_writes(body: Json) -> Writes:
    """Return what the marks in a body of Anthropic's or Bedrock's ask for."""
    any_mark = long = False
    for block in _blocks(as_dict(body)):
        mark = block.get("cache_control") or block.get("cachePoint")
        if mark:
            any_mark = True
            long = long or as_dict(mark).get("ttl") not in (None, _SHORT)
    return Writes(any=any_mark, long=long)


def _blocks(body: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """Go through all that can be marked: body, system, tools, messages, blocks, their blocks."""
    yield body
    yield from _objects(body.get("system"))
    yield from _objects(body.get("tools"))
    yield from _objects(as_dict(body.get("toolConfig")).get("tools"))
    for message in _objects(body.get("messages")):
        for block in _objects(message.get("content")):
            yield block
            inner = block.get("content")
            if isinstance(inner, list):
                yield from _objects(inner)


def _objects(items: Json) -> list[dict[str, Json]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
