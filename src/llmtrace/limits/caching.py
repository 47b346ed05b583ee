"""Whether a call writes a cache: a write costs more than what is only read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llmtrace.providers.base import Json
from llmtrace.providers.reading import as_dict, as_list

_MARKS: Final = ("cache_control", "cachePoint")
_BLOCKS: Final = ("system", "tools", "messages", "content")
"""Members that hold what can be marked, at any of the levels below."""
_LEVELS: Final = 4
"""Body, message, block, block of a tool's result."""
_SHORT: Final = "5m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """Whether a cache is written, and whether for longer than five minutes."""

    any: bool = False
    long: bool = False


def cache_writes(body: Json) -> Writes:
    """Return what the marks in a body of Anthropic's or Bedrock's ask for."""
    ttls = [as_dict(mark).get("ttl") for mark in _marks(body, _LEVELS)]
    return Writes(any=bool(ttls), long=any(ttl not in (None, _SHORT) for ttl in ttls))


def _marks(value: Json, levels: int) -> Iterator[Json]:
    fields = as_dict(value)
    for name in _MARKS:
        if fields.get(name) is not None:
            yield fields[name]
    if not levels:
        return
    for name in _BLOCKS:
        for item in as_list(fields.get(name)):
            yield from _marks(item, levels - 1)
    tools = as_dict(fields.get("toolConfig")).get("tools")
    for item in as_list(tools):
        yield from _marks(item, 0)
