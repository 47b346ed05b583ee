"""All further views of a text, each made only where a cheap cue says that it could differ."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from llmtrace.analyzers.automata import Together, together
from llmtrace.analyzers.normalize.decoding import ENCODINGS, MAX_DEPTH, Allowance, decoded
from llmtrace.analyzers.normalize.escapes import unescaped
from llmtrace.analyzers.normalize.folding import Folded
from llmtrace.analyzers.normalize.hidden import Concealment, concealed
from llmtrace.analyzers.normalize.repairs import cue_patterns, repaired, upside_down
from llmtrace.analyzers.normalize.view import Further, Original, Piece, Seen, View, joined


@dataclass(frozen=True, slots=True)
class Views:
    """The further views of a text, and what is hidden in it.

    ``complete`` is false where a bound left something out.
    """

    views: tuple[Further, ...]
    hidden: tuple[Concealment, ...] = ()
    complete: bool = True


_NONE: Final = Views(())


def views(
    folded: Folded,
    data: bytes | None = None,
    repairs: Collection[str] | None = None,
    left: Allowance | None = None,
) -> Views:
    """Return the further views of a text, given its canonical one.

    ``data`` is that in UTF-8, and ``repairs`` names the ``cue_patterns`` that are in it, where
    somebody has looked for them already. ``left`` is what may be decoded.
    """
    if data is None:
        data = folded.text.encode("utf-8", "replace")
    encodings = _encodings(data)
    names = _repairs(data) if repairs is None else repairs
    escaped = unescaped(folded, data)
    if not encodings and not names and escaped is None and folded.original.isascii():
        return _NONE
    made: list[Further] = []
    left = left or Allowance()
    if escaped is not None:
        made.append(escaped)
    if encodings or names:
        _encoded(folded, encodings, names, left, made)
    hidden: tuple[Concealment, ...] = ()
    if not folded.original.isascii():
        original = Original(folded.original)
        hidden = tuple(concealed(folded.original))
        made += _hidden(original, hidden)
        made += upside_down(original)
    return Views(tuple(made), hidden, not left.spent)


def _hidden(original: Seen, hidden: tuple[Concealment, ...]) -> Iterator[View]:
    """Yield a view for each way in which something readable is hidden."""
    for way in sorted({found.way for found in hidden if found.text}):
        runs = (Piece(c.text, c.start, c.end) for c in hidden if c.way == way)
        yield View.of(way, original, joined(runs), decoded=True)


def _encoded(
    canonical: Seen,
    encodings: Collection[int],
    names: Collection[str],
    left: Allowance,
    made: list[Further],
) -> None:
    """Add the views of what is encoded, and of what is encoded in those."""
    level: list[Seen] = [canonical]
    for depth in range(MAX_DEPTH):
        deeper: list[Seen] = []
        for below in level:
            if depth:
                data = below.text.encode("utf-8", "replace")
                encodings, names = _encodings(data), _repairs(data)
                if escaped := unescaped(below, data):
                    made.append(escaped)
            decodings = list(decoded(below, encodings, left))
            made += decodings
            deeper += decodings
            made += repaired(below, names)
        level = deeper


def _encodings(data: bytes) -> Collection[int]:
    """Return the numbers of the encodings that are worth a try."""
    return _runs().Match(data) or ()


def _repairs(data: bytes) -> Collection[str]:
    """Return the names of the repairs that are worth a try."""
    cues, names = _words()
    return [names[number] for number in cues.Match(data) or ()]


@cache
def _runs() -> Together:
    """Return what tells of encodings; with the words of repairs it would have many states."""
    return together([encoding.cue or encoding.run for encoding in ENCODINGS])


@cache
def _words() -> tuple[Together, tuple[str, ...]]:
    repairs = cue_patterns()
    return together(list(repairs.values())), tuple(repairs)
