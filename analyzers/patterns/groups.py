"""Rules that look at the same view, matched at once, to see which of them could match where."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import batched, groupby, product
from typing import Final

from llmtrace.analyzers.automata import Together, together, weaken
from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.patterns.finding import REACH, Finder, Region, Scanned
from llmtrace.analyzers.patterns.holds import Hold, holds_of
from llmtrace.analyzers.patterns.rules import LEFT, Rule
from llmtrace.domain.parts import Role

AT_ONCE: Final = (40, 9_000)
"""Rules, and characters of their patterns, of one automaton. One automaton of all rules would be
the fastest on text like that before; but each of its states is a product of all that the rules
wait for, and new text would meet new states for ever."""
PIECE: Final = 16_384
"""Bytes after which a view is cut for the automata, so that few rules are candidates in each."""


@dataclass(frozen=True, slots=True)
class _Set:
    """An automaton, the number of its first rule, and for whose words any of its rules is."""

    first: int
    patterns: Together
    places: frozenset[tuple[Role, Direction]]


class Group:
    """Rules that look at the same view, matched at once. Compiled when first needed."""

    def __init__(self, rules: Iterable[Rule], *, whole: bool) -> None:
        self._finders = [Finder(rule) for rule in rules]
        self._whole = whole

    def prepare(self) -> None:
        """Compile each rule by itself."""
        for finder in self._finders:
            finder.prepare()

    @cached_property
    def _sets(self) -> Sequence[_Set]:
        patterns = [weaken(f.rule.anchor or f.rule.pattern) for f in self._finders]
        packs = [f.rule.source for f in self._finders]
        return [
            _Set(first, together(patterns[first:end]), _places(self._finders[first:end]))
            for first, end in shares(packs, patterns)
        ]

    def candidates(
        self, scanned: Scanned, context: Context
    ) -> Iterator[tuple[Finder, Sequence[Region]]]:
        """Yield the rules that could match and that apply to such a text, and where."""
        place = (context.role, context.direction)
        sets = [one for one in self._sets if place in one.places]
        found: dict[int, list[Region]] = {}
        for region, data in _pieces(scanned.data, whole=self._whole) if sets else ():
            for one in sets:
                for index in one.patterns.Match(data) or ():
                    found.setdefault(one.first + index, []).append(region)
        for index in sorted(found):
            rule = self._finders[index].rule
            if context.role in rule.roles and context.direction in rule.directions:
                yield self._finders[index], found[index]


def _places(finders: Iterable[Finder]) -> frozenset[tuple[Role, Direction]]:
    return frozenset(place for f in finders for place in product(f.rule.roles, f.rule.directions))


def _pieces(data: bytes, *, whole: bool) -> Iterator[tuple[Region, bytes]]:
    """Cut a text where it is long, so that a rule that could match is searched for only there.

    Each piece comes with what is around it: any match that begins in it and is not longer than
    ``REACH`` lies within.
    """
    if whole or len(data) <= 3 * PIECE // 2:
        yield (0, len(data)), data
        return
    begin = 0
    while begin < len(data):
        end = begin + PIECE
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1  # not within a character
        end = min(end, len(data))
        yield (begin, end), data[max(0, begin - LEFT) : end + REACH]
        begin = end


def shares(packs: Sequence[str], patterns: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield from where to where patterns go into one automaton.

    Patterns of one pack stay together where they can: they wait for similar things, and so make
    fewer states. Small packs are put together.
    """
    most, longest = AT_ONCE
    first = end = 0
    for _, rules in groupby(range(len(packs)), key=packs.__getitem__):
        for part in batched(rules, most):
            size = sum(len(pattern) for pattern in patterns[first : part[-1] + 1])
            if first < end and (part[-1] + 1 - first > most or size > longest):
                yield first, end
                first = end
            end = part[-1] + 1
    if first < end:
        yield first, end


class Groups:
    """Some rules by the view that they look at; those that find long spans apart."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.canonical = self._of(rules, "canonical")
        self.original = self._of(rules, "original")
        self.holds = {
            view: holds_of(
                Hold(rule.hold, rule.max_length, rule.begin, rule.end)
                for rule in rules
                if rule.view == view and rule.hold
            )
            for view in ("canonical", "original")
        }

    @staticmethod
    def _of(rules: Sequence[Rule], view: str) -> tuple[Group, ...]:
        by_length: dict[bool, list[Rule]] = {}
        for rule in rules:
            if rule.view == view:
                by_length.setdefault(rule.max_length * 4 > REACH, []).append(rule)
        return tuple(Group(found, whole=long) for long, found in by_length.items())
