"""Names in a text, put together from what the network says of each token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmtrace.analyzers.model.network import Reading
from llmtrace.analyzers.model.reading import Window


@dataclass(frozen=True, slots=True)
class Entity:
    """A name: its label, its characters, and how sure the network is of its least sure token."""

    label: str
    start: int
    end: int
    certainty: float


def entities(
    windows: Sequence[Window], readings: Sequence[Reading], tags: Sequence[str]
) -> list[Entity]:
    """Return the entities of a text in order. Where windows overlap, the longer one counts."""
    found = [
        one
        for window, reading in zip(windows, readings, strict=True)
        for one in _of(window, reading, tags)
    ]
    found.sort(key=lambda one: (one.start, -one.end))
    made: list[Entity] = []
    for one in found:
        if not made or one.start >= made[-1].end:
            made.append(one)
    return made


def _of(window: Window, reading: Reading, tags: Sequence[str]) -> Iterator[Entity]:
    """Yield the entities of one window. A tag that goes on with nothing begins something."""
    label, start, end, certainty = "", 0, 0, 1.0
    for (first, last), tag, sure in zip(window.spans, reading.tags, reading.certainty, strict=True):
        place, _, name = tags[tag].partition("-")
        if label and (place != "I" or name != label):
            yield Entity(label, start, end, certainty)
            label = ""
        if name and not label:
            label, start, certainty = name, first, sure
        if label:
            end, certainty = last, min(certainty, sure)
    if label:
        yield Entity(label, start, end, certainty)
