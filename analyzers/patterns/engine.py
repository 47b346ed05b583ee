"""All rules over one text: one pass to see which could match, then only those, exactly.

``re2.Set.Match`` releases the interpreter lock while it runs, so threads scan side by side.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from llmtrace.analyzers.automata import together
from llmtrace.analyzers.base import Context, Hit
from llmtrace.analyzers.normalize import fold
from llmtrace.analyzers.patterns.finding import Finder, Found, Scanned, TookTooLong
from llmtrace.analyzers.patterns.holds import Hold, fits, holds_of, undecided
from llmtrace.analyzers.patterns.overlaps import resolve
from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Origin

MAX_HITS: Final = 10_000
"""Hits of one rule in one text; past that the rest is reported as skipped."""
ENGINE: Final = "1"
"""Changes when the same rules could find something else."""


class Seen(Protocol):
    """A view: a text, and where its characters came from."""

    @property
    def text(self) -> str:
        """What is searched."""
        ...

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``start:end`` stands for."""
        ...


@dataclass(frozen=True, slots=True)
class Skipped:
    """A rule that could not be taken to its end on a text: ``timeout`` or ``too_many``."""

    detector: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that rules say of a text. Without ``skipped``, every rule looked at all of it."""

    hits: Sequence[Hit]
    skipped: tuple[Skipped, ...] = ()


class _Group:
    """The rules of one kind of view, matched at once."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.finders = [Finder(rule) for rule in rules]
        self._set = together([f.rule.anchor or f.rule.pattern for f in self.finders])

    def candidates(self, scanned: Scanned, context: Context) -> Iterator[Finder]:
        """Yield the rules that could match and that apply to such a text."""
        if not self.finders:
            return
        for index in sorted(self._set.Match(scanned.data) or ()):
            rule = self.finders[index].rule
            if context.role in rule.roles and context.direction in rule.directions:
                yield self.finders[index]


class PatternAnalyzer:
    """Matches the rules of packs. Immutable once built; safe to share between threads."""

    def __init__(self, rules: Iterable[Rule], *, name: str = "patterns") -> None:
        self._rules = tuple(rules)
        self._name = name
        self._canonical = _Group(rule for rule in self._rules if rule.view == "canonical")
        self._original = _Group(rule for rule in self._rules if rule.view == "original")
        held = [rule for rule in self._rules if rule.hold]
        self._holds = {
            view: holds_of(
                Hold(r.hold, r.max_length, r.begin, r.end) for r in held if r.view == view
            )
            for view in ("canonical", "original")
        }
        seal = hashlib.blake2b(ENGINE.encode(), digest_size=12)
        for rule in self._rules:
            seal.update(f"\n{rule.name} {rule.version}".encode())
        self._version = seal.hexdigest()

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return self._name

    @property
    def version(self) -> str:
        """A seal over the packs."""
        return self._version

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules it matches."""
        return self._rules

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits, ordered by start. An empty text has none."""
        return self.inspect(text, context).hits

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return the hits, and what could not be looked for."""
        if not text:
            return Inspection(())
        search = _Search(context)
        folded = fold(text)
        scanned = Scanned.of(folded.text)
        search.view(self._canonical, folded, scanned)
        same = folded.text is text
        search.view(self._original, _Itself(text), scanned if same else Scanned.of(text))
        return Inspection(resolve(search.hits, search.known), tuple(search.skipped))

    def undecided(self, text: str) -> int:
        """Return where the undecided tail of ``text`` begins, ``len(text)`` if there is none."""
        folded = fold(text)
        canonical = folded.cut(undecided(folded.text, self._holds["canonical"]))
        return min(canonical, undecided(text, self._holds["original"]))


@dataclass(frozen=True, slots=True)
class _Itself:
    """A text as its own view."""

    text: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        return start, end


class _Search:
    """What is gathered while one text is searched."""

    def __init__(self, context: Context) -> None:
        self.hits: list[Hit] = []
        self.known: list[tuple[int, int]] = []
        self.skipped: list[Skipped] = []
        self._context = context

    def view(self, group: _Group, view: Seen, scanned: Scanned) -> None:
        """Search one view for all rules of a group."""
        for finder in group.candidates(scanned, self._context):
            hits: list[Hit] = []
            try:
                for found in finder.search(scanned):
                    if len(hits) >= MAX_HITS:
                        self.skipped.append(Skipped(finder.rule.name, "too_many"))
                        break
                    hits.append(self._hit(finder.rule, found, view))
            except TookTooLong:
                self.skipped.append(Skipped(finder.rule.name, "timeout"))
                continue
            self.hits += hits

    def _hit(self, rule: Rule, found: Found, view: Seen) -> Hit:
        value = view.text[found.value_start : found.value_end]
        start, end = view.span(found.value_start, found.value_end)
        severity = rule.severity
        if value in rule.tests_values:
            severity = Severity.INFO
            self.known.append((start, end))
        return Hit(
            kind=rule.kind,
            severity=severity,
            confidence=self._confidence(rule, found),
            start=start,
            end=end,
            detector=rule.name,
            value=rule.value,
            stable=bool(rule.hold)
            and fits(view.text[found.start : found.end], rule.hold, rule.max_length),
        )

    def _confidence(self, rule: Rule, found: Found) -> float:
        confidence = rule.confidence
        if self._context.origin is Origin.UNTRUSTED and rule.untrusted_confidence is not None:
            confidence = rule.untrusted_confidence
        if found.in_context and rule.context_confidence is not None:
            confidence = rule.context_confidence
        return confidence
