"""Endings of chat and of legacy completions: a last chunk for each choice, and ``[DONE]``."""

from collections.abc import Sequence

from llmtrace.domain.answers import AnswerEvent, Stopped, TextDelta, ToolCallOpened
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.endings.base import document, frame, said
from llmtrace.providers.openai_errors import DONE
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

_ENVELOPE = ("id", "object", "created", "model", "service_tier", "system_fingerprint")


class ChatEnding:
    """Ends a stream of chat chunks."""

    def __init__(self) -> None:
        self._first: Frame | None = None
        self._choices = {0}
        self._stopped: set[int] = set()
        self._called: set[int] = set()

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note which choices there are, which have ended, which call tools."""
        if self._first is None and events:
            self._first = frame
        for event in events:
            if isinstance(event, TextDelta):
                self._choices.add(event.channel.choice)
            elif isinstance(event, ToolCallOpened):
                self._called.add(event.channel.choice)
                self._choices.add(event.channel.choice)
            elif isinstance(event, Stopped):
                self._stopped.add(event.choice)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return a chunk with the text, one with each choice's stop, and ``[DONE]``."""
        first = document(self._first.data) if self._first else {}
        envelope = {key: first[key] for key in _ENVELOPE if key in first}
        open_choices = sorted(self._choices - self._stopped)
        frames: list[Frame] = []
        if text and open_choices:
            frames.append(self._chunk(envelope, open_choices[0], text, None))
        for choice in open_choices:
            normal = "tool_calls" if choice in self._called else "stop"
            reason = "content_filter" if filtered else normal
            frames.append(self._chunk(envelope, choice, "", reason))
        return [*frames, Frame(event="", data=DONE)]

    def _chunk(
        self, envelope: dict[str, Json], choice: int, text: str, reason: str | None
    ) -> Frame:
        body = self._text(text)
        chosen: dict[str, Json] = {"index": choice, **body, "finish_reason": reason}
        chunk: dict[str, Json] = {"object": "chat.completion.chunk", **envelope}
        return frame({**chunk, "choices": [chosen]})

    def _text(self, text: str) -> dict[str, Json]:
        return {"delta": {"content": text} if text else {}}


class CompletionsEnding(ChatEnding):
    """Ends a stream of legacy completion chunks."""

    def _text(self, text: str) -> dict[str, Json]:
        return {"text": text}


def whole_chat(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Cut the tool calls of a chat completion, and say the text."""
    for position, item in enumerate(as_list(body.get("choices"))):
        chosen = as_dict(item)
        index = as_count(chosen.get("index"))
        if (position if index is None else index) != choice:
            continue
        message = as_dict(chosen.get("message"))
        calls = as_list(message.get("tool_calls"))[:keep]
        message.pop("function_call", None)
        message.pop("tool_calls", None)
        if calls:
            message["tool_calls"] = calls
        content = message.get("content")
        if isinstance(content, list):
            message["content"] = [*content, {"type": "text", "text": text}]
        else:
            message["content"] = said(as_str(content), text)
        chosen["finish_reason"] = "tool_calls" if calls else "stop"
