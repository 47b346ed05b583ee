"""What of a growing text is still open: the classes of characters that hits in streams are made of.

A rule that holds promises: every character of its span is of the class, the span is at most
``max_length`` long, and what decides are ``LEFT`` characters before and one after the span. So all
that stands before the run of the class at the end of a text is decided.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

BLOCK: Final = "block"
ADDRESS: Final = "address"
_MARKS: Final = re.compile(r"[:/\\&%]")
_SCHEME: Final = re.compile(r"(?:h|ht|htt|https?)\Z", re.IGNORECASE)
"""Without any of the marks, what could be an address is at most the beginning of its scheme."""
CLOSING: Final = ")"
MAX_BLOCK: Final = 65_536
"""Longest block in code points: past that, a block without an end is held no more."""
AFTER_BLOCK: Final = 80
"""How far after its end, in the same line, a block may go on; behind a bracket it cannot."""

_WORD: Final = 24
"""Most runs are no longer, and found soonest from their end."""

CLASSES: Final[Mapping[str, re.Pattern[str]]] = {
    "token": re.compile(r"[\w.+@/:=%~#&?$!*^-]*"),
    "number": re.compile(r"[\d ()+./-]*"),
    "caps": re.compile(r"[A-Z\d -]*"),
    "word": re.compile(r"[\w-]*"),
    "line": re.compile(r"[^\n]*"),
    ADDRESS: re.compile(r"[^\s\"<>\u3000-\u303f\uff00-\uff65]*"),
}
_ONE: Final = {name: re.compile(found.pattern[:-1]) for name, found in CLASSES.items()}
_LAST: Final = {
    name: re.compile(rf"(?<!{found.pattern[:-1]}){found.pattern}+\Z")
    for name, found in CLASSES.items()
}
"""The run of a class at the end of a text. Linear: it is tried where a run begins alone."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A class and the longest span of the rules that use it; for a block, its two literals."""

    name: str
    max_length: int
    begin: str = ""
    end: str = ""


def holds_of(holds: Iterable[Hold]) -> tuple[Hold, ...]:
    """Keep one hold for each class, with the longest span, and each pair of literals."""
    longest: dict[tuple[str, str, str], int] = {}
    for hold in holds:
        key = (hold.name, hold.begin, hold.end)
        longest[key] = max(hold.max_length, longest.get(key, 0))
    return tuple(Hold(name, size, *ends) for (name, *ends), size in longest.items())


def undecided(text: str, holds: Iterable[Hold]) -> int:
    """Return where the undecided tail of ``text`` begins, ``len(text)`` if there is none."""
    return min((_open(text, hold) for hold in holds), default=len(text))


def fits(text: str, name: str, max_length: int) -> bool:
    """Whether a span keeps the promise of its class."""
    if len(text) > max_length:
        return False
    return name == BLOCK or CLASSES[name].fullmatch(text) is not None


def _open(text: str, hold: Hold) -> int:
    if hold.name == BLOCK:
        return _open_block(text, hold)
    at = _run(text, hold)
    if hold.name != ADDRESS or _MARKS.search(text, at):
        return at
    begun = _SCHEME.search(text, max(at, len(text) - len("https")))
    return begun.start() if begun else len(text)


def _run(text: str, hold: Hold) -> int:
    """Return where the run of a class at the end of a text begins."""
    is_of = _ONE[hold.name].match
    floor = max(len(text) - hold.max_length, 0)
    at = len(text)
    near = max(at - _WORD, floor)
    while at > near and is_of(text, at - 1):
        at -= 1
    if at > near or near == floor:
        return at
    found = _LAST[hold.name].search(text[floor:])
    return floor + found.start() if found else at


def _open_block(text: str, hold: Hold) -> int:
    """Return where a block begins that may still be open or that may be about to begin."""
    floor = max(len(text) - hold.max_length, 0)
    begun = text.find(hold.begin, floor)
    while begun >= 0:
        ended = text.find(hold.end, begun + len(hold.begin))
        if ended < 0 or (hold.end != CLOSING and _may_go_on(text, ended + len(hold.end))):
            return begun
        begun = text.find(hold.begin, ended + len(hold.end))
    for size in range(min(len(hold.begin) - 1, len(text)), 0, -1):
        if text.endswith(hold.begin[:size]):
            return len(text) - size
    return len(text)


def _may_go_on(text: str, ended: int) -> bool:
    return len(text) - ended <= AFTER_BLOCK and "\n" not in text[ended:]
