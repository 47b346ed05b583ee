"""Looks at a text piece by piece where a detector looks at no more than so much of one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from llmtrace.analyzers.base import Analyzer, Context, Hit, Inspection
from llmtrace.analyzers.combined import inspection

PIECE: Final = 8_192
"""Code points of a piece: a model reads them whole, whatever their language."""
AROUND: Final = 512
"""Code points that a piece is shown of its neighbours, so that no value is cut in two."""


def inspect_whole(analyzer: Analyzer, text: str, context: Context) -> Inspection:
    """Return what an analyzer says of all of a text, however long it is.

    Of what was too long the pieces are looked at for values. ``skipped`` is what was left out
    for all that, and the attacks are those of the text as it is.
    """
    made = inspection(analyzer, text, context)
    short = {one.detector for one in made.skipped if one.reason == "over_limit"}
    if not short or len(text) <= PIECE:
        return made
    seen = {(hit.start, hit.end, hit.kind) for hit in made.hits}
    hits = list(made.hits)
    skipped = {one for one in made.skipped if one.detector not in short}
    for start, end in _pieces(len(text)):
        low = max(0, start - AROUND)
        part = inspection(analyzer, text[low : end + AROUND], context)
        skipped.update(one for one in part.skipped if one.detector in short)
        for hit in part.hits:
            if _of(hit) in short and hit.value and low + hit.end > start and low + hit.start < end:
                place = (low + hit.start, low + hit.end, hit.kind)
                if place not in seen:
                    seen.add(place)
                    hits.append(replace(hit, start=place[0], end=place[1]))
    hits.sort(key=lambda hit: (hit.start, -hit.end))
    told = tuple(sorted(skipped, key=lambda one: (one.detector, one.reason)))
    return replace(made, hits=hits, skipped=told)


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + PIECE, size)) for start in range(0, size, PIECE))


def _of(hit: Hit) -> str:
    """Return which detector a hit is of: of a model, ``NAME.label``."""
    return hit.detector.rpartition(".")[0]
