"""The model as a detector: attacks by how a text reads, people and places by name."""

import hashlib
import math
import time
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Protocol

from llmtrace.analyzers.base import Context, Direction, Hit, Inspection, Skipped
from llmtrace.analyzers.kinds import severity_of
from llmtrace.analyzers.meter import Meter
from llmtrace.analyzers.model.entities import by_word, entities
from llmtrace.analyzers.model.manifest import Manifest
from llmtrace.analyzers.model.network import Network, Reading
from llmtrace.analyzers.model.reading import Reader, Window
from llmtrace.analyzers.model.scripts import Through, written_in
from llmtrace.analyzers.normalize import fold, views
from llmtrace.analyzers.normalize.view import Original, Seen
from llmtrace.domain.parts import Role

type Point = Literal["high_recall", "balanced", "high_precision"]

MOST_WINDOWS: Final = 128
"""Windows of one text that are read: about 28,000 tokens. The rest is told as not looked at."""
MOST_CHARS: Final = 256 * 1024
"""Characters of one text that are cut into tokens, which takes 0.5 µs for each."""
MOST_VIEWS: Final = 4
"""Further views of a text that are read: what it says when it is decoded."""
SHORTEST: Final = 8
"""Characters below which nothing can be said."""
ROLES: Final = frozenset({Role.USER, Role.TOOL_RESULT})
"""Whose words could be an attack: people's, and what tools bring. System text and descriptions of
tools give orders by their nature."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the model makes of one text, before any threshold: its most suspicious stretch."""

    confidence: float
    start: int
    end: int


class Reads(Protocol):
    """A network: ``Network``, or one of another make. Safe to share between threads."""

    def read(self, windows: Sequence[Window]) -> list[Reading]:
        """Return a reading for each window."""
        ...


class ModelAnalyzer:
    """Finds attacks and names. Takes 1 to 15 ms for each 250 tokens: not for the event loop.

    Safe to share between threads. Decoded views of a text are read as well: what is hidden in
    base64 counts as if it stood there plainly.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        point: Point = "balanced",
        at_once: int = 1,
        roles: Collection[Role] = ROLES,
        names: bool = True,
        name: str = "model",
        network: Reads | None = None,
        seconds: float = math.inf,
    ) -> None:
        """Load the model.

        Args:
            manifest: What ``read_manifest`` gave.
            point: From which confidence on an attack is told.
            at_once: How many passes may run at the same time.
            roles: Whose words are looked into.
            names: Whether people, organisations, places and addresses are told.
            name: What findings and numbers call it.
            network: What reads; by default the network of ``manifest``.
            seconds: How long one text may take, waiting for others included. What is not read
                by then is told.

        Raises:
            BadModel: A file cannot be used.
        """
        self._manifest = manifest
        self._reader = Reader(manifest)
        self._network = network or Network(manifest, at_once=at_once, largest=self._reader.largest)
        self._least = manifest.points[point]
        self._roles = frozenset(roles)
        self._names = names and bool(manifest.tags)
        self._judges = bool(manifest.scales)
        self._name = name
        self._seconds = seconds
        self.meter = Meter()
        """What it did so far."""

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return self._name

    @property
    def manifest(self) -> Manifest:
        """What is known of it."""
        return self._manifest

    @property
    def version(self) -> str:
        """The seal of the model's files, of how they are read, and of what is asked of it."""
        roles = ",".join(sorted(self._roles))
        how = repr(replace(self._manifest, folder=Path()))  # the same wherever it lies
        read = hashlib.blake2b(how.encode(), digest_size=12).hexdigest()
        return f"{self._name} {self._manifest.seal} {read} {self._least} {roles} {self._names}"

    def naming_from(self, confidence: float) -> "ModelAnalyzer":
        """Return the same model, which tells names from another confidence on."""
        made = copy(self)
        made._manifest = replace(self._manifest, entity_confidence=confidence)
        return made

    def warm(self) -> None:
        """Read, so that the first call waits for nothing that is made once.

        A whole window, or a word where the network has read a whole window to be tried.
        """
        words = 1 if isinstance(self._network, Network) else self._manifest.window
        windows, _ = self._reader.windows("a " * words, most=1)
        self._network.read(windows)

    def wants(self, text: str, context: Context) -> bool:
        """Whether it looks into such a text at all."""
        return (
            context.direction is Direction.REQUEST
            and context.role in self._roles
            and len(text) >= SHORTEST
        )

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits, ordered by start. An empty text has none."""
        return self.inspect(text, context).hits

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return the hits, and whether the text was too long to be read whole."""
        if not self.wants(text, context):
            return Inspection(())
        with self.meter.text():
            return self._inspect(text)

    def _inspect(self, text: str) -> Inspection:
        ends = time.monotonic() + self._seconds
        whole = Original(text[:MOST_CHARS])
        kept = written_in(self._manifest.scripts, whole)
        folded = fold(kept.text)
        seen = Through(folded, kept)
        windows, tokens = self._windows(seen)
        readings = self._read(windows, ends)
        windows = windows[: len(readings)]
        judged = []
        if self._judges and windows:
            judged.append(self._worst(seen, windows, readings, tokens))
        if self._judges:
            further = [Through(view, kept) for view in views(folded).views[:MOST_VIEWS]]
            judged += self._decoded(further, ends)
        hits = [self._attack(one) for one in judged if one.confidence >= self._least]
        if self._names:
            hits += self._named(seen, windows, readings)
        hits.sort(key=lambda hit: (hit.start, -hit.end))
        fits = self._reader.needed(tokens) <= MOST_WINDOWS and len(text) <= MOST_CHARS
        cut = "timeout" if time.monotonic() > ends else "" if fits else "over_limit"
        if cut:
            self.meter.cut()
        reasons = (cut, "" if kept is whole else "script")
        return Inspection(
            hits,
            tuple(Skipped(self._name, reason) for reason in reasons if reason),
            max((one.confidence for one in judged), default=0.0),
        )

    def _decoded(self, made: Sequence[Seen], ends: float) -> Iterator[Judged]:
        for further in made:
            view = written_in(self._manifest.scripts, further)
            windows, tokens = self._windows(view)
            if readings := self._read(windows, ends):
                yield self._worst(view, windows[: len(readings)], readings, tokens)

    def _read(self, windows: Sequence[Window], ends: float) -> list[Reading]:
        """Read windows in order as long as there is time (``time.monotonic``)."""
        readings: list[Reading] = []
        for window in windows:
            if time.monotonic() > ends:
                break
            self.meter.read(1)
            readings += self._network.read([window])
        return readings

    def _windows(self, seen: Seen) -> tuple[list[Window], int]:
        if len(seen.text.strip()) < SHORTEST or not any(map(str.isalpha, seen.text)):
            return [], 0
        return self._reader.windows(seen.text[:MOST_CHARS], most=MOST_WINDOWS)

    def _worst(
        self, seen: Seen, windows: Sequence[Window], readings: Sequence[Reading], tokens: int
    ) -> Judged:
        """Return the most suspicious window, by its place in the text as it came."""
        logit, worst = max(
            ((reading.logit, place) for place, reading in enumerate(readings)),
            key=lambda item: item[0],
        )
        start, end = seen.span(windows[worst].start, windows[worst].end)
        return Judged(self._manifest.confidence(logit, tokens), start, end)

    def _attack(self, judged: Judged) -> Hit:
        return Hit(
            kind=self._manifest.attack,
            severity=severity_of(self._manifest.attack),
            confidence=round(judged.confidence, 3),
            start=judged.start,
            end=judged.end,
            detector=f"{self._name}.injection",
        )

    def _named(
        self, seen: Seen, windows: Sequence[Window], readings: Sequence[Reading]
    ) -> Iterator[Hit]:
        if self._manifest.by_word:
            readings = by_word(seen.text, windows, readings, self._manifest.tags)
        for one in entities(windows, readings, self._manifest.tags):
            said = seen.text[one.start : one.end].lstrip()  # some tokens have a space before them
            if one.certainty < self._manifest.entity_confidence or not said:
                continue
            kind = self._manifest.entities[one.label]
            start, end = seen.span(one.end - len(said), one.end)
            yield Hit(
                kind=kind,
                severity=severity_of(kind),
                confidence=round(one.certainty, 3),
                start=start,
                end=end,
                detector=f"{self._name}.{one.label.lower()}",
                value=True,
            )
