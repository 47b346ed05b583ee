r"""Reads the short escapes of JSON and source code, and the colours of a terminal.

``\n`` before a word hides where it begins. Each becomes as many characters as it has, so that the
way back is the place itself. Such text is everywhere in code and its results: there is a view only
where an order could stand behind an escape, or is broken by one. Values need none: their rules
begin behind an escape by themselves (``patterns.edges``).
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Final

from llmtrace.analyzers.automata import Matcher, matcher
from llmtrace.analyzers.normalize.repairs import opening_words, words
from llmtrace.analyzers.normalize.view import NEAR, Aligned, Excerpt, Seen, aligned, characters

COLOUR: Final = r"(?:\x1b(?:\[[0-9;:?]{0,32}[A-Za-z]|\][\x20-\x7e]{0,200}(?:\x07|\x1b\\)))+"
"""Control sequences and titles of a terminal (ECMA-48 §5.4, xterm's OSC)."""
_SHORT: Final = re.compile(r"\\+[nrtbf]")


MAX_TRIED: Final = 1_000
"""Known words behind escapes whose neighbours are looked at in one text; past that, all count."""


@cache
def _behind() -> tuple[Matcher, "re.Pattern[bytes]"]:
    """Return what tells of an order behind an escape, and what it begins with there."""
    opening, known = "|".join(opening_words()), "|".join(sum(words(), ()))
    begins = rf"(?:{opening})[ ,:!]|[#*]{{1,4}} ?(?:system|instruction|important)"
    told = matcher(rf"\\[nrt] {{0,8}}(?i:{begins}|(?:{known})\b)")
    return told, re.compile(rf"\\[nrt] {{0,3}}(?:{begins})".encode(), re.IGNORECASE)


@cache
def _before() -> "re.Pattern[bytes]":
    """Return what stands before an escape within an order."""
    return re.compile(rf"\b(?:{'|'.join(sum(words(), ()))})[.,]?\\*\Z".encode(), re.IGNORECASE)


def unescaped(below: Seen, data: bytes) -> Aligned | Excerpt | None:
    """Return ``below`` with white space for its short escapes, where that may say something else.

    ``data`` is its text in UTF-8.
    """
    if b"\\" not in data:
        return None
    worth = _worth(data)
    first = next(worth, None)
    if first is None:
        return None
    places = characters(below.text, data, chain([first], worth))
    return aligned("escapes", below, _blanked, places, decoded=True)


def _worth(data: bytes) -> Iterator[int]:
    """Go through the escapes that an order may stand behind."""
    (told, begins), at = _behind(), 0
    for _ in range(MAX_TRIED):
        found = told.search(data, at)
        if found is None:
            return
        start, at = found.span()
        if begins.match(data, start) or _before().search(data[max(0, start - 16) : start]):
            yield start
    yield from range(at, len(data), NEAR)


def _blanked(text: str) -> str:
    return _SHORT.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    run = found[0]
    return " " * (len(run) - 1) + ("\n" if run[-1] in "nr" else " ")


def uncoloured(text: str, start: int, end: int) -> str:
    """Return what a run of colours at ``start:end`` reads as: nothing, or a space behind a word."""
    after = text[end : end + 1]
    return " " if text[start - 1 : start].isalnum() and after and not after.isspace() else ""


def within_word(text: str, start: int, end: int) -> bool:
    """Whether what stands at ``start:end`` may stand within a word, or within a token."""
    around = text[start - 1 : start] + text[end : end + 1]
    return len(around.strip()) == 2
