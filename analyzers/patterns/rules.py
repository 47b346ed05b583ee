"""A rule: what to look for, where, and what it means if it is there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llmtrace.analyzers.base import Direction
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Role

type View = Literal["canonical", "original"]

LEFT: int = 80
"""Code points to the left of a span that may have a say in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Texts in which a rule must and must not hit; run as tests."""

    match: tuple[str, ...] = ()
    no_match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a pack, checked. Lengths count code points.

    ``pattern`` is in RE2's syntax and finds the span; ``anchor``, weaker than ``pattern``, stands
    for it when all rules are matched at once; ``confirm`` is for ``regex`` and, searched around
    what ``pattern`` found, has the last word. A group ``value`` narrows the span. ``hold`` is the
    class of characters that a hit consists of, so that it can be told in a stream; with it,
    ``max_length`` bounds the span. ``begin`` and ``end`` are the literals of a block.
    """

    family: str
    id: str
    source: str
    kind: str
    severity: Severity
    confidence: float
    pattern: str
    anchor: str = ""
    confirm: str = ""
    view: View = "canonical"
    roles: frozenset[Role] = frozenset(Role)
    directions: frozenset[Direction] = frozenset(Direction)
    untrusted_confidence: float | None = None
    validator: Callable[[str], bool] | None = None
    context: tuple[str, ...] = ()
    context_required: bool = False
    context_confidence: float | None = None
    tests_values: frozenset[str] = frozenset()
    value: bool = False
    hold: str = ""
    max_length: int = 0
    begin: str = ""
    end: str = ""
    version: str = ""
    examples: Examples = Examples()

    @property
    def name(self) -> str:
        """Its name among all packs: ``pii.email``."""
        return f"{self.family}.{self.id}"
