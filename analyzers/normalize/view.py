"""A further view of a text: other letters for the same characters, with the way back."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

NEAR: Final = 512
"""Characters around what reads otherwise that may belong to the same match."""
WHOLE: Final = 16_384
"""Characters of a text that is shown whole where anything of it reads otherwise."""
APART: Final = "\n\0\n"
"""Stands between stretches that are not neighbours; nothing that rules look for has it."""


class Seen(Protocol):
    """A text, and where its characters came from."""

    @property
    def text(self) -> str:
        """What is searched."""
        ...

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``start:end`` stands for."""
        ...


@dataclass(frozen=True, slots=True)
class Original:
    """A text as it came: its own view."""

    text: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the same place."""
        return start, end


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
        """Whether ``start:end``, or what it stands right beside, reads otherwise than below.

        What stands beside it says where a word ends; a match may be one for that alone.
        """
        first = self._piece(start - 1) if start else 0
        last = self._piece(end) if end < len(self.text) else len(self.pieces) - 1
        return not all(piece.same for piece in self.pieces[first : last + 1])

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
        """Whether ``start:end`` reads otherwise than below; if decoded, with what is beside it."""
        low, high = max(0, start - self.decoded), end + self.decoded
        return self.backwards or self.text[low:high] != self.below.text[low:high]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Stretches of a view with one character for each below, in the same order; the rest is left
    out, for it reads as it did below.
    """

    name: str
    text: str
    below: Seen
    decoded: bool
    windows: tuple[tuple[int, int], ...]
    _starts: tuple[int, ...] = field(repr=False, compare=False)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``start:end`` stands for."""
        return self.below.span(self._place(start), self._place(end - 1) + 1)

    def changed(self, start: int, end: int) -> bool:
        """Whether ``start:end`` reads otherwise than below; if decoded, with what is beside it."""
        low, high = max(0, start - self.decoded), min(end + self.decoded, len(self.text))
        first, last = self._place(low), self._place(high - 1)
        return self.text[low:high] != self.below.text[first : last + 1]

    def _place(self, index: int) -> int:
        """Return where a character stands below; one between two windows ends the first."""
        number = bisect_right(self._starts, index) - 1
        low, high = self.windows[number]
        return min(low + index - self._starts[number], high - 1)


type Further = View | Aligned | Excerpt
"""A reading of a text that is not the one it came in."""


def aligned(
    name: str,
    below: Seen,
    read: Callable[[str], str],
    places: Iterable[int],
    *,
    decoded: bool = False,
) -> Aligned | Excerpt:
    """Return what ``below`` reads as: a long text around some places, if that is not most of it.

    ``read`` gives as many characters as it gets. Of ``places``, which are ordered, no more are
    asked for than it needs.
    """
    size, shown = len(below.text), 0
    windows: list[tuple[int, int]] = []
    for place in places:
        low, high = max(0, place - NEAR), min(size, place + NEAR)
        if windows and low <= windows[-1][1]:
            low, end = windows.pop()
            shown -= end - low
        windows.append((low, high))
        shown += high - low
        if 2 * shown >= size or size <= WHOLE:
            return Aligned(name, read(below.text), below, decoded=decoded)
    lengths = (high - low + len(APART) for low, high in windows[:-1])
    starts = tuple(accumulate(lengths, initial=0))
    text = APART.join(read(below.text[low:high]) for low, high in windows)
    return Excerpt(name, text, below, decoded, tuple(windows), starts)


def characters(text: str, data: bytes, places: Iterable[int]) -> Iterator[int]:
    """Go through the characters of a text that stand at bytes of its UTF-8, ordered."""
    at = chars = 0
    for place in places:
        while place < len(data) and data[place] & 0xC0 == 0x80:
            place -= 1  # not within a character
        plain = len(data) == len(text)
        chars += place - at if plain else len(data[at:place].decode())
        at = place
        yield chars


def replaced(text: str, runs: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the surroundings of some runs, ordered and apart, with the runs read otherwise.

    What is more than ``NEAR`` characters away from any run is left out: it reads as it did below.
    """
    at, shown = 0, 0
    for run in runs:
        until = min(run.start, at + NEAR) if shown else at
        begin = max(until, run.start - NEAR)
        if until > at:
            yield Piece(text[at:until], at, until, same=True)
        if begin > until:
            yield Piece(APART, until, begin)
        if run.start > begin:
            yield Piece(text[begin : run.start], begin, run.start, same=True)
        yield run
        at, shown = run.end, 1
    end = min(len(text), at + NEAR)
    if shown and end > at:
        yield Piece(text[at:end], at, end, same=True)


def joined(runs: Iterable[Piece]) -> Iterator[Piece]:
    """Yield runs alone, each on lines of its own."""
    for run in runs:
        yield run._replace(text=f"{run.text}\n")
