"""Finds the spans of one rule in one view: RE2 says where, ``regex`` and checks say whether."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import regex

from llmtrace.analyzers.automata import Match, Matcher, matcher
from llmtrace.analyzers.normalize import fold
from llmtrace.analyzers.patterns.rules import LEFT, Rule

CONFIRM_SECONDS: Final = 0.05
"""Time that the ``confirm`` pattern of one rule has for one view."""
AROUND: Final = 200
"""Code points on each side of what ``pattern`` found in which ``confirm`` looks."""
MAX_REJECTED: Final = 2_000
"""Matches of one rule in one view that may be rejected (a wrong check digit, say)."""


class Unfinished(Exception):
    """A rule cannot be taken to its end on a text; ``reason`` is timeout or too_many."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Scanned:
    """A view as it is searched: its text, and that in UTF-8.

    Lone surrogates, which UTF-8 does not have, are question marks there: one for one.
    """

    text: str
    data: bytes

    @classmethod
    def of(cls, text: str) -> "Scanned":
        """Encode a text."""
        return cls(text, text.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Found:
    """Where a rule matched, in code points of the view: all of the match, and its value."""

    start: int
    end: int
    value_start: int
    value_end: int
    in_context: bool = False


class _Cursor:
    """A place in a text, in bytes and in code points; it only moves on."""

    __slots__ = ("_data", "_plain", "byte", "char")

    def __init__(self, scanned: Scanned, char: int) -> None:
        self._data = scanned.data
        self._plain = len(scanned.data) == len(scanned.text)
        self.char = char
        self.byte = char if self._plain else len(scanned.text[:char].encode("utf-8", "replace"))

    def to(self, byte: int) -> int:
        """Move on to a byte; return the code point there."""
        if self._plain:
            self.char = byte
        else:
            self.char += len(self._data[self.byte : byte].decode())
        self.byte = byte
        return self.char

    def ahead(self, byte: int) -> int:
        """Return the code point at a byte further on, without moving."""
        return byte if self._plain else self.char + len(self._data[self.byte : byte].decode())

    def step(self) -> bool:
        """Move on by one code point; false at the end."""
        if self.byte >= len(self._data):
            return False
        lead = self._data[self.byte]
        self.byte += 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        self.char += 1
        return True


class Finder:
    """One rule, ready to search. Compiled when it is first needed; safe to share."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def search(self, scanned: Scanned, start: int = 0) -> Iterator[Found]:
        """Yield what the rule finds from ``start`` on, in order and apart.

        What is rejected takes no characters with it: the search goes on right behind its start.

        Raises:
            Unfinished: Confirming took too long, or too much was rejected.
        """
        cursor = _Cursor(scanned, start)
        until = time.monotonic() + CONFIRM_SECONDS
        done, rejected = start, 0
        while (match := self._re2.search(scanned.data, cursor.byte)) is not None:
            found = self._accepted(scanned.text, self._found(match, cursor), done, until)
            if found:
                yield found
                done = found.end
                first, last = match.span()
                cursor.to(last)
                if first < last:
                    continue
            elif (rejected := rejected + 1) > MAX_REJECTED:
                raise Unfinished("too_many")
            if not cursor.step():
                return

    @cached_property
    def _re2(self) -> Matcher:
        return matcher(self.rule.pattern)

    @cached_property
    def _value_group(self) -> int:
        return self._re2.groupindex.get(b"value", 0)

    @cached_property
    def _confirm(self) -> "regex.Pattern[str]":
        return regex.compile(self.rule.confirm)

    @cached_property
    def _words(self) -> "re.Pattern[str]":
        folded = self.rule.view == "canonical"
        words = "|".join(
            re.escape(fold(word).text if folded else word) for word in self.rule.context
        )
        return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])", re.IGNORECASE)

    def _found(self, match: Match, cursor: _Cursor) -> Found:
        """Return a match in code points; the cursor moves to where it begins."""
        places = [*match.span(), *match.span(self._value_group)]
        if places[2] < 0:
            places[2:] = places[:2]
        start = cursor.to(places[0])
        last, value_start, value_end = (cursor.ahead(place) for place in places[1:])
        return Found(start, last, value_start, value_end)

    def _accepted(self, text: str, found: Found, done: int, until: float) -> Found | None:
        """Return the match if all that the rule asks for holds, perhaps narrowed."""
        rule = self.rule
        if rule.confirm:
            confirmed = self._confirmed(text, found, done, until)
            if confirmed is None:
                return None
            found = confirmed
        if found.value_start == found.value_end:
            return None
        if rule.validator and not rule.validator(text[found.value_start : found.value_end]):
            return None
        if not rule.context:
            return found
        left = max(0, found.value_start - LEFT)
        if self._words.search(text, left, found.value_start):
            return replace(found, in_context=True)
        return None if rule.context_required else found

    def _confirmed(self, text: str, found: Found, done: int, until: float) -> Found | None:
        """Return the first match of the confirming pattern that touches ``found``."""
        low, high = max(done, found.start - AROUND), min(len(text), found.end + AROUND)
        left = until - time.monotonic()
        if left <= 0:
            raise Unfinished("timeout")
        try:
            for match in self._confirm.finditer(text, low, high, concurrent=True, timeout=left):
                first, last = match.span()
                if first < found.end and found.start < last:
                    named = match.span("value") if "value" in self._confirm.groupindex else (-1, 0)
                    value = named if named[0] >= 0 else (first, last)
                    return Found(first, last, *value)
        except TimeoutError as error:
            raise Unfinished("timeout") from error
        return None
