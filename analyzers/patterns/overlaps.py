"""Which of several hits on the same characters stays. The same hits always give the same answer."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from llmtrace.analyzers.base import Hit
from llmtrace.domain.findings import Severity

_RANK: Final = {severity: rank for rank, severity in enumerate(Severity)}
SURE: Final = 0.5
"""Confidence from which a hit is more likely real than not."""


def _order(hit: Hit) -> tuple[object, ...]:
    """The best first: likely, severe, leftmost, longest, confident; then by name."""
    return (
        hit.confidence < SURE,
        _RANK[hit.severity],
        hit.start,
        hit.start - hit.end,
        -hit.confidence,
        hit.detector,
    )


def resolve(hits: Iterable[Hit], known_values: Iterable[Hit] = ()) -> list[Hit]:
    """Return hits without overlaps, ordered by start.

    Values (what can be masked) do not overlap each other: where they would, the better one stays
    and the other keeps what it has beyond it, so that all of both is masked. Other hits do not
    overlap others of their kind. A value and an instruction may overlap: they are not the same
    thing. ``known_values`` are those of the hits that are public test values: they come first.
    """
    values: list[Hit] = []
    others: dict[str, list[Hit]] = {}
    for hit in hits:
        (values if hit.value else others.setdefault(hit.kind, [])).append(hit)
    kept = _values(values, frozenset(known_values))
    for group in others.values():
        kept += _apart(group)
    return sorted(kept, key=lambda hit: (hit.start, hit.end, hit.detector))


def _values(hits: list[Hit], known: frozenset[Hit]) -> list[Hit]:
    """Settle each bunch of overlapping values by itself."""
    kept: list[Hit] = []
    for bunch in _bunches(hits):
        if len(bunch) == 1:
            kept += bunch
            continue
        bunch.sort(key=lambda hit: (hit not in known, *_order(hit)))
        taken: list[Hit] = []
        for hit in bunch:
            taken += _rest(hit, taken)
        kept += taken
    return kept


def _rest(hit: Hit, taken: Sequence[Hit]) -> list[Hit]:
    """Return what of a hit is on characters that none has taken."""
    pieces = [(hit.start, hit.end)]
    for other in taken:
        pieces = [
            piece
            for start, end in pieces
            for piece in ((start, min(end, other.start)), (max(start, other.end), end))
            if piece[0] < piece[1]
        ]
    whole = pieces == [(hit.start, hit.end)]
    return [hit] if whole else [replace(hit, start=a, end=b) for a, b in pieces]


def _apart(hits: list[Hit]) -> list[Hit]:
    kept: list[Hit] = []
    for bunch in _bunches(hits):
        bunch.sort(key=_order)
        taken: list[Hit] = []
        for hit in bunch:
            if all(hit.end <= other.start or other.end <= hit.start for other in taken):
                taken.append(hit)
        kept += taken
    return kept


def _bunches(hits: list[Hit]) -> list[list[Hit]]:
    """Group hits that overlap, directly or over others."""
    bunches: list[list[Hit]] = []
    end = -1
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end, hit.detector)):
        if hit.start < end:
            bunches[-1].append(hit)
        else:
            bunches.append([hit])
        end = max(end, hit.end)
    return bunches
