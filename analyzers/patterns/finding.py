"""Finds the spans of one rule in one view: RE2 says where, ``regex`` whether."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import regex

from llmtrace.analyzers.automata import Matcher, matcher
from llmtrace.analyzers.patterns.rules import LEFT, Rule

CONFIRM_SECONDS: Final = 0.05
"""Time that the ``confirm`` pattern of one rule has for one view."""
AROUND: Final = 200
"""Code points on each side of what ``pattern`` found in which ``confirm`` looks."""


class TookTooLong(Exception):
    """A confirming pattern ran out of time; its rule has no hits in this text."""


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


class Finder:
    """One rule, ready to search. Compiled when it is first needed; safe to share."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def search(self, scanned: Scanned, start: int = 0) -> Iterator[Found]:
        """Yield what the rule finds from ``start`` on, in order.

        Raises:
            TookTooLong: The confirming pattern did not come to an end in time.
        """
        spans = self._matches(scanned, start)
        if self.rule.confirm:
            spans = self._confirmed(scanned.text, spans, start)
        for found in spans:
            in_context = self._in_context(scanned.text, found.value_start)
            if (in_context or not self.rule.context_required) and self._valid(scanned.text, found):
                yield Found(found.start, found.end, found.value_start, found.value_end, in_context)

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
    def _words(self) -> "re.Pattern[str] | None":
        if not self.rule.context:
            return None
        words = "|".join(re.escape(word) for word in self.rule.context)
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)

    def _matches(self, scanned: Scanned, start: int) -> Iterator[Found]:
        data, group = scanned.data, self._value_group
        plain = len(data) == len(scanned.text)
        begin = start if plain else len(scanned.text[:start].encode("utf-8", "replace"))
        at, chars = begin, start
        for match in self._re2.finditer(data, begin):
            first, last = match.span()
            value = match.span(group) if group else (first, last)
            if value[0] < 0:
                value = (first, last)
            if first == last or value[0] == value[1]:
                continue
            if plain:
                yield Found(first, last, *value)
                continue
            places = {}
            for place in sorted({first, last, *value}):
                chars += len(data[at:place].decode())
                at = places[place] = place
                places[place] = chars
            yield Found(places[first], places[last], places[value[0]], places[value[1]])

    def _confirmed(self, text: str, spans: Iterable[Found], start: int) -> Iterator[Found]:
        """Search the confirming pattern around each span; all of them within one time limit."""
        until = time.monotonic() + CONFIRM_SECONDS
        grouped = "value" in self._confirm.groupindex
        done = start
        for low, high, cores in _windows(spans, len(text), start):
            left = until - time.monotonic()
            if left <= 0:
                raise TookTooLong(self.rule.name)
            try:
                for match in self._confirm.finditer(
                    text, max(low, done), high, concurrent=True, timeout=left
                ):
                    first, last = match.span()
                    if first < last and any(a < last and first < b for a, b in cores):
                        value = match.span("value") if grouped else (first, last)
                        yield Found(first, last, *(value if value[0] >= 0 else (first, last)))
                        done = last
            except TimeoutError as error:
                raise TookTooLong(self.rule.name) from error

    def _in_context(self, text: str, start: int) -> bool:
        words = self._words
        return words is not None and words.search(text, max(0, start - LEFT), start) is not None

    def _valid(self, text: str, found: Found) -> bool:
        validator = self.rule.validator
        return validator is None or validator(text[found.value_start : found.value_end])


def _windows(
    spans: Iterable[Found], length: int, start: int
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Join the surroundings of spans, so that no text is searched twice."""
    low = high = -1
    cores: list[tuple[int, int]] = []
    for span in spans:
        if cores and span.start - AROUND > high:
            yield low, high, cores
            cores = []
        if not cores:
            low = max(start, span.start - AROUND)
        high = min(length, span.end + AROUND)
        cores.append((span.start, span.end))
    if cores:
        yield low, high, cores
