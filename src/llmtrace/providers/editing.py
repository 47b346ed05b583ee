"""Changes single values of a JSON document, and leaves every other byte as it is.

A document that is parsed and written anew is another document: key order, spacing, numbers past
64 bits and unknown fields may differ, a signature or a prompt cache is lost. Here one pass over
the bytes finds the values that are to change; what stands around them is copied.
"""

import json
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from llmtrace.domain.parts import Path, location
from llmtrace.providers.base import Json

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]++")
_TO_BRACKET: Final = re.compile(
    rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL
)
"""All up to the next bracket that is in no string: a thousand messages in one call."""
_COLON: Final = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")
_LONGEST_SHOWN: Final = 200

_OPEN: Final = b"[{"
_CLOSE: Final = b"]}"


class EditFailed(ValueError):
    """A document cannot be changed as asked. ``where`` says at which place; no text is told."""

    def __init__(self, reason: str, path: Path = ()) -> None:
        self.where = location(path)[:_LONGEST_SHOWN]
        super().__init__(f"{self.where}: {reason}" if self.where else reason)


@dataclass(slots=True)
class _Node:
    """What is to be done at a place, and below it."""

    path: Path
    below: "dict[str | int, _Node]" = field(default_factory=dict)
    edited: bool = False


@dataclass(slots=True)
class _Frame:
    """A container that is being walked through."""

    node: _Node
    is_object: bool
    index: int = 0
    found: set[str | int] = field(default_factory=set)


def edit(
    document: bytes,
    edits: Mapping[Path, Json],
    *,
    expected: Mapping[Path, str] | None = None,
) -> bytes:
    """Return a document with other values at some places, and every other byte as it was.

    Args:
        document: JSON in UTF-8 that has passed the gate.
        edits: Place → the value that is to stand there. No place may be within another.
        expected: Place → the string that stands there now, for those that must be as read.

    Raises:
        EditFailed: A place is not there, stands twice, or holds something else than expected.
    """
    if not edits:
        return document
    expected = expected or {}
    pieces: list[bytes] = []
    copied = 0
    for path, start, end in sorted(_places(document, _tree(edits)), key=lambda place: place[1]):
        if path in expected and _decoded(document[start:end], path) != expected[path]:
            raise EditFailed("what stands here is not what was read", path)
        pieces += (document[copied:start], _encoded(edits[path], path))
        copied = end
    pieces.append(document[copied:])
    return b"".join(pieces)


def _tree(edits: Mapping[Path, Json]) -> _Node:
    root = _Node(())
    for path in edits:
        node = root
        for depth, step in enumerate(path, 1):
            node = node.below.setdefault(step, _Node(path[:depth]))
        node.edited = True
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.edited and node.below:
            raise EditFailed("a value is to change, and something within it too", node.path)
        waiting += node.below.values()
    return root


def _places(document: bytes, root: _Node) -> Iterator[tuple[Path, int, int]]:
    """Yield where the values of all edits stand. One pass, its own stack: any depth is read."""
    at = _space(document, 0)
    stack: list[_Frame] = []
    at = yield from _enter(document, at, root, stack)
    while stack:
        frame = stack[-1]
        at = _space(document, at)
        if document[at : at + 1] == (b"}" if frame.is_object else b"]"):
            _require_found(frame)
            stack.pop()
            at += 1
        elif not frame.is_object and len(frame.found) == len(frame.node.below):
            at = _past_close(document, at)
            stack.pop()
        else:
            at = yield from _member(document, at, frame, stack)
    if _space(document, at) != len(document):
        raise EditFailed("the document goes on after its end")


def _enter(
    document: bytes, at: int, node: _Node, stack: list[_Frame]
) -> Generator[tuple[Path, int, int], None, int]:
    """Read the value at ``at``: yield it if it is to change, go into it if something in it is.

    Returns where to read on.
    """
    if node.edited:
        end = _past(document, at)
        yield node.path, at, end
        return end
    opening = document[at : at + 1]
    if opening not in (b"{", b"["):
        raise EditFailed("there is nothing within what stands here", node.path)
    stack.append(_Frame(node, is_object=opening == b"{"))
    return at + 1


def _member(
    document: bytes, at: int, frame: _Frame, stack: list[_Frame]
) -> Generator[tuple[Path, int, int], None, int]:
    """Read one member or element of a container; return where to read on."""
    if document[at : at + 1] == b",":
        at = _space(document, at + 1)
    step: str | int = frame.index
    if frame.is_object:
        key = _STRING.match(document, at)
        colon = _COLON.match(document, key.end()) if key else None
        if key is None or colon is None:
            raise EditFailed("a member has no name", frame.node.path)
        step, at = orjson.loads(key[0]), colon.end()
    frame.index += 1
    below = frame.node.below.get(step)
    if below is None:
        return _past(document, at)
    if step in frame.found:
        raise EditFailed("this place is there twice", below.path)
    frame.found.add(step)
    return (yield from _enter(document, at, below, stack))


def _require_found(frame: _Frame) -> None:
    missing = next((n for step, n in frame.node.below.items() if step not in frame.found), None)
    if missing is not None:
        raise EditFailed("there is no such place", missing.path)


def _space(document: bytes, at: int) -> int:
    found = _SPACE.match(document, at)
    return found.end() if found else at


def _past(document: bytes, at: int) -> int:
    """Return where the value at ``at`` ends."""
    first = document[at : at + 1]
    if first in (b"{", b"["):
        return _past_close(document, at + 1)
    found = (_STRING if first == b'"' else _SCALAR).match(document, at)
    if found is None:
        raise EditFailed("a value cannot be read")
    return found.end()


def _past_close(document: bytes, at: int) -> int:
    """Return the place behind the bracket that closes the container that ``at`` is within."""
    depth = 1
    while depth:
        found = _TO_BRACKET.match(document, at)
        at = found.end() if found else at
        bracket = document[at : at + 1]
        if not bracket or bracket == b'"':
            raise EditFailed("the document ends within a value")
        depth += 1 if bracket in _OPEN else -1
        at += 1
    return at


def _decoded(token: bytes, path: Path) -> Json:
    try:
        value: Json = json.loads(token.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise EditFailed("what stands here is no JSON", path) from error
    return value


def _encoded(value: Json, path: Path) -> bytes:
    """Write a value in ASCII: any text can be written so, lone surrogates included."""
    try:
        return json.dumps(value, separators=(",", ":")).encode("ascii")
    except (ValueError, RecursionError) as error:
        raise EditFailed("the new value cannot be written", path) from error
