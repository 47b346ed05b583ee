"""Endings of Ollama: a line with the text, and a line that is done."""

from collections.abc import Sequence

from llmtrace.domain.answers import AnswerEvent
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.endings.base import document, frame, said
from llmtrace.providers.reading import as_dict, as_list, as_str


class OllamaEnding:
    """Ends a stream of ``/api/chat``."""

    def __init__(self) -> None:
        self._last: Frame | None = None

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note the line: the last one has to look like it."""
        del events
        self._last = frame

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return the lines. There is no word for a filter in this format."""
        del filtered
        last = document(self._last.data) if self._last else {}
        base: dict[str, Json] = {"model": "", "created_at": "1970-01-01T00:00:00Z"}
        base |= {key: last[key] for key in base if key in last}
        lines: list[dict[str, Json]] = [{**self._text(text), "done": False}] if text else []
        lines.append({**self._text(""), "done": True, "done_reason": "stop"})
        return [frame({**base, **line}) for line in lines]

    def _text(self, text: str) -> dict[str, Json]:
        return {"message": {"role": "assistant", "content": text}}


class OllamaGenerateEnding(OllamaEnding):
    """Ends a stream of ``/api/generate``."""

    def _text(self, text: str) -> dict[str, Json]:
        return {"response": text}


def whole_ollama(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Cut the tool calls of a message, and say the text."""
    cut_ollama(body, choice=choice, keep=keep)
    message = as_dict(body.get("message"))
    message["content"] = said(as_str(message.get("content")), text)


def cut_ollama(body: dict[str, Json], *, choice: int, keep: int) -> None:
    """Cut the tool calls of a line: what it says beside them still goes."""
    del choice  # there is one
    message = as_dict(body.get("message"))
    calls = as_list(message.pop("tool_calls", None))[:keep]
    if calls:
        message["tool_calls"] = calls
