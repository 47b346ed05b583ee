"""Repairs words that are written to be read by a model and missed by a filter.

Spaced letters, digits for letters, words that are each marked or joined, backwards, upside down,
ROT13: looked for only where a word that attacks use, or a common one by itself (``words.yaml``),
shows through.
"""

import codecs
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from llmtrace.analyzers.automata import Matcher, matcher
from llmtrace.analyzers.normalize.view import (
    Aligned,
    Further,
    Piece,
    Seen,
    View,
    aligned,
    characters,
    replaced,
)

SPACED: Final = r"\b[A-Za-z0-9](?:[ ._*|~/-]{1,3}[A-Za-z0-9]){5,}\b"
"""Single letters with separators between them, at least six."""

MARKS: Final = "[*_~+]"
"""What Markdown emphasizes words with, or joins them in names and in forms that are sent."""
_MARKS: Final = str.maketrans("*_~+", "    ")
_LEET: Final = str.maketrans("013456789@$", "oieasgtbgas")
_LEET_CLASSES: Final = {
    "a": "[a4@]",
    "b": "[b8]",
    "e": "[e3]",
    "g": "[g69]",
    "i": "[i1!|]",
    "l": "[l1|]",
    "o": "[o0]",
    "s": "[s5$]",
    "t": "[t7]",
}
_BETWEEN: Final = re.compile(r"(?<=\w)[!|](?=\w)|(?<!\w)[!|](?=\w{3})")
_LETTER: Final = re.compile(r"[A-Za-z0-9]")
_UPSIDE_DOWN: Final = str.maketrans(
    "\u0250q\u0254p\u01dd\u025f\u0183\u0265\u0131\u1d09\u027e\u029e\u05dfl\u026fuodb\u0279s\u0287n\u028c\u028dx\u028ez",
    "abcdefghiijkllmnopqrstuvwxyz",
)
_TURNED: Final = re.compile(
    "[\u0250\u0254\u01dd\u025f\u0183\u0265\u1d09\u027e\u029e\u026f\u0279\u0287\u028c\u028d\u028e]"
)
TURNED_LETTERS: Final = 4
"""Turned letters from which a text is read upside down."""


@cache
def words() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the telling words, those that stand beside them, and common ones."""
    lists = _lists()
    return lists["telling"], lists["beside"], lists["common"]


@cache
def opening_words() -> tuple[str, ...]:
    """Return the words that orders begin with."""
    return _lists()["opening"]


@cache
def _lists() -> Mapping[str, tuple[str, ...]]:
    text = (files("llmtrace.analyzers.normalize") / "words.yaml").read_text(encoding="utf-8")
    return {name: tuple(words) for name, words in yaml.safe_load(text).items()}


def cue_patterns() -> dict[str, str]:
    """Return, for each repair, the pattern that says it is worth a try."""
    telling, beside, common = words()
    leet = (written for word in telling for written in _leet(word))
    common_leet = (written for word in common for written in _leet(word))
    backwards = (f"[a-z]?{word[::-1]}" for word in telling)
    return {
        "spaced": SPACED,
        "leet": rf"(?i)(?:{_any(leet)}|\b(?:{_any(common_leet)})\b)",
        "marked": rf"(?i)(?:^|[^a-z0-9])(?:{_any(telling)}){MARKS}+ ?{MARKS}*"
        rf"(?:{_any((*telling, *beside))})(?:{MARKS}|s?[ .,]|$)",
        "reversed": rf"(?i)\b(?:{_any(backwards)}|(?:{_any(common)[::-1]})\b)",
        "rot13": rf"(?i)\b(?:{_rotated(_any(telling))}|(?:{_rotated(_any(common))})\b)",
    }


def _any(words: Iterable[str]) -> str:
    return "|".join(words)


def repaired(below: Seen, cues: Collection[str]) -> Iterator[Further]:
    """Yield the repaired views of ``below`` that the cues ask for."""
    if "spaced" in cues and (runs := list(_spaced(below.text))):
        yield View.of("spaced", below, replaced(below.text, runs), decoded=False)
    if "leet" in cues:
        yield aligned("leet", below, unleet, _cued("leet", below.text))
    if "marked" in cues:
        yield aligned("marked", below, _unmarked, _cued("marked", below.text))
    if "reversed" in cues:
        yield Aligned("reversed", below.text[::-1], below, backwards=True)
    if "rot13" in cues:
        yield Aligned("rot13", _rotated(below.text), below)


def upside_down(original: Seen) -> Iterator[Aligned]:
    """Yield a text read from its end with its letters turned, if enough of them are."""
    text = original.text
    if sum(1 for _, _ in zip(_TURNED.finditer(text), range(TURNED_LETTERS), strict=False)) == (
        TURNED_LETTERS
    ):
        turned = text[::-1].translate(_UPSIDE_DOWN)
        yield Aligned("upside_down", turned, original, backwards=True)


def _cued(name: str, text: str) -> Iterator[int]:
    """Go through the places of a cue in a text."""
    data = text.encode("utf-8", "replace")
    return characters(text, data, (found.span()[0] for found in _compiled(name).finditer(data)))


def _unmarked(text: str) -> str:
    return text.translate(_MARKS)


def unleet(text: str) -> str:
    """Return ``text`` with letters for the digits and signs that stand for them."""
    for pair in ("11", "l1", "L1"):
        text = text.replace(pair, "ll")
    return _BETWEEN.sub("i", text.translate(_LEET))


def _rotated(text: str) -> str:
    return codecs.encode(text, "rot13")


@cache
def _compiled(name: str) -> Matcher:
    return matcher(cue_patterns()[name])


def _leet(word: str) -> Iterator[str]:
    """Yield patterns of a word with a digit or sign for a letter, by where the first one is."""
    for at, letter in enumerate(word):
        if classes := _LEET_CLASSES.get(letter):
            rest = "".join(_LEET_CLASSES.get(other, other) for other in word[at + 1 :])
            yield f"{word[:at]}{classes.replace(letter, '', 1)}{rest}"


def _spaced(text: str) -> Iterator[Piece]:
    data = text.encode("utf-8", "replace")
    at = chars = 0
    for found in _compiled("spaced").finditer(data):
        start, end = found.span()
        chars += len(data[at:start].decode())
        run = text[chars : chars + end - start]
        if joined := close_up(run):
            yield Piece(joined, chars, chars + len(run))
        at, chars = end, chars + len(run)


def close_up(run: str) -> str:
    """Return spaced letters as words, empty if they are mostly digits.

    The commonest separator stands within words, any other between them; where there is no
    other, known words are cut apart.
    """
    letters, gaps = _LETTER.findall(run), _LETTER.split(run)[1:-1]
    if sum(letter.isdigit() for letter in letters) * 2 > len(letters):
        return ""
    within = Counter(gaps).most_common(1)[0][0]
    closed = letters[0] + "".join(
        letter if gap == within else f" {letter}"
        for gap, letter in zip(gaps, letters[1:], strict=True)
    )
    return closed if " " in closed else " ".join(_known().sub(r" \1 ", closed).split())


@cache
def _known() -> "re.Pattern[str]":
    telling, beside, _ = words()
    known = sorted((*telling, *beside), key=len, reverse=True)
    return re.compile(f"({'|'.join(known)})", re.IGNORECASE)
