"""A further view of a text: other letters for the same characters, with the way back."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple, Protocol


class Seen(Protocol):
    """A text, and where its characters came from."""

    @property
    def text(self) -> str:
        """What is searched."""
        ...

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``start:end`` stands for."""
        ...


class Piece(NamedTuple):
    """A stretch of a view: its text, and what it stands for in the text below.

    A piece that is ``same`` has one character for each below; any other stands for the whole
    of ``start:end``.
    """

    text: str
    start: int
    end: int
    same: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """A view of what ``below`` shows.

    ``decoded`` says that it is another writing of the same characters (base64, escapes), so that
    keys and numbers may stand in it; a repaired view (letter-spacing, reversed) has only words.
    """

    name: str
    text: str
    below: Seen
    decoded: bool
    pieces: tuple[Piece, ...]
    _starts: list[int] = field(repr=False, compare=False)

    @classmethod
    def of(cls, name: str, below: Seen, pieces: Iterable[Piece], *, decoded: bool) -> "View":
        """Join pieces to a view."""
        parts = tuple(pieces)
        starts = list(accumulate((len(part.text) for part in parts), initial=0))
        text = "".join(part.text for part in parts)
        return cls(name, text, below, decoded, parts, starts)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``start:end`` stands for."""
        first, last = self._piece(start), self._piece(end - 1)
        low, high = self.pieces[first].start, self.pieces[last].end
        if self.pieces[first].same:
            low += start - self._starts[first]
        if self.pieces[last].same:
            high = self.pieces[last].start + end - self._starts[last]
        return self.below.span(low, high)

    def changed(self, start: int, end: int) -> bool:
        """Whether ``start:end`` reads otherwise than it does below."""
        touched = self.pieces[self._piece(start) : self._piece(end - 1) + 1]
        return not all(piece.same for piece in touched)

    def _piece(self, index: int) -> int:
        """Return the number of the piece with a character; empty pieces have none."""
        return bisect_right(self._starts, index) - 1


@dataclass(frozen=True, slots=True)
class Aligned:
    """A view with one character for each below, in the same order or backwards."""

    name: str
    text: str
    below: Seen
    backwards: bool = False
    decoded: bool = False

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``start:end`` stands for."""
        if self.backwards:
            start, end = len(self.text) - end, len(self.text) - start
        return self.below.span(start, end)

    def changed(self, start: int, end: int) -> bool:
        """Whether ``start:end`` reads otherwise than it does below."""
        return self.backwards or self.text[start:end] != self.below.text[start:end]


def replaced(text: str, runs: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the pieces of ``text`` with some runs, ordered and apart, read otherwise."""
    at = 0
    for run in runs:
        if run.start > at:
            yield Piece(text[at : run.start], at, run.start, same=True)
        yield run
        at = run.end
    if at < len(text):
        yield Piece(text[at:], at, len(text), same=True)


def joined(runs: Iterable[Piece]) -> Iterator[Piece]:
    """Yield runs alone, each on lines of its own."""
    for run in runs:
        yield run._replace(text=f"{run.text}\n")
