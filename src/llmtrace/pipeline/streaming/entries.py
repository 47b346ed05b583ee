"""Frames that wait, and what is to be changed in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmtrace.domain.answers import AnswerEvent
from llmtrace.domain.parts import Path
from llmtrace.providers.base import Frame


@dataclass(frozen=True, slots=True)
class Change:
    """A text of a frame that becomes another. ``path`` leads to it in the frame's JSON."""

    path: Path
    before: str
    after: str


@dataclass(slots=True, eq=False)
class Entry:
    """A frame, what it says, and how many of its texts are not decided."""

    frame: Frame
    events: Sequence[AnswerEvent]
    number: int
    pending: int = 0
    changes: list[Change] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Piece:
    """A text of a frame, which begins at ``start`` of its channel."""

    entry: Entry
    path: Path
    text: str
    start: int
    end: int
