"""Texts whose mass is the attack: repetition that fills the context, and scripts of many turns.

A pattern sees a place, not a mass, so these are counted. Every count is one pass of a substring
search, so that ordinary text costs next to nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from llmtrace.analyzers.base import Context, Hit
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Origin, Role

BLOCK: Final = 16_384
"""Code points that are judged at a time; less than one is no flood (some 4,000 tokens)."""
WINDOW: Final = 1 << 20
"""Code points that are counted at a time: one count holds the interpreter to its end."""
PROBE: Final = 32
"""Code points of a block that are looked for in the rest of it."""
COVERED: Final = 0.6
"""Share of a block that repeats of one stretch must fill."""
TURNS: Final = 32
"""Turns of a forged dialogue, each side; many-shot attacks begin to work at some dozens
(Anil et al., "Many-shot jailbreaking", 2024)."""
_ROLES: Final = frozenset({Role.USER, Role.TOOL_RESULT, Role.TOOL_DESCRIPTION})
_ASKS: Final = ("\nUser:", "\nHuman:", "\nuser:", "\nhuman:", "\nQ:", "\nQuestion:", "\nUSER:")
_ANSWERS: Final = ("\nAssistant:", "\nassistant:", "\nAI:", "\nA:", "\nAnswer:", "\nASSISTANT:")
_HINTS: Final = ("\nA", "\na")
"""How each answer begins: most texts have too few of these to look further."""
_CONFIDENCE: Final = {Origin.TRUSTED: 0.5, Origin.UNTRUSTED: 0.65}


DETECTORS: Final = ("flooding.repetition", "flooding.many_turns")
"""What its hits are of, by name."""


class FloodingAnalyzer:
    """Finds floods and many-shot scripts. Keeps no state; safe to share between threads."""

    def __init__(self, *, without: Iterable[str] = ()) -> None:
        """Look for all but the detectors named."""
        self._used = tuple(name for name in DETECTORS if name not in frozenset(without))

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return "flooding"

    @property
    def version(self) -> str:
        """Changes with what is counted."""
        return f"1 {' '.join(self._used)}"

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return at most one hit for a flood and one for a script, over what they cover."""
        if context.role not in _ROLES:
            return ()
        hits = (hit for name in self._used for hit in _FINDERS[name](text, context))
        return sorted(hits, key=lambda hit: (hit.start, hit.end))

    def undecided(self, text: str) -> int:
        """Return ``len(text)``: no hit is stable, a mass is judged when all of it is there."""
        return len(text)


def _repetition(text: str, context: Context) -> Iterator[Hit]:
    flooded = [start for start in range(0, len(text) - BLOCK + 1, BLOCK) if _floods(text, start)]
    if flooded:
        start, end = flooded[0], flooded[-1] + BLOCK
        yield _hit("context_flooding", "flooding.repetition", start, end, context)


def _many_turns(text: str, context: Context) -> Iterator[Hit]:
    if _turns(text, _HINTS) >= TURNS <= min(_turns(text, _ASKS), _turns(text, _ANSWERS)):
        yield _hit("jailbreak", "flooding.many_turns", 0, len(text), context)


def _hit(kind: str, detector: str, start: int, end: int, context: Context) -> Hit:
    return Hit(
        kind=kind,
        severity=Severity.MEDIUM,
        confidence=_CONFIDENCE[context.origin],
        start=start,
        end=end,
        detector=detector,
    )


def _floods(text: str, start: int) -> bool:
    """Whether one stretch of words, or blank space, repeats over most of a block."""
    block = text[start : start + BLOCK]
    probe = block[BLOCK // 2 : BLOCK // 2 + PROBE]
    first = block.find(probe)
    second = block.find(probe, first + PROBE)
    if second < 0:
        return False
    stretch = block[first:second]
    return block.count(probe) * len(stretch) >= COVERED * BLOCK and _tells(stretch)


def _tells(stretch: str) -> bool:
    """Whether a stretch is words or blank space: rows of zeros and rules of dashes are data."""
    return stretch.isspace() or (len(set(stretch)) > 1 and any(char.isalpha() for char in stretch))


_FINDERS: Final = dict(zip(DETECTORS, (_repetition, _many_turns), strict=True))


def _turns(text: str, labels: Sequence[str]) -> int:
    # A label cannot begin within itself, so those in overlapping windows are counted once.
    return sum(
        text.count(label, low, low + WINDOW + len(label) - 1)
        for label in labels
        for low in range(0, len(text), WINDOW)
    )
