"""Words before a value that say what it is: of nine digits, a phone number or an order's."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from llmtrace.analyzers.automata import matcher
from llmtrace.analyzers.patterns.edges import ESCAPE
from llmtrace.analyzers.patterns.rules import LEFT

BEFORE: Final = 4 * LEFT
"""Bytes that ``LEFT`` code points may take."""
_ESCAPE: Final = re.compile(ESCAPE)
_LABEL: Final = re.compile(
    r"(?:\"|(?<![A-Za-z0-9_]))([A-Za-z][A-Za-z0-9_.-]{0,40})(?:\\?\"\s{0,2}:|\s{0,2}=)\s{0,2}\Z"
)
"""The name of a bare number: of a member of JSON, which may stand in a string, or assigned to."""
_NAME_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


class Words:
    """Some words, looked for as whole words without regard to case. Safe to share."""

    def __init__(self, words: Iterable[str], *, behind: bool = False) -> None:
        """Take the words. ``near`` tells of those right behind an escape if ``behind`` says so."""
        ranked = sorted(words, key=len, reverse=True)  # ppsn before pps, which is no word in it
        self._any = matcher(f"(?i)(?:{_any_of(ranked)})")
        # RE2 knows the boundaries of ASCII words alone
        inner = [word for word in ranked if re.match("[A-Za-z0-9]", word)]
        other = [word for word in ranked if word not in inner]
        starts = [rf"(?:\b|_)(?:{_any_of(inner)})"] if inner else []
        starts += [_any_of(other)] if other else []
        self.pattern = f"(?i)(?:{'|'.join(starts)})(?:[^a-z0-9]|$)"
        """What matches wherever one may stand but behind an escape, and little else."""
        self.behind = rf"(?i){ESCAPE}(?:{_any_of(ranked)})(?:[^a-z0-9]|$)"
        """What matches where one stands right behind an escape."""
        self._likely = matcher(f"{self.pattern}|{self.behind}" if behind else self.pattern)

    def before(self, text: str, at: int) -> bool:
        """Whether one stands within ``LEFT`` code points before ``at``.

        Behind the name of other numbers (``labels.yaml``), only one in that name counts.
        """
        low = max(0, at - LEFT)
        label = _LABEL.search(text, low, at)
        if label and _NAME_WORD.findall(label[1])[-1].lower() in numbered():
            low = label.start(1)
        data = text[low:at].encode("utf-8", "replace")
        plain = len(data) == at - low
        for match in self._any.finditer(data):
            first, last = match.span()
            start = low + (first if plain else len(data[:first].decode()))
            end = low + (last if plain else len(data[:last].decode()))
            if text[end : end + 1].isalnum() or _ESCAPE.match(text, max(0, start - 1)):
                continue  # of \\nif, the word is if
            if not text[start - 1 : start].isalnum() or _ESCAPE.match(text, max(0, start - 2)):
                return True
        return False

    def near(
        self, data: bytes, begin: int, end: int, before: int, after: int
    ) -> Iterator[tuple[int, int, int]]:
        """Yield stretches of ``begin:end``, in order and apart, around all that may be one.

        Each reaches from ``before`` bytes before the start of a word to ``after`` behind it, and
        comes with where the first of its words starts.
        """
        low = high = first = begin
        at = max(0, begin - BEFORE)
        while (match := self._likely.search(data, at, min(len(data), end + before))) is not None:
            start, at = match.span()
            if start - before > high:
                if low < high:
                    yield low, high, first
                low, first = start - before, start
                while data[low] & 0xC0 == 0x80:
                    low -= 1  # not within a character
            elif low == high:
                first = start
            if low >= end:
                return
            high = max(high, min(end, start + after))
        if low < high:
            yield low, high, first


@cache
def numbered() -> frozenset[str]:
    """Return the last words of names whose numbers are no person's."""
    text = (files("llmtrace.analyzers.patterns") / "labels.yaml").read_text(encoding="utf-8")
    return frozenset(yaml.safe_load(text)["numbered"])


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, words))
