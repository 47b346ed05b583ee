"""Endings of the Responses API and of Realtime: a message item with all its events, and the end."""

from collections.abc import Sequence
from typing import Final

from llmtrace.domain.answers import AnswerEvent
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.endings.base import document, frame
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str
from llmtrace.providers.responses_items import CALLS

ITEM_ID: Final = "msg_llmtrace"

_ADDED: Final = b"response.output_item.added"
_DONE: Final = b"response.output_item.done"
_MAX_ITEMS: Final = 1_000


class ResponsesEnding:
    """Ends a stream of the Responses API, over HTTP or WebSocket."""

    terminal = ("response.completed", "response.incomplete")
    """The last event of an answer that is at its end, and of one that was cut."""

    def __init__(self) -> None:
        self._first: Frame | None = None
        self._last: Frame | None = None
        self._next = 0
        self._items: list[Frame] = []

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note the items, and the event that has the response as it began."""
        del events
        if self._first is None:
            self._first = frame
        self._last = frame
        if _ADDED in frame.data:
            index = as_count(document(frame.data).get("output_index"))
            self._next = max(self._next, (index or 0) + 1)
        elif _DONE in frame.data and len(self._items) < _MAX_ITEMS:
            self._items.append(frame)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return an item with the text, and the response as it is now."""
        events, items = _message(self._next, text) if text else ([], [])
        sent = [document(frame.data).get("item") for frame in self._items]
        first = as_dict(document(self._first.data).get("response")) if self._first else {}
        status = "incomplete" if filtered else "completed"
        response: dict[str, Json] = {"object": "response", **first, "status": status}
        response["output"] = [*sent, *items]
        if filtered:
            response["incomplete_details"] = {"reason": "content_filter"}
        events.append({"type": self.terminal[filtered], "response": response})
        return [frame(event, event=as_str(event["type"])) for event in self._numbered(events)]

    def fail(self, error: Frame, message: str) -> list[Frame]:
        """Return a response that has failed, and the error.

        Codex reads no error in a stream over HTTP, and asks six times where no response has
        ended; with this code it does not ask again. SDKs raise on the error alone.
        """
        first = as_dict(document(self._first.data).get("response")) if self._first else {}
        told: Json = {"code": "invalid_prompt", "message": message}
        response: Json = {"object": "response", **first, "status": "failed", "error": told}
        (failed,) = self._numbered([{"type": "response.failed", "response": response}])
        return [frame(failed, event="response.failed"), error]

    def _numbered(self, events: list[dict[str, Json]]) -> list[dict[str, Json]]:
        """Number the events on from the last one, where that has a number."""
        last = document(self._last.data) if self._last else {}
        number = as_count(last.get("sequence_number"))
        if number is None:
            return events
        return [{**event, "sequence_number": number + n} for n, event in enumerate(events, 1)]


class RealtimeEnding(ResponsesEnding):
    """Ends a response of a Realtime session."""

    terminal = ("response.done", "response.done")


def _message(index: int, text: str) -> tuple[list[dict[str, Json]], list[Json]]:
    """Return the events of a message, and the message."""
    at: dict[str, Json] = {"item_id": ITEM_ID, "output_index": index, "content_index": 0}
    item: dict[str, Json] = {"id": ITEM_ID, "type": "message", "role": "assistant"}
    part: dict[str, Json] = {"type": "output_text", "annotations": [], "logprobs": []}
    opened: Json = {**item, "status": "in_progress", "content": []}
    empty: Json = {**part, "text": ""}
    whole: Json = {**part, "text": text}
    done: Json = {**item, "status": "completed", "content": [whole]}
    logprobs: list[Json] = []
    events: list[dict[str, Json]] = [
        {"type": "response.output_item.added", "output_index": index, "item": opened},
        {"type": "response.content_part.added", **at, "part": empty},
        {"type": "response.output_text.delta", **at, "delta": text, "logprobs": logprobs},
        {"type": "response.output_text.done", **at, "text": text, "logprobs": logprobs},
        {"type": "response.content_part.done", **at, "part": whole},
        {"type": "response.output_item.done", "output_index": index, "item": done},
    ]
    return events, [done]


def whole_responses(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Cut a response's output at a tool call, and say the text there."""
    del choice  # there is one
    output: list[Json] = []
    calls = 0
    for item in as_list(body.get("output")):
        if as_str(as_dict(item).get("type")) in CALLS:
            if calls == keep:
                break
            calls += 1
        output.append(item)
    body["output"] = [*output, *_message(0, text)[1]]
    body["status"] = "completed"
