"""The canonical view: what a text looks like to a reader, in plain letters.

Each code point is mapped by itself, so that a longer text never changes the view of its start:
invisible characters and marks go, compatibility forms and look-alikes become ASCII. A text that
is ASCII is its own canonical view.

Sources: UAX #15 (NFKD), UTS #39 (confusables, from the package ``confusable-homoglyphs``).
"""

import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import accumulate
from string import ascii_uppercase
from typing import Final

import orjson

MAX_CACHED: Final = 65_536
"""Code points whose mapping is kept; beyond that it is worked out each time."""

_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point of Unicode 16, DerivedCoreProperties.txt, and U+FFF9..FFFB."""

_BY_CATEGORY: Final = {"Mn": "", "Me": "", "Cs": "\ufffd", "Zs": " ", "Zl": "\n", "Zp": "\n"}
_QUOTES: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
}
_SMALL_CAPITAL: Final = "LATIN LETTER SMALL CAPITAL"
_BLANKS: Final = frozenset("\x85\u2800\u1680\U0001d159")
"""What has a width and no ink: braille's blank, ogham's space, a null notehead; a next line."""
_DASHES: Final = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]{1,512}")
"""A run of a length that is soon folded: other threads wait that long for the interpreter."""


class _Table(dict[int, str]):
    """What each code point becomes, worked out when it is first met."""

    def __missing__(self, point: int) -> str:
        folded = _fold_point(chr(point))
        if len(self) < MAX_CACHED:
            self[point] = folded
        return folded


_TABLE: Final = _Table()


@dataclass(frozen=True, slots=True)
class Folded:
    """A text and its canonical view, ``text``."""

    original: str
    text: str
    _starts: list[array[int]] = field(default_factory=list, repr=False, compare=False)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return what ``start:end`` of the view stands for in the original, half-open.

        A span that begins or ends within what one code point became covers that code point.
        """
        if self.text is self.original:
            return start, end
        return self._place(start), self._place(end - 1) + 1 if end > start else self._place(start)

    def _place(self, index: int) -> int:
        """Return the code point of the original that gave character ``index`` of the view."""
        if not self._starts:
            self._starts.append(_starts(self.original))
        return bisect_right(self._starts[0], index) - 1

    def cut(self, index: int) -> int:
        """Return where the original is cut when the view is cut before ``index``."""
        if self.text is self.original:
            return index
        return self._place(index) if index < len(self.text) else len(self.original)

    def at(self, index: int) -> int:
        """Return where in the view the character ``index`` of the original begins."""
        if self.text is self.original or index <= 0:
            return max(index, 0)
        return len(fold(self.original[:index]).text)


def fold(text: str) -> Folded:
    """Return the canonical view of ``text``. Of any prefix, it is a prefix."""
    if text.isascii():
        return Folded(text, text)
    folded = _NOT_ASCII.sub(_fold_run, text)
    return Folded(text, text if folded == text else folded)


def fold_pattern(pattern: str) -> str:
    """Fold the letters of a pattern as those of a text, so that both still meet."""
    if pattern.isascii():
        return pattern
    letters = (char if _plain(char) else _TABLE[ord(char)] for char in pattern)
    return "".join(letters)


def _plain(char: str) -> bool:
    return char < "\x80" or unicodedata.category(char)[0] not in "LMN"


def _fold_run(found: re.Match[str]) -> str:
    return found[0].translate(_TABLE)


def _starts(original: str) -> "array[int]":
    """Return where in the view each code point of the original begins."""
    lengths = (1 if char < "\x80" else len(_TABLE[ord(char)]) for char in original)
    return array("Q", accumulate(lengths, initial=0))[:-1]


def _fold_point(char: str) -> str:
    if _INVISIBLE.match(char):
        return ""
    return "".join(_look(part) for part in unicodedata.normalize("NFKD", char))


def _look(char: str) -> str:
    if char < "\x80":
        return char
    if char in _DASHES:
        return "-"
    if char in _BLANKS:
        return " "
    if (quote := _QUOTES.get(char)) is not None:
        return quote
    category = unicodedata.category(char)
    if (same := _BY_CATEGORY.get(category)) is not None:
        return same
    if _INVISIBLE.match(char):
        return ""
    return _lookalikes().get(char, char) if category[0] in "LN" else char


@cache
def _lookalikes() -> Mapping[str, str]:
    """Return the letters and digits of other scripts that look like ASCII ones.

    A letter without a look-alike of its own takes that of its capital or small letter, so that
    folding a text and ignoring case can be done in either order.
    """
    text = (files("confusable_homoglyphs") / "confusables.json").read_bytes()
    data = orjson.loads(text)
    found: dict[str, str] = {}
    for char, rows in data.items():
        if len(char) == 1 and char > "\x7f" and unicodedata.category(char)[0] in "LN":
            targets = [row["c"] for row in rows]
            if look := _best(char, [t for t in targets if t.isascii() and t.isalnum()]):
                found[char] = look
    for letter in ascii_uppercase:
        with suppress(KeyError):  # not each has one
            found.setdefault(unicodedata.lookup(f"{_SMALL_CAPITAL} {letter}"), letter.lower())
    for char, look in list(found.items()):
        for other, as_other in ((char.lower(), look.lower()), (char.upper(), look.upper())):
            if len(other) == 1 and other > "\x7f":
                found.setdefault(other, as_other)
    return found


def _best(char: str, targets: list[str]) -> str:
    """Choose the ASCII character of the same case; empty if there is none."""
    single = [target for target in targets if len(target) == 1]
    if not single:
        return ""
    if char.isupper():
        capitals = [t for t in single if t.isupper()]
        return min(capitals) if capitals else "I" if "l" in single else single[0].upper()
    if char.isdigit() and (digits := [t for t in single if t.isdigit()]):
        return min(digits)
    small = [t for t in single if t.islower()]
    return min(small) if small else min(single)
