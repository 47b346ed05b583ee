"""Patterns as RE2 gets them: exact to find a span, weakened to be matched all at once.

A set of patterns is one automaton; a counted gap such as ``.{0,200}`` makes it remember how far
it is in each gap, hundreds of states for each pattern and their products for all. Without the
count it only remembers that the gap is open. What the weaker pattern lets through, the exact one
decides.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol, cast

import re2  # type: ignore[import-untyped] # Google's binding ships no types; ours are below

WIDEST: Final = 8
"""Counted repetitions up to this many stay as they are."""
_MEMORY: Final = 2 << 20
"""Bytes that one pattern may take with its automata, and ``_MEMORY_EACH`` for each of its
characters. Over it, RE2 first starts their caches anew, then tries all ways at once, which takes
fifty times as long."""
_SET_MEMORY: Final = 16 << 20
"""The same for a set; over it, RE2 starts its cache anew."""
_MEMORY_EACH: Final = 1 << 10

_PIECE: Final = re.compile(
    r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|\{(\d+)(,?)(\d*)\}", re.S
)

_OPEN: Final = re.compile(
    r"(?<!\\)(?:\.|\[\^(?:\\.|[^\]])*\]|\[(?:\\.|[^\]])*(?:\\[wWSD]|a-z)(?:\\.|[^\]])*\])(?:[*+]|\{\d+,\})"
    r"|\\[wWSD](?:[*+]|\{\d+,\})"
)
"""A class of most characters, as often as there are any."""


def weaken(pattern: str) -> str:
    """Return a pattern that matches wherever ``pattern`` does, with wide counts left out."""
    return _PIECE.sub(_open_count, pattern)


def _open_count(found: re.Match[str]) -> str:
    low, comma, high = found[1], found[2], found[3]
    if low is None or not comma or (high and int(high) <= WIDEST) or int(low) > int(high or low):
        return found[0]
    least = min(int(low), WIDEST)
    return ("*", "+")[least] if least < 2 else f"{{{least},}}"


type Span = tuple[int, int]


def is_open(pattern: str) -> bool:
    """Whether a pattern may wait without end for what follows: ``[^\\n]*``, ``.+``, ``\\w{3,}``.

    Spaces do not count: text has few in a row.
    """
    return _OPEN.search(pattern) is not None


class BadPattern(ValueError):
    """RE2 does not take a pattern: it is wrong, or it could not be matched in linear time."""


class Match(Protocol):
    """Where a pattern matched, in bytes."""

    def span(self, group: int = 0) -> Span:
        """Return where a group begins and ends; (-1, -1) if it took no part."""
        ...


class Matcher(Protocol):
    """A pattern compiled for UTF-8 bytes. Linear in the text; safe to share between threads."""

    @property
    def groupindex(self) -> Mapping[bytes, int]:
        """The numbers of the named groups."""
        ...

    def search(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Match | None:
        """Return the first match from ``pos`` to ``endpos``; what is around is seen as context."""
        ...

    def match(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Match | None:
        """Return the match that begins at ``pos`` and ends by ``endpos``."""
        ...

    def finditer(self, text: bytes, pos: int = 0) -> Iterator[Match]:
        """Yield the matches from ``pos`` on, without overlaps."""
        ...


class Together(Protocol):
    """Patterns matched in one pass. Releases the interpreter lock; safe to share."""

    def Match(self, text: bytes) -> Sequence[int] | None:  # noqa: N802 - RE2's name
        """Return the numbers of the patterns that match anywhere."""
        ...


def _options(max_mem: int, *, captures: bool = False) -> re2.Options:
    made = re2.Options()
    made.max_mem = max_mem
    made.log_errors = False
    made.never_capture = not captures
    return made


def matcher(pattern: str) -> Matcher:
    """Compile a pattern. Only one with named groups captures. Raises: BadPattern."""
    options = _options(_MEMORY + _MEMORY_EACH * len(pattern), captures="(?P<" in pattern)
    try:
        found = re2.compile(pattern.encode(), options)
    except re2.error as error:
        raise BadPattern(_said(error)) from error
    return cast("Matcher", found)


def together(patterns: Sequence[str]) -> Together:
    """Compile patterns to be matched all at once, best weakened. Raises: BadPattern."""
    made = re2.Set.SearchSet(_options(_SET_MEMORY + _MEMORY_EACH * sum(map(len, patterns))))
    try:
        for pattern in patterns:
            made.Add(pattern.encode())
        made.Compile()
    except re2.error as error:
        raise BadPattern(_said(error)) from error
    return cast("Together", made)


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return text if len(text) <= 80 else f"{text[:80]}…"
