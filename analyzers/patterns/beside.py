"""Words before a value that say what it is: of nine digits, a phone number or an order's."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

import yaml

from llmtrace.analyzers.automata import matcher
from llmtrace.analyzers.patterns.edges import ESCAPE
from llmtrace.analyzers.patterns.rules import LEFT

BEFORE: Final = 4 * LEFT
"""Bytes that ``LEFT`` code points may take."""
_ESCAPE: Final = re.compile(ESCAPE)
_MEMBER: Final = re.compile(r"\"([^\"\\\n]{1,64})\\?\"\s{0,2}:\s{0,2}\Z")
"""The name of a member of JSON, which may stand in a string, right before its bare number."""
_ASSIGNED: Final = re.compile(
    r"( {0,2})(?<![A-Za-z0-9_])([A-Za-z][A-Za-z0-9_.-]{0,40})\s{0,2}=\s{0,2}\Z"
)
"""The name that a number is assigned to, and the spaces before it."""
_SPACED: Final = 6
"""How far before a value the quote stands that ends its name, at most."""
_NAME_WORD: Final = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+")
_FIRST_WORD: Final = re.compile(r"[^\W\d_]*")


class Words:
    """Some words, looked for as whole words without regard to case. Safe to share."""

    def __init__(self, words: Iterable[str], *, behind: bool = False) -> None:
        """Take the words. ``near`` tells of those right behind an escape if ``behind`` says so."""
        ranked = sorted(words, key=len, reverse=True)  # ppsn before pps, which is no word in it
        self.longest = len(ranked[0]) + 2 if ranked else 0
        """Code points from where one begins, or the sign before it, to the sign behind it."""
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

    def before(self, text: str, at: int, end: int) -> bool:
        """Whether one stands within ``LEFT`` code points before the value at ``at:end``.

        Behind the name of other numbers (``labels.yaml``), only one in that name counts.
        """
        low, least = max(0, at - LEFT), named(text, at, end)
        data = text[low:at].encode("utf-8", "replace")
        plain = len(data) == at - low
        for match in self._any.finditer(data):
            first, last = match.span()
            start = low + (first if plain else len(data[:first].decode()))
            stop = low + (last if plain else len(data[:last].decode()))
            if stop < least or text[stop : stop + 1].isalnum() or _cut(text, start, stop):
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


class _Labels(NamedTuple):
    """Words by which a number, or what stands behind a backslash, is told to be another thing."""

    numbered: frozenset[str]
    last: frozenset[str]
    code: frozenset[str]


@cache
def _labels() -> _Labels:
    text = (files("llmtrace.analyzers.patterns") / "labels.yaml").read_text(encoding="utf-8")
    return _Labels(**{name: frozenset(words) for name, words in yaml.safe_load(text).items()})


def sign_of_name(text: str, at: int) -> str:
    """Return the sign that ends a name right before a value, ``:`` or ``=``; empty without one."""
    before = text[max(0, at - _SPACED) : at].rstrip()
    if before.endswith("="):
        return "="
    return ":" if before.endswith(":") and before[:-1].rstrip().endswith('"') else ""


def named(text: str, at: int, end: int) -> int:
    """Return 0, or, behind the name of other numbers, where a word that counts ends at least.

    Of a member of JSON all of the name counts; of what a number is assigned to, a word right
    before it too if the name is but one: ``tax id=86095742719``. A value that is not of digits
    alone says for itself what it is.
    """
    if not (sign := sign_of_name(text, at)) or not text[at:end].isdecimal():
        return 0
    low = max(0, at - LEFT)
    if sign == ":":
        member = _MEMBER.search(text, low, at)
        return member.start(1) + 1 if member and _numbers(_NAME_WORD.findall(member[1])) else 0
    assigned = _ASSIGNED.search(text, low, at)
    words = _NAME_WORD.findall(assigned[2]) if assigned else []
    if assigned is None or not _numbers(words):
        return 0
    return max(assigned.start(1), 1) if len(words) == 1 else assigned.start(2) + 1


def _numbers(words: list[str]) -> bool:
    """Whether the words of a name say that its numbers are no person's."""
    last = words[-1].lower() if words else ""
    return last in _labels().numbered or (len(words) > 1 and last in _labels().last)


def _cut(text: str, start: int, stop: int) -> bool:
    r"""Whether a word begins with the letter of an escape: of ``\nif``, but not of ``\fax``."""
    if not _ESCAPE.match(text, max(0, start - 1)):
        return False
    rest = _FIRST_WORD.match(text, start + 1, stop)
    return rest is not None and rest[0].lower() in _labels().code


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, words))
