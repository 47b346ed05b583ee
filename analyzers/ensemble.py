"""Patterns and models as one detector."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from llmtrace.analyzers.base import Context, Hit, Inspection, Skipped, StreamAnalyzer
from llmtrace.analyzers.combined import inspection
from llmtrace.analyzers.meter import Meter
from llmtrace.domain.findings import Severity
from llmtrace.logs import origin

logger = logging.getLogger(__name__)

ATTACKS: Final = frozenset(
    {
        "prompt_injection",
        "role_injection",
        "prompt_extraction",
        "jailbreak",
        "data_exfiltration",
        "tool_poisoning",
        "encoding_attack",
    }
)
"""The kinds that say that a text would take the model over; the rest is about data and actions."""
SPOKEN_OF: Final = frozenset({"override.mention"})
"""Rules for words that are most often spoken about. A model hardly tells that from orders."""
_RANK: Final = {severity: rank for rank, severity in enumerate(Severity)}


class Model(Protocol):
    """What judges a text by how it reads (``llmtrace.analyzers.model.ModelAnalyzer``)."""

    meter: Meter

    @property
    def name(self) -> str:
        """What findings and numbers call it."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever its hits could."""
        ...

    def wants(self, text: str, context: Context) -> bool:
        """Whether it looks into such a text at all."""
        ...

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return its hits, and how sure it is that the text is an attack."""
        ...


class Ensemble:
    """Asks the patterns and each model, and lets each make the others surer.

    Where several see an attack at the same place there is one hit, with the kind and span of the
    first of them, patterns before models: it is wrong only where all are (``1 - (1 - a)(1 - b)``),
    and its detector names all. It is as severe as the most severe of them, and of that one's kind,
    but in a window in which words are spoken about: quoted, in code, the hits of a search. What
    one of them sees alone stays as it is. In a text that still grows the patterns speak alone. A
    model that fails on a text takes nothing from the others: it is told as skipped (``failed``).
    """

    def __init__(self, patterns: StreamAnalyzer, *models: Model) -> None:
        self._patterns = patterns
        self._models = models
        seal = "\n".join([patterns.version, *(one.version for one in models)])
        self._version = hashlib.blake2b(seal.encode(), digest_size=12).hexdigest()

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return self._patterns.name

    @property
    def version(self) -> str:
        """A seal over the versions of all."""
        return self._version

    def slow(self, text: str, context: Context) -> bool:
        """Whether a model will be asked: that is nothing for the event loop."""
        return any(one.wants(text, context) for one in self._models)

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits of all, ordered by start. An empty text has none."""
        return self.inspect(text, context).hits

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return the hits of all, and what any of them left out."""
        told = inspection(self._patterns, text, context)
        asked = [one for one in self._models if one.wants(text, context)]
        if not asked:
            return told
        hits, skipped = told.hits, told.skipped
        attack = max((hit.confidence for hit in told.hits if hit.kind in ATTACKS), default=0.0)
        for model in asked:
            read = _read(model, text, context)
            hits = joined(hits, read.hits)
            skipped += read.skipped
            attack = either(attack, read.attack)
        return Inspection(hits, skipped, attack)

    def undecided(self, text: str) -> int:
        """Return where the undecided tail begins, as the patterns see it."""
        return self._patterns.undecided(text)


def _read(model: Model, text: str, context: Context) -> Inspection:
    """Return what a model says of a text, or that it cannot."""
    try:
        return model.inspect(text, context)
    except Exception as error:  # noqa: BLE001  # whatever it is, the rules and the others go on
        if model.meter.fail(error):
            told = origin(error)
            logger.error("model %s could not read a text: %s; the rules go on", model.name, told)
        return Inspection((), (Skipped(model.name, "failed"),))


def either(a: float, b: float) -> float:
    """Return how sure two are who say the same, each by its own means."""
    return 1.0 - (1.0 - a) * (1.0 - b)


def joined(told: Sequence[Hit], read: Sequence[Hit]) -> list[Hit]:
    """Join the hits that were told already and those of a model, ordered by start."""
    attacks = [hit for hit in read if hit.kind in ATTACKS]
    made: list[Hit] = []
    agreed: set[int] = set()
    spoken_of = [hit for hit in told if _rule(hit) in SPOKEN_OF]
    for hit in told:
        both = [place for place, one in enumerate(attacks) if _meet(hit, one)]
        if hit.kind not in ATTACKS or not both:
            made.append(hit)
            continue
        agreed.update(both)
        surest = max((attacks[place] for place in both), key=lambda one: one.confidence)
        lifts = not any(_meet(one, surest) for one in spoken_of)
        made.append(_agreed(hit, surest, lifts=lifts))
    made += [hit for place, hit in enumerate(attacks) if place not in agreed]
    for name in read:
        if name.kind not in ATTACKS:
            made = _with_name(made, name)
    return sorted(made, key=lambda hit: (hit.start, -hit.end))


def _with_name(told: list[Hit], name: Hit) -> list[Hit]:
    """Add a name that a model read, unless something else was told at its place.

    Where the same was told there, both are one hit over all that either covers.
    """
    met = [one for one in told if one.value and _meet(name, one)]
    if any(one.kind != name.kind for one in met):
        return told  # an address, a number
    for one in met:
        start, end = min(one.start, name.start), max(one.end, name.end)
        name = replace(_agreed(one, name), start=start, end=end)
    return [one for one in told if one not in met] + [name]


def _agreed(hit: Hit, other: Hit, *, lifts: bool = False) -> Hit:
    if lifts and _RANK[other.severity] < _RANK[hit.severity]:
        hit = replace(hit, kind=other.kind, severity=other.severity)
    return replace(
        hit,
        confidence=round(either(hit.confidence, other.confidence), 3),
        detector=f"{hit.detector}+{other.detector}",
    )


def _rule(hit: Hit) -> str:
    """Return the first detector of a hit, without the view that it saw."""
    return hit.detector.partition("+")[0].partition("~")[0]


def _meet(one: Hit, other: Hit) -> bool:
    return one.start < other.end and other.start < one.end
