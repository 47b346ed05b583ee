"""Changes texts within a frame, and drops from it what would betray or contradict them."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

from llmtrace.domain.parts import Path
from llmtrace.pipeline.streaming.entries import Change
from llmtrace.providers.answering import compact
from llmtrace.providers.base import Json
from llmtrace.providers.editing import EditFailed, edit
from llmtrace.providers.leaves import is_plain_key
from llmtrace.providers.reading import as_dict

TELLTALES: Final[Mapping[str, Json]] = {
    "logprobs": None,
    "top_logprobs": None,
    "token_ids": None,
    "logprobsResult": None,
    "avgLogprobs": None,
}
"""Members that say a text again, token by token: what stands there beside a changed text."""
OFFSETS: Final[Mapping[str, Json]] = {
    "annotations": [],
    "groundingSupports": [],
    "citations": [],
}
"""Members that count characters of a text: what stands there once it is another."""
_COUNTS: Final = frozenset({"start_index", "startIndex", "start", "segment"})
_ARGUMENTS: Final = frozenset({"arguments", "input", "args", "action", "operation"})
"""Members that hold what a tool is called with: nothing in there is about the answer's texts."""
_MAX_DEPTH: Final = 64


def changed(data: bytes, changes: Sequence[Change], *, dialect: str) -> bytes:
    """Return a frame's document with these changes.

    Raises:
        EditFailed: A text does not stand where it should, or cannot be changed there.
    """
    if dialect != "bedrock.invoke":
        return _changed(data, changes)
    inner = _inner(data)
    if inner is None:
        return _changed(data, changes)
    document: Json = orjson.loads(inner)
    here = [change for change in changes if _said_at(document, change)]
    beside = [change for change in changes if not _said_at(document, change)]
    packed = base64.b64encode(_changed(inner, here)).decode() if here else None
    outer = _changed(data, beside) if beside else data
    return edit(outer, {("bytes",): packed}) if packed is not None else outer


def without_offsets(data: bytes) -> bytes:
    """Return a frame's document without what counts characters of a text that is another now."""
    document: Json = orjson.loads(data)
    return edit(data, dict(_scrubbed(document, (), OFFSETS)))


def _changed(data: bytes, changes: Sequence[Change]) -> bytes:
    document: Json = orjson.loads(data)
    edits: dict[Path, Json] = {}
    expected: dict[Path, str] = {}
    for change in changes:
        if change.path in edits:
            raise EditFailed("two texts stand here", change.path)
        value = _at(document, change.path)
        if isinstance(value, str) and not _is_key(change):
            edits[change.path] = change.after
            expected[change.path] = change.before
        elif not isinstance(value, str) and compact(value) == change.before:
            edits[change.path] = _parsed(change.after)
        else:
            raise EditFailed("what stands here is not what was read", change.path)
    for path, value in _scrubbed(document, (), {**TELLTALES, **OFFSETS}):
        if not any(known[: len(path)] == path for known in edits):
            edits[path] = value
    return edit(data, edits, expected=expected)


def _is_key(change: Change) -> bool:
    """Whether the text is the name of a member, which cannot be changed."""
    return (
        bool(change.path) and change.path[-1] == change.before and not is_plain_key(change.before)
    )


def _parsed(arguments: str) -> Json:
    """Return a tool's arguments as they stand where a document is expected."""
    try:
        value: Json = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
    return value


def _at(document: Json, path: Path) -> Json:
    for step in path:
        try:
            document = document[step]  # type: ignore[index]  # if not, no such place
        except (LookupError, TypeError):
            raise EditFailed("there is no such place", path) from None
    return document


def _said_at(document: Json, change: Change) -> bool:
    try:
        value = _at(document, change.path)
    except EditFailed:
        return False
    return value == change.before if isinstance(value, str) else compact(value) == change.before


def _scrubbed(document: Json, path: Path, table: Mapping[str, Json]) -> Iterator[tuple[Path, Json]]:
    """Yield the places of what is to go, and what is to stand there."""
    if len(path) > _MAX_DEPTH:
        return
    if isinstance(document, dict):
        for key, value in document.items():
            if key in _ARGUMENTS:
                continue
            if key not in table:
                yield from _scrubbed(value, (*path, key), table)
            elif value and (key not in OFFSETS or _counts(value)):
                empty: Json = [] if isinstance(value, list) else table[key]
                yield (*path, key), empty
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _scrubbed(value, (*path, index), table)


def _counts(value: Json) -> bool:
    """Whether a list has elements that count characters."""
    return isinstance(value, list) and any(as_dict(item).keys() & _COUNTS for item in value)


def _inner(data: bytes) -> bytes | None:
    """Return the event that stands in base64 in a frame of Bedrock's Invoke."""
    packed = as_dict(orjson.loads(data)).get("bytes")
    try:
        return base64.b64decode(packed, validate=True) if isinstance(packed, str) else None
    except (binascii.Error, ValueError):
        return None
