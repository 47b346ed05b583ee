"""Patterns and the model as one detector."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from llmtrace.analyzers.base import Context, Hit, Inspection, StreamAnalyzer
from llmtrace.analyzers.combined import inspection

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


class Model(Protocol):
    """What judges a text by how it reads (``llmtrace.analyzers.model.ModelAnalyzer``)."""

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
    """Asks the patterns and the model, and lets each make the other surer.

    Where both see an attack at the same place there is one hit, with the pattern's kind and span:
    it is wrong only where both are (``1 - (1 - a)(1 - b)``), and its detector names both. What one
    of them sees alone stays as it is. In a text that still grows the patterns speak alone.
    """

    def __init__(self, patterns: StreamAnalyzer, model: Model) -> None:
        self._patterns = patterns
        self._model = model
        seal = f"{patterns.version}\n{model.version}".encode()
        self._version = hashlib.blake2b(seal, digest_size=12).hexdigest()

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return self._patterns.name

    @property
    def version(self) -> str:
        """A seal over the versions of both."""
        return self._version

    def slow(self, text: str, context: Context) -> bool:
        """Whether the model will be asked: that is nothing for the event loop."""
        return self._model.wants(text, context)

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits of both, ordered by start. An empty text has none."""
        return self.inspect(text, context).hits

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return the hits of both, and what either left out."""
        told = inspection(self._patterns, text, context)
        if not self._model.wants(text, context):
            return told
        read = self._model.inspect(text, context)
        surest = max((hit.confidence for hit in told.hits if hit.kind in ATTACKS), default=0.0)
        return Inspection(
            joined(told.hits, read.hits),
            told.skipped + read.skipped,
            either(surest, read.attack),
        )

    def undecided(self, text: str) -> int:
        """Return where the undecided tail begins, as the patterns see it."""
        return self._patterns.undecided(text)


def either(a: float, b: float) -> float:
    """Return how sure two are who say the same, each by its own means."""
    return 1.0 - (1.0 - a) * (1.0 - b)


def joined(told: Sequence[Hit], read: Sequence[Hit]) -> list[Hit]:
    """Join the hits of patterns and model, ordered by start."""
    attacks = [hit for hit in read if hit.kind in ATTACKS]
    made = [hit for hit in read if hit.kind not in ATTACKS and not _covered(hit, told)]
    agreed: set[int] = set()
    for hit in told:
        both = [place for place, one in enumerate(attacks) if _meet(hit, one)]
        if hit.kind not in ATTACKS or not both:
            made.append(hit)
            continue
        agreed.update(both)
        surest = max((attacks[place] for place in both), key=lambda one: one.confidence)
        made.append(
            replace(
                hit,
                confidence=round(either(hit.confidence, surest.confidence), 3),
                detector=f"{hit.detector}+{surest.detector}",
            )
        )
    made += [hit for place, hit in enumerate(attacks) if place not in agreed]
    return sorted(made, key=lambda hit: (hit.start, -hit.end))


def _meet(one: Hit, other: Hit) -> bool:
    return one.start < other.end and other.start < one.end


def _covered(hit: Hit, told: Sequence[Hit]) -> bool:
    """Whether a pattern has told what the model calls a name: an address, a number."""
    return any(one.value and _meet(hit, one) for one in told)
