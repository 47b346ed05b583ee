"""Changes single values of a JSON document, and leaves every other byte as it is.

A document that is parsed and written anew is another document: key order, spacing, numbers past
64 bits and unknown fields may differ, a signature or a prompt cache is lost. Here one pass over
the bytes finds the values that are to change; what stands around them is copied.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from llmtrace.domain.parts import Path, location
from llmtrace.providers.base import Json

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_NUMBER: Final = re.compile(rb"-?[0-9][-+.0-9A-Za-z]*+")
_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]++")
_KEY: Final = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_TO_BRACKET: Final = re.compile(
    rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL
)
"""All up to the next bracket that is in no string: many messages in one call."""
WINDOW: Final = 1 << 18
"""Bytes of a string that are passed at a time: one match holds the interpreter to its end."""
_QUOTE, _COMMA = b'"'[0], b","[0]
_CLOSE_OF: Final = {b"["[0]: b"]"[0], b"{"[0]: b"}"[0]}
_CLOSES: Final = frozenset(_CLOSE_OF.values())
_LONGEST_SHOWN: Final = 200


class EditFailed(ValueError):
    """A document cannot be changed as asked. ``where`` says at which place; no text is told."""

    def __init__(self, reason: str, path: Path = ()) -> None:
        self.where = location(path)[:_LONGEST_SHOWN]
        super().__init__(f"{self.where}: {reason}" if self.where else reason)


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
        expected: Place → the string that stands there now, or the number as it is written, for
            those that must be as read. Where it is not the value but the name of the member, the
            name is changed instead; where it is both, both are.

    Raises:
        EditFailed: A place is not there, stands twice, or holds something else than expected.
    """
    if not edits:
        return document
    expected = expected or {}
    pieces: list[bytes] = []
    copied = 0
    for place in _Scan(document, _tree(edits)).places():
        new = _encoded(edits[place.path], place.path)
        for start, end in _meant(document, place, expected.get(place.path)):
            if (start, end) == place.name and new[0] != _QUOTE:
                raise EditFailed("the name of a member is a string", place.path)
            pieces += (document[copied:start], new)
            copied = end
    pieces.append(document[copied:])
    return b"".join(pieces)


def put_member(document: bytes, body: Json, path: tuple[str, ...], value: Json) -> bytes:
    """Return a document in which a member of an object has a value, whether it was there or not.

    Objects on the way are made where they are missing or ``null``; every other byte stays.

    Args:
        document: JSON in UTF-8 that has passed the gate.
        body: The same, parsed.
        path: The member's place, by names.
        value: What is to stand there.

    Raises:
        EditFailed: Something else than an object is on the way.
    """
    for depth, name in enumerate(path):
        if not isinstance(body, dict):
            raise EditFailed("what stands here is no object", path[:depth])
        if body.get(name) is None or depth == len(path) - 1:
            inner: Json = value
            for step in reversed(path[depth + 1 :]):
                inner = {step: inner}
            if name in body:
                return edit(document, {path[: depth + 1]: inner})
            return _append(document, path[:depth], name, inner, is_first=not body)
        body = body[name]
    raise EditFailed("a member has a name")


def _append(document: bytes, path: Path, name: str, value: Json, *, is_first: bool) -> bytes:
    """Add a member at the end of the object that stands at a path."""
    end = len(document.rstrip())
    if path:
        (place,) = _Scan(document, _tree({path: None})).places()
        end = place.value[1]
    member = _encoded(name, path) + b":" + _encoded(value, (*path, name))
    return document[: end - 1] + (b"" if is_first else b",") + member + document[end - 1 :]


class _Place(NamedTuple):
    """Where the value at a path stands, and the name of its member: bytes, half-open."""

    path: Path
    name: tuple[int, int] | None
    value: tuple[int, int]


def _meant(document: bytes, place: _Place, expected: str | None) -> Iterator[tuple[int, int]]:
    """Go through what is to be changed at a place: its value, unless its name is expected."""
    if expected is None:
        yield place.value
        return
    is_name = place.name is not None and place.path[-1] == expected
    start, end = place.value
    is_value = _leaf(document[start:end], place.path) == expected
    if place.name is not None and is_name:
        yield place.name
    if is_value:
        yield place.value
    if not is_name and not is_value:
        raise EditFailed("what stands here is not what was read", place.path)


@dataclass(slots=True)
class _Node:
    """A place that is to change, or in which something is."""

    path: Path
    below: "dict[str | int, _Node]" = field(default_factory=dict)
    changes: bool = False


def _tree(edits: Mapping[Path, Json]) -> _Node:
    root = _Node(())
    nodes = []
    for path in edits:
        node = root
        for depth, step in enumerate(path, 1):
            inner = node.below.get(step)
            if inner is None:
                inner = node.below[step] = _Node(path[:depth])
            node = inner
        node.changes = True
        nodes.append(node)
    for node in nodes:
        if node.below:
            raise EditFailed("a value is to change, and something within it too", node.path)
    return root


@dataclass(slots=True)
class _Open:
    """A container that is being walked through, and what was found in it."""

    node: _Node
    close: int
    index: int = 0
    found: set[str | int] = field(default_factory=set)

    @property
    def is_object(self) -> bool:
        return self.close == _CLOSE_OF[b"{"[0]]

    def require(self, there: Callable[[str | int], bool]) -> None:
        """Refuse a place that is not there."""
        for step, node in self.node.below.items():
            if not there(step):
                raise EditFailed("there is no such place", node.path)


class _Scan:
    """One pass over a document. It keeps its own stack: any depth is walked through.

    Objects on the way are walked to their ends, so that a key that stands twice is seen: readers
    do not agree which of the two counts.
    """

    def __init__(self, document: bytes, root: _Node) -> None:
        self._document = document
        self._root = root
        self._at = 0
        self._name: tuple[int, int] | None = None  # of the member that is read
        self._stack: list[_Open] = []
        self._places: list[_Place] = []

    def places(self) -> list[_Place]:
        """Return where all values stand that are to change, in their order."""
        try:
            self._space()
            self._enter(self._root)
            while self._stack:
                self._step(self._stack[-1])
            self._space()
        except IndexError:
            raise EditFailed("the document ends before its time") from None
        if self._at != len(self._document):
            raise EditFailed("the document goes on after its end")
        return self._places

    def _step(self, within: _Open) -> None:
        """Go over one member or item, or out of the container."""
        self._space()
        if not within.is_object and len(within.found) == len(within.node.below):
            self._at = _past_close(self._document, self._at)
            self._stack.pop()
            return
        if self._document[self._at] == within.close:
            self._leave(within)
            return
        if within.index:
            if self._document[self._at] != _COMMA:
                raise EditFailed("this is not JSON", within.node.path)
            self._at += 1
            self._space()
        self._name = None
        step = self._key(within) if within.is_object else within.index
        within.index += 1
        node = within.node.below.get(step)
        if node is None:
            self._at = _past_value(self._document, self._at)
            return
        if step in within.found:
            raise EditFailed("this key stands twice", node.path)
        within.found.add(step)
        self._enter(node)

    def _enter(self, node: _Node) -> None:
        """Note the value that begins here, or open it."""
        if node.changes:
            end = _past_value(self._document, self._at)
            self._places.append(_Place(node.path, self._name, (self._at, end)))
            self._at = end
            return
        close = _CLOSE_OF.get(self._document[self._at])
        if close is None:
            raise EditFailed("there is nothing within what stands here", node.path)
        self._at += 1
        within = _Open(node, close)
        is_of = str if within.is_object else int
        within.require(lambda step: isinstance(step, is_of))
        self._stack.append(within)

    def _leave(self, within: _Open) -> None:
        within.require(within.found.__contains__)
        self._at += 1
        self._stack.pop()

    def _key(self, within: _Open) -> str:
        match = _KEY.match(self._document, self._at)
        if match is None:
            raise EditFailed("this is not JSON", within.node.path)
        self._at = match.end()
        self._name = match.span(1)
        return str(_decoded(match[1], within.node.path))

    def _space(self) -> None:
        match = _SPACE.match(self._document, self._at)
        self._at = match.end() if match else self._at


def _past_value(document: bytes, at: int) -> int:
    """Return where the value ends that begins at ``at``. Raises: IndexError: Nowhere."""
    first = document[at]
    if first in _CLOSE_OF:
        return _past_close(document, at + 1)
    if first == _QUOTE:
        return _past_string(document, at + 1)
    match = _SCALAR.match(document, at)
    if match is None:
        raise EditFailed("this is not JSON")
    return match.end()


def _past_string(document: bytes, at: int) -> int:
    """Return where the string ends that ``at`` is in. Raises: IndexError: Nowhere."""
    while document[at] != _QUOTE:
        match = _IN_STRING.match(document, at, at + WINDOW)
        if match is None or match.end() == at:  # a backslash and nothing after it
            raise EditFailed("this is not JSON")
        at = match.end()
    return at + 1


def _past_close(document: bytes, at: int) -> int:
    """Return where the container ends that ``at`` is in. Raises: IndexError: Nowhere."""
    depth = 1
    while depth:
        match = _TO_BRACKET.match(document, at)
        at = match.end() if match else at
        bracket = document[at]
        if bracket == _QUOTE:
            raise EditFailed("this is not JSON")
        depth += -1 if bracket in _CLOSES else 1
        at += 1
    return at


def _leaf(token: bytes, path: Path) -> str | None:
    """Return a string, or a number as it is written; None for any other value."""
    if token[:1] == b'"':
        return str(_decoded(token, path))
    return token.decode() if _NUMBER.fullmatch(token) else None


def _decoded(token: bytes, path: Path) -> Json:
    if token[:1] == b'"' and b"\\" not in token:
        return token[1:-1].decode("utf-8", "surrogatepass")
    try:
        value: Json = json.loads(token)
    except (ValueError, RecursionError):
        raise EditFailed("what stands here cannot be read", path) from None
    return value


def _encoded(value: Json, path: Path) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, or numbers past 64 bits
        pass
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError):
        raise EditFailed("what is to stand here cannot be written", path) from None
