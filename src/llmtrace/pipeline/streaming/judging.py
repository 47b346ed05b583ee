"""What the gate asks about an answer, and what it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from llmtrace.domain.answers import Channel

LEFT: Final = 96
"""Code points to the left of what is undecided that a judge is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What is to be done with a span of a text: replace it, or stop the answer there.

    ``start`` and ``end`` count code points of the text that was given, half-open. ``block`` says
    why the answer must stop; where it is empty and ``replacement`` is None, nothing is done.
    ``tag`` is the judge's own.
    """

    start: int
    end: int
    replacement: str | None = None
    block: str = ""
    tag: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRuling:
    """What is to be done with a tool call: let it pass, with other ``arguments`` than its own.

    ``refused`` says why it must not reach the agent; it is told in the call's place.
    """

    arguments: str | None = None
    refused: str = ""
    tag: object = None


class ChannelJudge(Protocol):
    """Judges the channels of one answer. What it raises comes out of the gate."""

    def undecided(self, text: str, channel: Channel) -> int:
        """Return where the tail of ``text`` begins that more text could change.

        Whatever is appended, the rulings that start before that index stay as they are, and no
        other will start before it.
        """
        ...

    def rulings(self, text: str, channel: Channel) -> Sequence[Ruling]:
        """Return what is to be done about a text, which begins with what was decided already."""
        ...

    def tool_call(self, name: str, arguments: str, channel: Channel) -> ToolRuling:
        """Judge a whole tool call. ``arguments`` is what the model wrote, JSON or not."""
        ...
