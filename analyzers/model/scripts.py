"""Leaves out of a text what is written in scripts that a network was not taught to judge.

In training some scripts occur in attacks alone, so that the script itself reads as an attack. What
is left, such as an order in Latin letters within a Persian page, is read as if it stood alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import regex

from llmtrace.analyzers.normalize import Seen, View, fold
from llmtrace.analyzers.normalize.view import Piece


@dataclass(frozen=True, slots=True)
class Through:
    """What is seen of a text that is itself seen of another: ``below``."""

    seen: Seen
    below: Seen

    @property
    def text(self) -> str:
        """What is searched."""
        return self.seen.text

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``start:end`` stands for."""
        return self.below.span(*self.seen.span(start, end))


def written_in(scripts: Sequence[str], seen: Seen) -> Seen:
    """Return what is written in some scripts (``Latin``): ``seen`` itself where that is all.

    Where none are given, all are meant. Letters that belong to no script are left, and so is a
    stretch in which each letter is a look-alike of an ASCII one: that is how words are disguised.
    """
    if not scripts or seen.text.isascii():
        return seen
    pieces = tuple(_pieces(seen.text, _foreign(tuple(scripts))))
    if all(piece.same for piece in pieces):
        return seen
    return View.of("scripts", seen, pieces, decoded=False)


@cache
def _foreign(scripts: tuple[str, ...]) -> "regex.Pattern[str]":
    """Return what matches letters of other scripts, and what stands between those.

    Digits and all that escapes are made of (``%``, ``&``, ``\\``) end it, and so do symbols and
    selectors: they may hide something by themselves.
    """
    known = "".join(rf"--\p{{{script}}}" for script in (*scripts, "Common", "Inherited"))
    letter = rf"[\p{{L}}{known}]"
    between = r"[[\p{M}\p{P}\s\u200b-\u200f]--[%&#\\\ufe00-\ufe0f\U000e0100-\U000e01ef]]"
    return regex.compile(rf"(?V1){letter}(?:{letter}|{between})*+")


def _pieces(text: str, foreign: "regex.Pattern[str]") -> Iterator[Piece]:
    at = 0
    for found in foreign.finditer(text):
        start, end = found.span()
        if fold(found[0]).text.isascii():
            continue
        yield Piece(text[at:start], at, start, same=True)
        yield Piece(", ", start, end)  # no name goes on behind it
        at = end
    yield Piece(text[at:], at, len(text), same=True)
