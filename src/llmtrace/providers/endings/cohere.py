"""Endings of Cohere's chat: a content block with the text, and ``message-end``."""

from collections.abc import Sequence
from typing import Final

from llmtrace.domain.answers import AnswerEvent, ToolCallOpened
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.endings.base import document, frame
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

_BLOCK: Final = (b'"content-start"', b'"content-end"')


class CohereEnding:
    """Ends a stream of typed events."""

    def __init__(self) -> None:
        self._next = 0
        self._open: dict[int, None] = {}
        self._called = False

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note which content blocks are open."""
        if any(mark in frame.data for mark in _BLOCK):
            event = document(frame.data)
            index = as_count(event.get("index")) or 0
            self._next = max(self._next, index + 1)
            if event.get("type") == "content-start":
                self._open[index] = None
            else:
                self._open.pop(index, None)
        self._called |= any(isinstance(event, ToolCallOpened) for event in events)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return the rest of the message."""
        events: list[dict[str, Json]] = [
            {"type": "content-end", "index": index} for index in self._open
        ]
        if text:
            events += _block(self._next, text)
        normal = "TOOL_CALL" if self._called else "COMPLETE"
        delta: Json = {"finish_reason": "ERROR" if filtered else normal}
        events.append({"type": "message-end", "delta": delta})
        return [frame(event, event=as_str(event["type"])) for event in events]


def _block(index: int, text: str) -> list[dict[str, Json]]:
    opened: Json = {"message": {"content": {"type": "text", "text": ""}}}
    delta: Json = {"message": {"content": {"text": text}}}
    return [
        {"type": "content-start", "index": index, "delta": opened},
        {"type": "content-delta", "index": index, "delta": delta},
        {"type": "content-end", "index": index},
    ]


def whole_cohere(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Cut the tool calls of a message, and say the text."""
    del choice  # there is one
    message = as_dict(body.get("message"))
    calls = as_list(message.pop("tool_calls", None))[:keep]
    if calls:
        message["tool_calls"] = calls
    message["content"] = [*as_list(message.get("content")), {"type": "text", "text": text}]
    body["finish_reason"] = "TOOL_CALL" if calls else "COMPLETE"
