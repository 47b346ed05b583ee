"""Reads the strings of a JSON text and where each stands, also of one that is cut short or broken.

A strict reader would refuse what a lenient client still runs, and it keeps no offsets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llmtrace.analyzers.actions.budget import Budget

MAX_DEPTH: Final = 64
MAX_LEAVES: Final = 16_384
MAX_TOKENS: Final = 262_144

TOKEN: Final = re.compile(
    r"""(?P<string>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))|(?P<mark>[{}\[\]:,])|(?P<atom>[^\s{}\[\]:,"]++)""",
    re.DOTALL,
)
ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
PLAIN: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string in a JSON text, or a free text, and the keys and indices that lead to it.

    ``start`` and ``end`` bound what stands between the quotes; ``exact`` as in ``Deed``.
    """

    path: tuple[str | int, ...]
    text: str
    start: int
    end: int
    exact: bool


def looks_like_json(text: str) -> bool:
    """Whether a text begins as a JSON object, array or string does."""
    return text.lstrip()[:1] in ("{", "[", '"')


def read_leaves(text: str, budget: Budget | None = None) -> Iterator[Leaf]:
    """Go through the string values of a JSON text, in order; of broken JSON, what is there.

    At most ``MAX_LEAVES`` within ``MAX_TOKENS`` tokens; what is nested deeper than ``MAX_DEPTH``
    has the path of its ancestor at that depth. ``budget`` is told where that was not all.
    """
    places: list[str | int] = []
    depth = leaves = 0
    key = True
    for count, found in enumerate(TOKEN.finditer(text)):
        if count >= MAX_TOKENS or leaves >= MAX_LEAVES:
            if budget is not None:
                budget.cut = True
            return
        mark = found["mark"]
        if mark is None:
            if found["string"] is None:
                continue
            leaf = _leaf(text, found.start(), found.end(), tuple(places))
            if places and isinstance(places[-1], str) and key:
                places[-1] = leaf.text
            else:
                leaves += 1
                yield leaf
        elif mark in "{[":
            depth += 1
            if depth <= MAX_DEPTH:
                places.append("" if mark == "{" else 0)
            key = True
        elif mark in "}]":
            if 0 < depth <= MAX_DEPTH:
                places.pop()
            depth = max(0, depth - 1)
            key = False
        elif mark == ":":
            key = False
        elif places:
            last = places[-1]
            key = isinstance(last, str)
            if isinstance(last, int):
                places[-1] = last + 1


def _leaf(text: str, start: int, end: int, path: tuple[str | int, ...]) -> Leaf:
    closed = end - start > 1 and text[end - 1] == '"'
    start, end = start + 1, end - 1 if closed else end
    raw = text[start:end]
    if "\\" not in raw:
        return Leaf(path, raw, start, end, True)
    return Leaf(path, unescape(raw), start, end, False)


def unescape(raw: str) -> str:
    """Return what a JSON string says; an unknown escape is the letter itself."""
    told = ESCAPE.sub(_escaped, raw)
    return told.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _escaped(found: re.Match[str]) -> str:
    code, letter = found.groups()
    return chr(int(code, 16)) if code else PLAIN.get(letter, letter)
