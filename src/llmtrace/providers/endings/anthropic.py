"""Endings of the Messages API: open blocks are closed, a text block, ``message_stop``."""

from collections.abc import Sequence
from typing import Final

from llmtrace.domain.answers import AnswerEvent, Stopped, UsageSeen
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.endings.base import document, frame
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

_BLOCK: Final = b"content_block_st"  # …art and …op
_START: Final = b"message_start"


class AnthropicEnding:
    """Ends a stream of the Messages API."""

    def __init__(self) -> None:
        self._started = False
        self._open: dict[int, None] = {}
        self._next = 0
        self._called = False
        self._stopped = False
        self._output_tokens = 0

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note which blocks are open, and what was counted."""
        if _BLOCK in frame.data:
            self._block(document(frame.data))
        elif not self._started and _START in frame.data:
            self._started = True
        for event in events:
            if isinstance(event, UsageSeen):
                tokens = as_count(event.raw.get("output_tokens"))  # type: ignore[arg-type]  # any JSON
                self._output_tokens = tokens if tokens is not None else self._output_tokens
            elif isinstance(event, Stopped):
                self._stopped = True

    def _block(self, event: dict[str, Json]) -> None:
        kind, index = event.get("type"), as_count(event.get("index")) or 0
        if kind == "content_block_start":
            self._open[index] = None
            self._next = max(self._next, index + 1)
            block = as_dict(event.get("content_block"))
            self._called |= as_str(block.get("type")) == "tool_use"
        elif kind == "content_block_stop":
            self._open.pop(index, None)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return the rest of the message."""
        events: list[dict[str, Json]] = [] if self._started else [_message_start()]
        events += [{"type": "content_block_stop", "index": index} for index in self._open]
        if text:
            events += _text_block(self._next, text)
        normal = "tool_use" if self._called else "end_turn"
        stop: Json = {"stop_reason": "refusal" if filtered else normal, "stop_sequence": None}
        if not self._stopped:
            usage: Json = {"output_tokens": self._output_tokens}
            events.append({"type": "message_delta", "delta": stop, "usage": usage})
        events.append({"type": "message_stop"})
        return [frame(event, event=as_str(event["type"])) for event in events]


def _message_start() -> dict[str, Json]:
    message: Json = {
        "id": "msg_llmtrace",
        "type": "message",
        "role": "assistant",
        "model": "",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    return {"type": "message_start", "message": message}


def _text_block(index: int, text: str) -> list[dict[str, Json]]:
    empty: Json = {"type": "text", "text": ""}
    delta: Json = {"type": "text_delta", "text": text}
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        {"type": "content_block_delta", "index": index, "delta": delta},
        {"type": "content_block_stop", "index": index},
    ]


def whole_anthropic(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Cut a message at a tool call, and say the text there."""
    del choice  # there is one
    content: list[Json] = []
    calls = 0
    for block in as_list(body.get("content")):
        kind = as_str(as_dict(block).get("type"))
        if kind.endswith("tool_use"):
            if calls == keep:
                break
            calls += 1
        content.append(block)
    called = any(as_dict(block).get("type") == "tool_use" for block in content)
    body["content"] = [*content, {"type": "text", "text": text}]
    body["stop_reason"] = "tool_use" if called else "end_turn"
