"""Cuts bodies into pieces that are equal from turn to turn, and writes which pieces make a body.

An agent sends its whole conversation on every turn. The pieces end where elements of the
top-level arrays (messages, input, contents, tools) and long strings end, found on the raw bytes:
put together they are the body again, byte for byte, whether it is JSON or not.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

MIN_PIECE: Final = 64
"""Bytes below which a piece costs more to keep apart than to repeat."""

LONG_STRING: Final = 1_024
"""Bytes from which a JSON string is a piece of its own: a file, an image, a tool's result."""

MAX_PIECE: Final = 65_536
"""Bytes of the largest piece; what is longer is cut here, counted from its own start."""

MAX_TOKENS: Final = 200_000
"""Structural characters and strings that are looked at; what follows is cut by size alone."""

_QUOTE, _LIST, _LIST_END, _COMMA = b'"[],'
_OPENING: Final = frozenset(b"[{")
_CLOSING: Final = frozenset(b"]}")

# A string without end runs to the end of the body: nothing is ever matched twice. A comma before
# a number is no token, since numbers are not worth a piece.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+|[\[\]{}]|,(?=\s*+["{\[])', re.DOTALL)
_REST: Final = re.compile(rb"\s*+\Z")


def cut_request(body: bytes) -> Sequence[bytes]:
    """Return the pieces of a request, in order. Joined, they are the body."""
    return _cut(body, _places(body))


def cut_answer(body: bytes) -> Sequence[bytes]:
    """Return the pieces of an answer, by size alone: no later answer repeats it."""
    return _cut(body, ())


def _cut(body: bytes, places: Iterable[int]) -> Sequence[bytes]:
    ends = [0, *places, len(body)]
    return [
        body[start : min(start + MAX_PIECE, end)]
        for first, end in pairwise(ends)
        for start in range(first, end, MAX_PIECE)
    ]


def _places(body: bytes) -> Sequence[int]:
    if len(body) <= LONG_STRING:
        return ()
    places: list[int] = []
    last = 0
    for place, wanted in _boundaries(body):
        if place < 0:
            return ()
        if place > last and (wanted or place - last >= MIN_PIECE):
            places.append(place)
            last = place
    return places


def _boundaries(body: bytes) -> Iterator[tuple[int, bool]]:
    """Yield ascending places and whether each is to be cut however short the piece before it.

    A negative place says that the body is not one JSON value (but an event stream, say).
    """
    depth = 0
    lists: set[int] = set()  # depths at which the elements of a top-level array stand
    for count, token in enumerate(_TOKEN.finditer(body)):
        start, end = token.span()
        first = body[start]
        if count >= MAX_TOKENS:
            return
        if first == _QUOTE:
            if end - start >= LONG_STRING:
                yield start, True
                yield end, True
        elif first in _OPENING:
            depth += 1
            if first == _LIST and depth <= 2 and (depth == 1 or 1 not in lists):
                lists.add(depth)
                yield end, False
        elif first in _CLOSING:
            if depth in lists and first == _LIST_END:
                yield start, False
            lists.discard(depth)
            depth -= 1
            if depth <= 0 and not _REST.match(body, end):
                yield -1, True
                return
        elif depth in lists:
            yield start, False


def write_recipe(ids: Iterable[int]) -> bytes:
    """Write ids as the differences between neighbours: ids of pieces kept together cost a byte.

    Each difference is a zigzag varint (as in Protocol Buffers' ``sint64``).
    """
    out = bytearray()
    last = 0
    for number in ids:
        step = number - last
        last = number
        rest = step * 2 if step >= 0 else -step * 2 - 1
        while rest >= 0x80:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def read_recipe(recipe: bytes) -> list[int]:
    """Return the ids that ``write_recipe`` wrote. Raises: ValueError if it ends within a number."""
    ids: list[int] = []
    last = rest = shift = 0
    for byte in recipe:
        rest |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            last += rest >> 1 if not rest & 1 else -((rest + 1) >> 1)
            ids.append(last)
            rest = shift = 0
    if shift:
        raise ValueError("a recipe ends within a number")
    return ids
