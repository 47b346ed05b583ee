"""Rules that look at the same view, matched at once, to see which of them could match where."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import Final

from llmtrace.analyzers.automata import Matcher, Together, is_open, matcher, together, weaken
from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.normalize.repairs import cue_patterns
from llmtrace.analyzers.patterns.edges import behind, loose
from llmtrace.analyzers.patterns.finding import REACH, Finder, Region, Scanned
from llmtrace.analyzers.patterns.holds import Hold, holds_of
from llmtrace.analyzers.patterns.rules import LEFT, Rule
from llmtrace.domain.parts import Role

AT_ONCE: Final = (100, 32_000)
"""Rules, and characters of their patterns, of one automaton. One automaton of all rules would be
the fastest on text like that before; but each of its states is a product of all that the rules
wait for, and new text would meet new states for ever. So those go together that wait for alike:
``_nature``."""
PIECE: Final = 16_384
"""Bytes after which a view is cut for the automata, so that few rules are candidates in each."""


LONG: Final = "longer than a piece"
WORDS_BESIDE: Final = "words beside a value"
"""Cues go with these: their automaton stays small, and a pass more costs 2 µs per KB."""
EVERYWHERE: Final = frozenset(product(Role, Direction))
NOTHING: Final[Mapping[str, str]] = {}
VALUE_BEHIND: Final = r"\\[nrtbf](?:[A-Za-z]{0,12}[ :=#_.-]{0,3}[0-9+(]|[A-Za-z0-9_+/=.-]{20})"
"""An escape behind which there may be a value: digits, or a word and digits, or a long token."""
_WORD: Final = re.compile("[a-z]{3}")


@cache
def _value_behind() -> Matcher:
    return matcher(VALUE_BEHIND)


@dataclass(frozen=True, slots=True)
class _Set:
    """An automaton, the numbers that each of its patterns has, and for whose words any rule is.

    ``whole`` says that its patterns may be longer than a piece.
    """

    numbers: Sequence[Sequence[int]]
    patterns: Together
    places: frozenset[tuple[Role, Direction]]
    whole: bool

    def match(self, data: bytes) -> list[int]:
        """Return the numbers of the patterns that match."""
        return [n for index in self.patterns.Match(data) or () for n in self.numbers[index]]


class Group:
    """Rules that look at the same view, matched at once. Compiled when first needed.

    ``cues`` are looked for in the same pass, whosever words they are: name → pattern.
    """

    def __init__(self, rules: Iterable[Rule], cues: Mapping[str, str] = NOTHING) -> None:
        self._finders = [Finder(rule) for rule in rules]
        self._cues = cues
        self._by_place: dict[tuple[Role, Direction], Sequence[_Set]] = {}

    def prepare(self) -> None:
        """Compile each rule by itself."""
        for finder in self._finders:
            finder.prepare()

    @cached_property
    def _sets(self) -> Sequence[_Set]:
        rules = [finder.rule for finder in self._finders]
        patterns = [weaken(_anchor(rule)) for rule in rules]
        for number in self._words:
            rules.append(rules[number])
            patterns.append(self._finders[number].words.pattern)
        places = [_places(rule) for rule in rules] + [EVERYWHERE] * len(self._cues)
        natures = list(map(_nature, rules, patterns)) + [WORDS_BESIDE] * len(self._cues)
        alike: dict[tuple[str, str], list[int]] = {}
        for number, like in enumerate(zip(natures, [*patterns, *self._cues.values()], strict=True)):
            alike.setdefault(like, []).append(number)
        kept = list(alike)
        return [
            _Set(
                [alike[kept[n]] for n in share],
                together([kept[n][1] for n in share]),
                frozenset().union(*(places[number] for n in share for number in alike[kept[n]])),
                whole=kept[share[0]][0] == LONG,
            )
            for share in shares(*(zip(*kept, strict=True) if kept else ((), ())))
        ]

    def _sets_for(self, role: Role, direction: Direction) -> Sequence[_Set]:
        place = (role, direction)
        sets = self._by_place.get(place)
        if sets is None:
            sets = self._by_place[place] = [one for one in self._sets if place in one.places]
        return sets

    @cached_property
    def _words(self) -> Mapping[int, int]:
        """The rules that are for a shape beside words, and the numbers of the patterns of these."""
        beside = [
            number
            for number, rule in enumerate(finder.rule for finder in self._finders)
            if rule.context_required and not _names(rule.anchor or rule.pattern)
        ]
        return {number: len(self._finders) + at for at, number in enumerate(beside)}

    @cached_property
    def _behind(self) -> _Set | None:
        """What stands right behind an escape: values and the words beside them."""
        patterns: dict[int, str] = {}
        for number, rule in enumerate(finder.rule for finder in self._finders):
            if rule.value and (pattern := behind(rule.anchor or rule.pattern, rule.confirm)):
                patterns[number] = pattern
        patterns |= {at: self._finders[number].words.behind for number, at in self._words.items()}
        if not patterns:
            return None
        made = together([weaken(pattern) for pattern in patterns.values()])
        return _Set([[number] for number in patterns], made, EVERYWHERE, whole=False)

    @cached_property
    def _openers(self) -> list[Finder]:
        """The rules for texts with values behind escapes."""
        return [Finder(finder.rule, behind=True) for finder in self._finders]

    @cached_property
    def _beside(self) -> Mapping[int, int]:
        """The rules by the numbers of the words beside them."""
        return {at: number for number, at in self._words.items()}

    @cached_property
    def _cue_names(self) -> Mapping[int, str]:
        """The numbers of the cues, behind those of the rules and of the words beside these."""
        return dict(enumerate(self._cues, len(self._finders) + len(self._words)))

    def candidates(
        self, scanned: Scanned, context: Context, cues: set[str] | None = None
    ) -> Iterator[tuple[Finder, Sequence[Region]]]:
        """Yield the rules that could match and that apply to such a text, and where.

        The names of the cues that are in it are added to ``cues``, before the first is yielded.
        """
        sets, data = self._sets_for(context.role, context.direction), scanned.data
        if not sets:
            return
        found: dict[int, list[Region]] = {}
        escaped: set[int] = set()
        names = self._cue_names
        for region, piece in _pieces(data):
            seen = [n for one in sets if not one.whole for n in one.match(piece)]
            if b"\\" in piece and self._behind and _value_behind().search(piece):
                beyond = self._behind.match(piece)
                seen += beyond
                escaped |= {self._beside.get(number, number) for number in beyond}
            for number in dict.fromkeys(seen):
                if number < len(self._finders):
                    if self._words.get(number, number) in seen:
                        found.setdefault(number, []).append(region)
                elif cues is not None and number in names:
                    cues.add(names[number])
        for one in sets:
            if one.whole:
                found.update((number, []) for number in one.match(data))
        for number in sorted(found):
            finder = self._openers[number] if number in escaped else self._finders[number]
            rule = finder.rule
            if context.role in rule.roles and context.direction in rule.directions:
                yield finder, ((0, len(data)),) if _is_long(rule) else found[number]


def _names(pattern: str) -> bool:
    """Whether a pattern has words in it, and not the shape of a value alone."""
    return _WORD.search(pattern) is not None


def _anchor(rule: Rule) -> str:
    anchor = rule.anchor or rule.pattern
    return loose(anchor, rule.confirm) if rule.value else anchor


def _places(rule: Rule) -> frozenset[tuple[Role, Direction]]:
    return frozenset(product(rule.roles, rule.directions))


def _is_long(rule: Rule) -> bool:
    return rule.max_length * 4 > REACH


def _nature(rule: Rule, pattern: str) -> str:
    """Return what a rule waits for: rules that wait for alike share their states.

    Those for few texts, tool descriptions or answers, are apart, and cost the others nothing.
    """
    if _is_long(rule) and not rule.anchor:
        return LONG
    if rule.roles == {Role.TOOL_DESCRIPTION}:
        return "tool descriptions"
    if rule.directions == {Direction.ANSWER}:
        return "answers"
    if rule.context_required and _names(pattern):
        return WORDS_BESIDE
    if rule.value:
        return f"values of {rule.family}"
    return "gaps" if is_open(pattern) else "words"


def _pieces(data: bytes) -> Iterator[tuple[Region, bytes]]:
    """Cut a text where it is long, so that a rule that could match is searched for only there.

    Each piece comes with what is around it: any match that begins in it and is not longer than
    ``REACH`` lies within, or the anchor of one that is.
    """
    if len(data) <= 3 * PIECE // 2:
        yield (0, len(data)), data
        return
    begin = 0
    while begin < len(data):
        end = begin + PIECE
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1  # not within a character
        end = min(end, len(data))
        yield (begin, end), data[max(0, begin - 4 * LEFT) : end + REACH]
        begin = end


def shares(natures: Sequence[str], patterns: Sequence[str]) -> Sequence[Sequence[int]]:
    """Return the numbers of the patterns that go into one automaton, for each automaton.

    Patterns of other natures never meet; those of one nature are put together, the longest first,
    as far as ``AT_ONCE`` lets them.
    """
    most, longest = AT_ONCE
    made: dict[str, list[tuple[list[int], int]]] = {}
    for number in sorted(range(len(patterns)), key=lambda n: -len(patterns[n])):
        size = len(patterns[number])
        bins = made.setdefault(natures[number], [])
        for at, (share, filled) in enumerate(bins):
            if len(share) < most and filled + size <= longest:
                share.append(number)
                bins[at] = (share, filled + size)
                break
        else:
            bins.append(([number], size))
    return [sorted(share) for bins in made.values() for share, _ in bins]


class Groups:
    """Some rules by the view that they look at."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.canonical = Group((rule for rule in rules if rule.view == "canonical"), cue_patterns())
        self.original = Group(rule for rule in rules if rule.view == "original")
        self.holds = {
            view: holds_of(
                Hold(rule.hold, rule.max_length, rule.begin, rule.end)
                for rule in rules
                if rule.view == view and rule.hold
            )
            for view in ("canonical", "original")
        }
