"""All rules over one text: a few passes to see which could match, then only those, exactly.

``re2.Set.Match`` releases the interpreter lock while it runs, so threads scan side by side.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Final

from llmtrace.analyzers.base import Context, Hit, Inspection, Skipped
from llmtrace.analyzers.normalize import (
    Aligned,
    Allowance,
    Concealment,
    Excerpt,
    Folded,
    Further,
    Seen,
    View,
    fold,
    views,
)
from llmtrace.analyzers.normalize.view import Original
from llmtrace.analyzers.patterns.clock import Unfinished
from llmtrace.analyzers.patterns.finding import HURRIED, Bounds, Found, Scanned
from llmtrace.analyzers.patterns.groups import Group, Groups
from llmtrace.analyzers.patterns.holds import fits, undecided
from llmtrace.analyzers.patterns.overlaps import resolve
from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Origin

WINDOW: Final = 1 << 20
"""Code points after which a longer text is cut; every rule sees what is around a cut."""
BEFORE: Final = 1_024
AFTER: Final = 65_536 + 1_024
CONCEALED: Final[Mapping[str, tuple[Severity, float]]] = {
    "tags": (Severity.HIGH, 0.95),
    "variation_selectors": (Severity.HIGH, 0.95),
    "zero_width": (Severity.MEDIUM, 0.7),
    "bidi_override": (Severity.LOW, 0.6),
}
"""How bad each way of hiding text is, and how sure that it was meant to hide something."""
HIDDEN: Final = tuple(f"hidden.{way}" for way in CONCEALED)
"""What is found without a rule, by name."""
ENGINE: Final = "7"
"""Changes when the same rules could find something else."""


class PatternAnalyzer:
    """Matches the rules of packs. Immutable but for its counters; safe to share."""

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        name: str = "patterns",
        without: Iterable[str] = (),
        bounds: Bounds = HURRIED,
    ) -> None:
        """Take rules. ``without`` names ways of hiding text that are not told: ``HIDDEN``."""
        self._bounds = bounds
        self._rules = tuple(rules)
        self._concealed = {
            f"hidden.{way}": rank
            for way, rank in CONCEALED.items()
            if f"hidden.{way}" not in frozenset(without)
        }
        self._name = name
        self._all = Groups(self._rules)
        self._skips: Counter[Skipped] = Counter()
        self._lock = Lock()
        seal = hashlib.blake2b(f"{ENGINE} {' '.join(self._concealed)}".encode(), digest_size=12)
        for rule in self._rules:
            seal.update(f"\n{rule.name} {rule.version}".encode())
        self._version = seal.hexdigest()

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return self._name

    @property
    def version(self) -> str:
        """A seal over the packs and the engine."""
        return self._version

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules it matches."""
        return self._rules

    @property
    def skips(self) -> Mapping[Skipped, int]:
        """How often what was left out, since it was built."""
        with self._lock:
            return dict(self._skips)

    def prepare(self) -> None:
        """Compile all automata, and each rule by itself: half a second for the shipped packs.

        Else that happens when a text or a match first needs it. Meant for a thread of its own.
        """
        self.warm()
        self._all.canonical.prepare()
        self._all.original.prepare()

    def warm(self) -> None:
        """Compile the automata and tables that every text needs."""
        for text in ("a", "\u0430"):
            self.inspect(text, Context())
            self.undecided(text)

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits, ordered by start. An empty text has none."""
        return self.inspect(text, context).hits

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return the hits, and what could not be looked for."""
        if not text:
            return Inspection(())
        search = _Search(context, self._concealed, self._bounds)
        for start in range(0, len(text), WINDOW):
            low, high = max(0, start - BEFORE), start + WINDOW + AFTER
            window = text if len(text) <= WINDOW else text[low:high]
            search.window(self._all, window, low, start - low, start - low + WINDOW)
        return self._closed(search)

    def undecided(self, text: str) -> int:
        """Return where the undecided tail of ``text`` begins, ``len(text)`` if there is none."""
        return self._undecided(fold(text))

    def _undecided(self, folded: Folded) -> int:
        canonical = folded.cut(undecided(folded.text, self._all.holds["canonical"]))
        return min(canonical, undecided(folded.original, self._all.holds["original"]))

    def _closed(self, search: "_Search") -> Inspection:
        if not search.hits and not search.skipped:
            return Inspection(())
        skipped = tuple(sorted(search.skipped, key=lambda skip: (skip.detector, skip.reason)))
        if skipped:
            with self._lock:
                self._skips.update(skipped)
        return Inspection(resolve(search.hits, search.known), skipped)


class _Search:
    """What is gathered while one text is searched, window by window."""

    def __init__(
        self,
        context: Context,
        concealed: Mapping[str, tuple[Severity, float]],
        bounds: Bounds,
    ) -> None:
        self.hits: list[Hit] = []
        self.known: list[Hit] = []
        self.skipped: set[Skipped] = set()
        self._context, self._concealed, self._bounds = context, concealed, bounds
        self._offset = self._start = self._stop = 0

    def window(self, groups: Groups, text: str, offset: int, start: int, stop: int) -> None:
        """Search a window for what begins in ``start:stop`` of it.

        ``offset`` is where the window begins in the text.
        """
        self._offset, self._start, self._stop = offset, start, stop
        folded = fold(text)
        scanned = Scanned.of(folded.text)
        cues: set[str] = set()
        self._view(groups.canonical, folded, scanned, folded.at(start), cues)
        same = folded.text is text
        original = scanned if same else Scanned.of(text)
        self._view(groups.original, Original(text), original, start)
        left = Allowance(chars=self._bounds.decoded, runs=self._bounds.runs)
        made = views(folded, scanned.data, cues, left=left)
        self._hidden(made.hidden)
        if not made.complete:
            self.skipped.add(Skipped("decoding", "over_limit"))
        for view in made.views:
            other = Scanned.of(view.text)
            self._view(groups.canonical, view, other, 0)
            if view.decoded:
                self._view(groups.original, view, other, 0)

    def _hidden(self, hidden: Iterable[Concealment]) -> None:
        for found in hidden:
            rank = self._concealed.get(f"hidden.{found.way}")
            if rank and self._start <= found.start < self._stop:
                severity, confidence = rank
                self.hits.append(
                    Hit(
                        kind="encoding_attack",
                        severity=severity,
                        confidence=confidence,
                        start=self._offset + found.start,
                        end=self._offset + found.end,
                        detector=f"hidden.{found.way}",
                    )
                )

    def _view(
        self,
        group: Group,
        view: Seen,
        scanned: Scanned,
        start: int,
        cues: set[str] | None = None,
    ) -> None:
        further = view if isinstance(view, View | Aligned | Excerpt) else None
        for finder, regions in group.candidates(scanned, self._context, cues):
            if further and finder.rule.value and not further.decoded:
                continue
            founds = finder.search(scanned, start, regions, self._bounds)
            try:
                self._take(finder.rule, founds, view, further)
            except Unfinished as error:
                self.skipped.add(self._skipped(finder.rule, error.reason))

    def _skipped(self, rule: Rule, reason: str) -> Skipped:
        missed = Hit(
            kind=rule.kind,
            severity=rule.severity,
            confidence=max(rule.confidence, rule.context_confidence or 0.0),
            start=0,
            end=0,
            detector=rule.name,
            stable=bool(rule.hold),
        )
        return Skipped(rule.name, reason, missed)

    def _take(
        self, rule: Rule, founds: Iterable[Found], view: Seen, further: Further | None
    ) -> None:
        count = 0
        for found in founds:
            begin = found.start if found.begin < 0 else found.begin
            if further and not further.changed(begin, found.end):
                continue
            span = view.span(found.start, found.end)
            if not self._start <= span[0] < self._stop:
                continue
            count += 1
            if count > self._bounds.hits:
                raise Unfinished("too_many")
            self._add(rule, found, view, further)

    def _add(
        self,
        rule: Rule,
        found: Found,
        view: Seen,
        further: Further | None,
    ) -> None:
        low, high = view.span(found.value_start, found.value_end)
        known = view.text[found.value_start : found.value_end] in rule.tests_values
        hit = Hit(
            kind=rule.kind,
            severity=Severity.INFO if known else rule.severity,
            confidence=self._confidence(rule, found),
            start=self._offset + low,
            end=self._offset + high,
            detector=f"{rule.name}~{further.name}" if further else rule.name,
            value=rule.value,
            stable=not further
            and bool(rule.hold)
            and fits(view.text[found.start : found.end], rule.hold, rule.max_length),
        )
        self.hits.append(hit)
        if known:
            self.known.append(hit)

    def _confidence(self, rule: Rule, found: Found) -> float:
        confidence = rule.confidence
        if self._context.origin is Origin.UNTRUSTED and rule.untrusted_confidence is not None:
            confidence = rule.untrusted_confidence
        if found.in_context and rule.context_confidence is not None:
            confidence = rule.context_confidence
        return confidence
