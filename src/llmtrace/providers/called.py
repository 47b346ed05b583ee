"""The tool calls that stand in a request: what a conversation did, in whichever dialect."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from llmtrace.domain.parts import Path
from llmtrace.providers.base import Json
from llmtrace.providers.reading import as_str
from llmtrace.providers.responses_items import CALLS

MAX_CALLS: Final = 10_000
"""Calls of one request that are told."""
MAX_DEPTH: Final = 64

_BY_TYPE: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("tool_use", "server_tool_use", "mcp_tool_use"), ("", "input")),
    **CALLS,
}
"""Calls by their ``type``: the name where they have none, and their member with the arguments."""
_BY_MEMBER: Final[Mapping[str, str]] = {
    **dict.fromkeys(("function", "function_call"), "arguments"),
    "functionCall": "args",
    "toolUse": "input",
}
"""Members that are a call where the object in them has arguments, and which member that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A tool call. ``arguments`` is its JSON text; ``path`` leads to what they stand in."""

    name: str
    arguments: str
    path: Path


def tool_calls(body: Json) -> Iterator[Called]:
    """Yield the tool calls of a request's history, ``MAX_CALLS`` at most.

    Source: the request forms of the dialects in ``registry``; definitions of tools have no
    arguments, and are none.
    """
    for count, called in enumerate(_calls(body, ())):
        if count == MAX_CALLS:
            return
        yield called


def _calls(value: Json, path: Path) -> Iterator[Called]:
    if len(path) > MAX_DEPTH:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _calls(item, (*path, index))
    elif isinstance(value, dict):
        if (found := _typed(value, path)) is not None:
            yield found
            return
        for key, item in value.items():
            found = _member(key, item, (*path, key))
            if found is None:
                yield from _calls(item, (*path, key))
            else:
                yield found


def _typed(value: dict[str, Json], path: Path) -> Called | None:
    name, member = _BY_TYPE.get(as_str(value.get("type")), ("", ""))
    if not member:
        return None
    return _called(value.get("name") or name, value.get(member), (*path, member))


def _member(key: str, item: Json, path: Path) -> Called | None:
    member = _BY_MEMBER.get(key)
    if member is None or not isinstance(item, dict) or member not in item:
        return None
    return _called(item.get("name"), item[member], (*path, member))


def _called(name: Json, arguments: Json, path: Path) -> Called | None:
    if not isinstance(name, str) or arguments is None:
        return None
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return Called(name=name, arguments=text, path=path)
