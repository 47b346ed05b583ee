"""What a detector promises. Text in, hits out: a detector decides nothing and changes nothing."""

from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum
from typing import Final, Protocol

from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Origin, Role
from llmtrace.domain.values import dataclass


class Direction(StrEnum):
    """Which way a text goes: to the provider or to the agent."""

    REQUEST = "request"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Context:
    """Whose words a text is, and which way it goes."""

    role: Role = Role.USER
    origin: Origin = Origin.TRUSTED
    direction: Direction = Direction.REQUEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One thing that a detector saw in one text, wherever that text stands.

    ``start`` and ``end`` count code points of the text as it came, half-open; ``detector`` is the
    id of what saw it (``pii.email``). ``value`` says that the span is a value that can be cut out
    or masked and leave the rest sensible: a key, a number. ``stable`` says that the span and what
    stands to its left decide alone, so that it can be told in a stream before the rest is there.
    """

    kind: str
    severity: Severity
    confidence: float
    start: int
    end: int
    detector: str
    value: bool = False
    stable: bool = False


LASTING: Final = frozenset({"script"})
"""Reasons to skip that are no fault, and the same whenever one asks."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a detector left out on a text, and why.

    ``reason`` is ``timeout``, ``failed`` (a fault of its own), ``too_many``, ``over_limit``, or
    ``script`` (letters that it was not made for).
    ``missed`` is a hit as there may be one in what was left out; its place says nothing.
    """

    detector: str
    reason: str
    missed: Hit | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a detector says of a text. Without ``skipped``, it looked at all of it.

    ``attack`` is how sure it is, 0 to 1, that the text is an attack on the model, where it can
    tell without naming a place: also below what makes a hit.
    """

    hits: Sequence[Hit]
    skipped: tuple[Skipped, ...] = ()
    attack: float = 0.0


class Analyzer(Protocol):
    """Finds one family of things in a text.

    It does no I/O after it is built, keeps no state between calls and never raises on text, so
    that it can run in any thread.
    """

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever its hits could: part of the key under which they are cached."""
        ...

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits, ordered by start. An empty text has none."""
        ...


class StreamAnalyzer(Analyzer, Protocol):
    """An analyzer whose stable hits can be told while a text still grows."""

    def undecided(self, text: str) -> int:
        """Return where the undecided tail of ``text`` begins, ``len(text)`` if there is none.

        Whatever is appended to ``text``, the stable hits that start before that index stay as
        they are, and no other stable hit will start before it.
        """
        ...
