"""Names in a text, put together from what the network says of each token."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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


def by_word(
    text: str, windows: Sequence[Window], readings: Sequence[Reading], tags: Sequence[str]
) -> list[Reading]:
    """Give each token of a word the tag and the certainty of the word's first token.

    For networks that were taught the first token of each word alone. ``tags`` has ``I-NAME`` for
    each ``B-NAME``. Scripts that write no space between words keep the tags of their tokens.
    """
    goes_on = [
        tags.index(f"I-{tag[2:]}") if tag.startswith("B-") else place
        for place, tag in enumerate(tags)
    ]
    return [
        _by_word(text, window, reading, goes_on)
        for window, reading in zip(windows, readings, strict=True)
    ]


def _by_word(text: str, window: Window, reading: Reading, goes_on: Sequence[int]) -> Reading:
    tags, certainty = list(reading.tags), list(reading.certainty)
    for place in range(1, len(tags)):
        at, before = window.spans[place][0], window.spans[place - 1][1]
        # bytes of one character share its span
        if at < before or (at == before and _within_word(text, at)):
            tags[place] = goes_on[tags[place - 1]]
            certainty[place] = certainty[place - 1]
    return replace(reading, tags=tags, certainty=certainty)


def _within_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _letter(text[at - 1]) and _letter(text[at])


def _letter(char: str) -> bool:
    return char.isalnum() and unicodedata.east_asian_width(char) not in "WF"
