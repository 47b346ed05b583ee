"""Endings of Gemini: a chunk with the text and the candidate's ``finishReason``."""

from collections.abc import Sequence
from typing import Final

from llmtrace.domain.answers import AnswerEvent, Stopped, TextDelta
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.endings.base import document, frame
from llmtrace.providers.reading import as_count, as_dict, as_list

_KEPT: Final = ("usageMetadata", "modelVersion", "responseId", "createTime")
_CALLS: Final = frozenset({"functionCall", "toolCall", "executableCode"})


class GeminiEnding:
    """Ends a stream of chunks; those of the Gemini CLI's own service are wrapped."""

    def __init__(self) -> None:
        self._last: Frame | None = None
        self._choices = {0}
        self._stopped: set[int] = set()

    def sent(self, frame: Frame, events: Sequence[AnswerEvent]) -> None:
        """Note which candidates there are, and which have ended."""
        self._last = frame
        for event in events:
            if isinstance(event, TextDelta):
                self._choices.add(event.channel.choice)
            elif isinstance(event, Stopped):
                self._stopped.add(event.choice)

    def end(self, text: str, *, filtered: bool) -> list[Frame]:
        """Return one chunk that ends each candidate."""
        last = document(self._last.data) if self._last else {}
        inner = last.get("response")
        source = inner if isinstance(inner, dict) else last
        candidates: list[Json] = []
        for choice in sorted(self._choices - self._stopped):
            parts: list[Json] = [{"text": text}] if text and not candidates else []
            candidates.append(
                {
                    "content": {"parts": parts, "role": "model"},
                    "finishReason": "SAFETY" if filtered else "STOP",
                    "index": choice,
                }
            )
        body: dict[str, Json] = {"candidates": candidates}
        body |= {key: source[key] for key in _KEPT if key in source}
        return [frame({"response": body} if isinstance(inner, dict) else body)]

    def fail(self, error: Frame, message: str) -> list[Frame]:
        """Return the error within a chunk that ends each candidate.

        The Gemini CLI reads no error there, and asks four times where no candidate has ended.
        """
        (last,) = self.end(message, filtered=True)
        return [frame({**document(error.data), **document(last.data)})]


def whole_gemini(body: dict[str, Json], text: str, *, choice: int, keep: int) -> None:
    """Cut a candidate at a call, and say the text there."""
    candidate = _cut(body, choice, keep)
    content = as_dict(candidate.get("content"))
    content["parts"] = [*as_list(content.get("parts")), {"text": text}]
    candidate["finishReason"] = "STOP"


def cut_gemini(body: dict[str, Json], *, choice: int, keep: int) -> None:
    """Cut a chunk at a call: what stands before it in the same chunk still goes."""
    _cut(body, choice, keep).pop("finishReason", None)


def _cut(body: dict[str, Json], choice: int, keep: int) -> dict[str, Json]:
    """Take from a candidate all from the call behind the first ``keep`` calls on; return it."""
    inner = body.get("response")
    holder = inner if isinstance(inner, dict) else body
    for position, item in enumerate(as_list(holder.get("candidates"))):
        candidate = as_dict(item)
        index = as_count(candidate.get("index"))
        if (position if index is None else index) == choice:
            content = as_dict(candidate.get("content"))
            content["parts"] = _before_call(as_list(content.get("parts")), keep)
            return candidate
    return {}


def _before_call(parts: list[Json], keep: int) -> list[Json]:
    kept: list[Json] = []
    calls = 0
    for part in parts:
        if as_dict(part).keys() & _CALLS:
            if calls == keep:
                break
            calls += 1
        kept.append(part)
    return kept
