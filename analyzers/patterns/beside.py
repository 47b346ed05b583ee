"""Words before a value that say what it is: of nine digits, a phone number or an order's."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from llmtrace.analyzers.automata import matcher
from llmtrace.analyzers.patterns.edges import ESCAPE
from llmtrace.analyzers.patterns.rules import LEFT

BEFORE: Final = 4 * LEFT
"""Bytes that ``LEFT`` code points may take."""
_ESCAPE: Final = re.compile(ESCAPE)


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
        """Whether one stands within ``LEFT`` code points before ``at``."""
        low = max(0, at - LEFT)
        data = text[low:at].encode("utf-8", "replace")
        plain = len(data) == at - low
        for match in self._any.finditer(data):
            first, last = match.span()
            start = low + (first if plain else len(data[:first].decode()))
            end = low + (last if plain else len(data[:last].decode()))
            if text[end : end + 1].isalnum():
                continue
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


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, words))
