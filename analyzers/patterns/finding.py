"""Finds the spans of one rule in one view: RE2 says where, ``regex`` and checks say whether."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, NamedTuple

import regex

from llmtrace.analyzers.automata import Match, Matcher, matcher, weaken
from llmtrace.analyzers.normalize import MAX_DECODED, MAX_RUNS, fold
from llmtrace.analyzers.patterns import edges
from llmtrace.analyzers.patterns.beside import Words, named, sign_of_name
from llmtrace.analyzers.patterns.clock import Clock, Unfinished
from llmtrace.analyzers.patterns.rules import LEFT, Rule

CONFIRM_SECONDS: Final = 0.05
"""Processor time that the ``confirm`` pattern of one rule has for one view."""
AROUND: Final = (200, 200)
"""Code points before and after what ``pattern`` found in which ``confirm`` may match."""
AROUND_VALUE: Final = (4, 64)
"""The same for a value, which begins and ends about where ``pattern`` says."""
REACH: Final = 2_048
"""Bytes behind the end of a region that a match may have."""
MAX_HITS: Final = 10_000
"""Hits of one rule in one window; past that the rest is reported as skipped."""
MAX_REJECTED: Final = 2_000
"""Matches of one rule in one view that may be rejected (a wrong check digit, say), beside numbers
whose own name says that they are other things: rows of data have many."""

MAX_STARTS: Final = 64
"""Starts that are tried one by one before the exact pattern is searched for everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is done for one text; what is over it is told as skipped.

    ``hits`` are those of one rule in one window, ``rejected`` and ``seconds`` (of processor time
    for confirming) those of one rule in one view. ``decoded`` code points of ``runs`` encoded runs
    are read of one window.
    """

    hits: int = MAX_HITS
    rejected: int = MAX_REJECTED
    seconds: float = CONFIRM_SECONDS
    decoded: int = MAX_DECODED
    runs: int = MAX_RUNS


HURRIED: Final = Bounds()
"""For calls that wait, whoever writes the texts."""
PATIENT: Final = Bounds(hits=1 << 18, rejected=1 << 18, seconds=10.0, decoded=1 << 23, runs=1 << 18)
"""For one's own texts, of which nothing is to be left out: one window has no more of any."""


type Region = tuple[int, int]
"""Bytes of a view, half-open, in which a match may begin."""


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


class Found(NamedTuple):
    """Where a rule matched, in code points of the view: all of the match, and its value.

    ``begin`` is where the pattern began, where that is before what confirmed it.
    """

    start: int
    end: int
    value_start: int
    value_end: int
    in_context: bool = False
    begin: int = -1


_BARE: Final = re.compile(r"[0-9]+(?![A-Za-z0-9_]|[ ()./-]{1,2}[0-9])")
"""Digits that no other group of a number follows."""
OTHER: Final = Found(0, 0, 0, 0)
"""What is rejected for the name it has."""


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


class _Hunt:
    """One search of one rule through one view."""

    def __init__(self, finder: "Finder", scanned: Scanned, start: int, bounds: Bounds) -> None:
        self._finder = finder
        self._scanned = scanned
        self._cursor = _Cursor(scanned, start)
        self._clock = Clock(bounds.seconds)
        self._done = start
        self._rejected = 0
        self._most_rejected = bounds.rejected

    def region(self, begin: int, end: int) -> Iterator[Found]:
        """Yield what begins from byte ``begin`` to before byte ``end``."""
        finder = self._finder
        if not finder.rule.context_required:
            yield from self._stretch(begin, end, REACH)
            return
        data, (before, after) = self._scanned.data, finder.around_words
        size = 4 if len(data) > len(self._scanned.text) else 1
        for low, high, word in finder.words.near(data, begin, end, size * before, size * after):
            yield from self._stretch(low, high, size * finder.longest, word)

    def _stretch(self, begin: int, end: int, longest: int, word: int = 0) -> Iterator[Found]:
        """Yield what begins within, and ends behind the first word, if there is one."""
        finder, cursor, data = self._finder, self._cursor, self._scanned.data
        limit, word = min(len(data), end + longest), word - finder.behind
        if begin > cursor.byte:
            cursor.to(begin)
        while (match := finder.next(data, cursor.byte, limit)) is not None:
            first, last = match.span()
            if first >= end and end < len(data):
                return
            if last <= word:  # its value begins before there is any word
                cursor.to(first)
            elif found := self._judge(match):
                yield found
                self._done = found.end
                cursor.to(last)
                if first < last:
                    continue
            if not cursor.step():
                return

    def _judge(self, match: Match) -> Found | None:
        finder, text = self._finder, self._scanned.text
        met = finder.found(match, self._cursor)
        at = finder.labelled(text, met) if finder.rule.context_required else -1
        if at >= 0 and self._clock.of(partial(finder.is_other, text, at)):
            return None
        found = finder.accepted(text, met, self._done, self._clock)
        if found is OTHER:
            return None
        if found is None:
            self._rejected += 1
            if self._rejected > self._most_rejected:
                raise Unfinished("too_many")
        return found


class Finder:
    """One rule, ready to search. Compiled when it is first needed; safe to share.

    One for what stands ``behind`` an escape finds the rest too, and takes longer.
    """

    def __init__(self, rule: Rule, *, behind: bool = False) -> None:
        self.rule = rule
        self._behind = behind and rule.value
        apart = edges.behind(rule.anchor or rule.pattern, rule.confirm)
        self._opens = rule.value and (behind or not apart)
        self.pattern = edges.opened(rule.pattern, rule.confirm) if self._opens else rule.pattern

    def search(
        self,
        scanned: Scanned,
        start: int = 0,
        regions: Iterable[Region] = (),
        bounds: Bounds = HURRIED,
    ) -> Iterator[Found]:
        """Yield what the rule finds from ``start`` on, in order and apart.

        Where ``regions`` are given, only what begins in one of them is found, and that up to
        ``REACH`` bytes behind it. What is rejected takes no characters with it: the search goes
        on right behind its start.

        Raises:
            Unfinished: Confirming took too long, or too much was rejected.
        """
        hunt = _Hunt(self, scanned, start, bounds)
        for begin, end in regions or ((0, len(scanned.data)),):
            yield from hunt.region(begin, end)

    def prepare(self) -> None:
        """Compile all that is otherwise compiled when it is first needed."""
        _ = self._re2, self._weak
        if self.rule.confirm:
            _ = self._confirm

    @cached_property
    def _re2(self) -> Matcher:
        return matcher(self.pattern)

    @cached_property
    def _weak(self) -> Matcher | None:
        weaker = weaken(self.pattern)
        return None if self.rule.value or weaker == self.pattern else matcher(weaker)

    def next(self, data: bytes, at: int, limit: int) -> Match | None:
        """Return the first match from byte ``at`` to byte ``limit``.

        Where wide gaps are counted, an automaton for any start soon has more states than it may
        keep. The pattern without counts says where a match could start, the exact one is tried
        only there. Values have no wide gaps, and are searched for at once.
        """
        if self._weak is None:
            return self._re2.search(data, at, limit)
        for _ in range(MAX_STARTS):
            near = self._weak.search(data, at, limit)
            if near is None:
                return None
            begin = near.span()[0]
            if (match := self._re2.match(data, begin, limit)) is not None:
                return match
            at = begin + 1
        return self._re2.search(data, at, limit)

    @cached_property
    def _value_group(self) -> int:
        return self._re2.groupindex.get(b"value", 0)

    @cached_property
    def _confirm(self) -> "regex.Pattern[str]":
        confirm = self.rule.confirm
        return regex.compile(edges.confirmed_behind(confirm) if self._opens else confirm)

    @cached_property
    def _confirm_names(self) -> bool:
        return "value" in self._confirm.groupindex

    @cached_property
    def words(self) -> Words:
        """The context words of the rule."""
        folded = self.rule.view == "canonical"
        words = (fold(word).text if folded else word for word in self.rule.context)
        return Words(words, behind=self._behind)

    @cached_property
    def longest(self) -> int:
        """Code points that a match may have, with what confirms it."""
        most = self.rule.max_length
        return min(most + sum(self._around), REACH) if most else REACH

    @cached_property
    def _around(self) -> tuple[int, int]:
        return AROUND_VALUE if self.rule.value else AROUND

    @cached_property
    def around_words(self) -> tuple[int, int]:
        """Code points before and behind the start of a context word where a match can begin.

        What is confirmed touches the match and can have its value further on.
        """
        before, after = self._around
        within = self.words.longest  # one word may lie within another, to its end
        return self.longest + after, LEFT + within + before

    @cached_property
    def behind(self) -> int:
        """Bytes behind a match in which its value may begin."""
        return 4 * self._around[1] if self.rule.confirm and self._confirm_names else 0

    def found(self, match: Match, cursor: _Cursor) -> Found:
        """Return a match in code points; the cursor moves to where it begins."""
        first, last = match.span()
        start = cursor.to(first)
        end = cursor.ahead(last)
        if self._value_group:
            value_first, value_last = match.span(self._value_group)
            if value_first >= 0:
                return Found(start, end, cursor.ahead(value_first), cursor.ahead(value_last))
        return Found(start, end, start, end)

    def labelled(self, text: str, found: Found) -> int:
        """Return where the digits of a match begin if a name ends before them, seldom; else -1."""
        at = found.value_start + (not text[found.value_start].isdecimal())
        return at if sign_of_name(text, at) else -1

    def is_other(self, text: str, at: int) -> bool:
        """Whether digits alone have another name: sooner told than confirmed."""
        bare = _BARE.match(text, at)
        if bare is None or not named(text, at, bare.end()):
            return False
        return not self.words.before(text, at, bare.end())

    def accepted(self, text: str, found: Found, done: int, clock: Clock) -> Found | None:
        """Return the match if all that the rule asks for holds, perhaps narrowed.

        ``OTHER`` stands for a number that needs words beside it, and has another name.
        """
        rule, begin = self.rule, found.begin
        if rule.confirm:
            confirmed = self._confirmed(text, found, done, clock)
            if confirmed is None:
                return None
            found, begin = confirmed, min(found.start, confirmed.start)
        if found.value_start == found.value_end:
            return None
        if rule.context_required and not self._has_word(text, found):
            return OTHER if named(text, found.value_start, found.value_end) else None
        if rule.validator and not rule.validator(text[found.value_start : found.value_end]):
            return None
        known = rule.context_required or bool(rule.context and self._has_word(text, found))
        return Found(*found[:4], known, begin)

    def _has_word(self, text: str, found: Found) -> bool:
        return self.words.before(text, found.value_start, found.value_end)

    def _confirmed(self, text: str, found: Found, done: int, clock: Clock) -> Found | None:
        """Return the leftmost match of the confirming pattern that touches ``found``."""
        before, after = self._around
        low, high = max(done, found.start - before), min(len(text), found.end + after)
        while match := clock.search(self._confirm, text, low, high):
            if match.start() >= found.end:
                return None
            if found.start < match.end() > match.start():
                return self._named(match)
            low = max(match.end(), low + 1)
        return None

    def _named(self, match: "regex.Match[str]") -> Found:
        first, last = match.span()
        value = match.span("value") if self._confirm_names else (-1, -1)
        return Found(first, last, *(value if value[0] >= 0 else (first, last)))
