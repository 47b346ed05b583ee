"""What an ending promises, and what the endings share."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import orjson

from llmtrace.domain.answers import AnswerEvent
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.openai_errors import encode
from llmtrace.providers.reading import as_dict


class Ending(Protocol):
    """Knows what of a streamed answer has been sent, and what is missing for it to be whole."""

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note a frame that the client gets, and what it says."""
        ...

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return what ends the answer: ``text``, if there is any, and a stop.

        The stop is that of an answer which is at its end or, if ``filtered``, of one that the
        provider's own filter has cut.
        """
        ...


@runtime_checkable
class Failing(Protocol):
    """An ending of a stream whose error some clients overlook: it tells them in another way too.

    Who takes a stopped answer for a broken one asks again, and again.
    """

    def fail(self, error: Frame, message: str) -> list[Frame]:
        """Return what ends the answer with an error, for those who know ``error`` and for others.

        ``message`` is what both are told.
        """
        ...


class WholeEnding(Protocol):
    """Puts a text in the place of a tool call of a whole answer."""

    def __call__(self, body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
        """Change ``body``: ``keep`` calls of the choice stay, what follows is the text."""
        ...


class ChunkCut(Protocol):
    """Takes the tool calls behind the first ``keep`` of a choice out of a frame's document."""

    def __call__(self, body: dict[str, Json], *, choice: int, keep: int) -> None:
        """Change ``body``."""
        ...


def document(data: bytes) -> dict[str, Json]:
    """Return a frame's JSON object, an empty one where it is none."""
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return as_dict(value)


def frame(value: Json, *, event: str = "") -> Frame:
    """Return a frame of a document."""
    return Frame(event=event, data=encode(value))


def said(before: str, text: str) -> str:
    """Return a text and what is said after it."""
    return f"{before}\n\n{text}" if before else text
