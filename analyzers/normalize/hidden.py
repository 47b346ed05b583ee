"""Text that nobody sees: Unicode tags, variation selectors, zero-width and bidi controls.

What is ordinary is left alone: emoji sequences, flags (also of tags, as England's), one variation
selector after a character, joiners in the scripts that need them.

Sources: UTS #51 (emoji tag sequences), Unicode 16 §23.4 and §23.9.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_TAGS: Final = re.compile(
    "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"  # a flag
    "|([\U000e0001\U000e0020-\U000e007f]{3,})"
)
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_IN_WORD: Final = re.compile("[A-Za-z]+(?:[\u180e\u200b-\u200d\u2060-\u2064\ufeff]+[A-Za-z]+){2,}")
_INVISIBLE_RUN: Final = re.compile("[\u180e\u200b-\u200d\u2060-\u2064\ufeff]{8,}")
_OVERRIDE: Final = re.compile("[\u202d\u202e][^\u202c\n]{0,200}?[A-Za-z]{3}[^\u202c\n]{0,200}")
_ANY: Final = re.compile(
    "[\u180e\u200b-\u200d\u202d\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Concealment:
    """A stretch of a text that hides something, how, and what it says where it says it."""

    way: str
    start: int
    end: int
    text: str = ""


def concealed(text: str) -> Iterator[Concealment]:
    """Yield what is hidden in ``text``, way by way."""
    if text.isascii() or not _ANY.search(text):
        return
    for found in _TAGS.finditer(text):
        if run := found[1]:
            said = "".join(chr(ord(c) - 0xE0000) for c in run if 0xE0020 <= ord(c) <= 0xE007E)
            yield Concealment(way="tags", start=found.start(1), end=found.end(1), text=said)
    for found in _SELECTORS.finditer(text):
        said = bytes(_byte(char) for char in found[0]).decode(errors="replace")
        yield Concealment(
            way="variation_selectors", start=found.start(), end=found.end(), text=said
        )
    for way, pattern in (
        ("zero_width", _IN_WORD),
        ("zero_width", _INVISIBLE_RUN),
        ("bidi_override", _OVERRIDE),
    ):
        for found in pattern.finditer(text):
            yield Concealment(way=way, start=found.start(), end=found.end())


def _byte(selector: str) -> int:
    point = ord(selector)
    return point - 0xFE00 if point <= 0xFE0F else point - 0xE0100 + 16
