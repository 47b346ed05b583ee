"""Answers of Gemini: a stream's chunks are whole answers in themselves, each with its news.

A text continues its channel from chunk to chunk; a function call comes whole. Usage is
cumulative, so that the last one stands. The format has no terminal event: the end is the chunk
in which every candidate has its ``finishReason``, or the prompt its ``blockReason``.

Source: the types of the google-genai SDK 3.4 (``GenerateContentResponse``).
"""

from typing import Final

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Identified,
    Stopped,
)
from llmtrace.domain.parts import Path
from llmtrace.providers.answering import Channels, Done, compact, failure, parse, usage
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.leaves import words
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str
from llmtrace.providers.tooluses import ToolUses

KNOWN: Final = words(
    """
    role finishReason blockReason modelVersion responseId createTime id mimeType language outcome
    category probability severity probabilitySeverity trafficType modality urlRetrievalStatus
    toolType traceId serviceTier model modelStatus modelStage
    """
)
_OPAQUE: Final = words("thoughtSignature data")

_BODY_DONE: Final[Done] = {
    "candidates": list,
    "usageMetadata": dict,
    "promptFeedback": dict,
    "error": object,
}
_CANDIDATE_DONE: Final[Done] = {
    "content": object,
    "citationMetadata": object,
    "groundingMetadata": object,
    "urlContextMetadata": object,
    "logprobsResult": dict,
    "safetyRatings": object,
}
_FEEDBACK_DONE: Final[Done] = {"safetyRatings": object}
_CITED: Final = ("citationMetadata", "groundingMetadata", "urlContextMetadata")
_PART_DONE: Final[Done] = {
    "text": str,
    "functionCall": dict,
    "toolCall": dict,
    "executableCode": dict,
    "codeExecutionResult": object,
    "toolResponse": object,
    "functionResponse": object,
    "inlineData": dict,
}
_RESULTS: Final = ("codeExecutionResult", "toolResponse", "functionResponse")
_CALL_DONE: Final[Done] = {"name": str, "args": object}
_TOOL_CALL_DONE: Final[Done] = {"toolType": str, "args": object}
_CODE_DONE: Final[Done] = {"code": str}


def whole_answer(body: Json) -> list[AnswerEvent]:
    """Read a whole answer, or the array of answers that a streamed one can come as."""
    reader = GeminiReader()
    events = [event for item in _items(body) for event in reader.body(item)]
    events += reader.close()
    if any(isinstance(event, (Failed, Ended)) for event in events):
        return events
    return [*events, Ended()]


def _items(body: Json) -> list[Json]:
    return body if isinstance(body, list) else [body]


def google_failure(error: Json) -> Failed:
    """Read Google's error object; its ``status`` says more than the number in ``code``."""
    fields = as_dict(error)
    status = as_str(fields.get("status"))
    return failure({**fields, "code": status} if status else error)


class GeminiReader:
    """Reads the chunks of one stream, and whole answers as a stream of one.

    ``logprobsResult`` (the text again, token by token) is passed over.
    """

    def __init__(self) -> None:
        self._channels = Channels(KNOWN, _OPAQUE)
        self._seen: set[int] = set()
        self._stopped: set[int] = set()
        self._ended = False
        self._uses = ToolUses()

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one chunk."""
        body, problems = parse(frame.data)
        return problems or [event for item in _items(body) for event in self.body(item)]

    def close(self) -> list[AnswerEvent]:
        """Close what is open."""
        return self._channels.close_all()

    def body(self, body: Json, path: Path = ()) -> list[AnswerEvent]:
        """Read one chunk, bare or wrapped in ``response`` (the Gemini CLI's own service)."""
        fields = as_dict(body)
        if not isinstance(body, dict):
            return self._channels.other(body, path)
        if isinstance(fields.get("response"), dict) and "candidates" not in fields and not path:
            inner = self.body(fields["response"], ("response",))
            return inner + self._channels.rest(body, (), {"response": dict})
        events = _identity(fields) + usage(fields.get("usageMetadata"))
        for position, candidate in enumerate(as_list(fields.get("candidates"))):
            events += self._candidate(candidate, position, (*path, "candidates", position))
        events += self._feedback(fields.get("promptFeedback"), (*path, "promptFeedback"))
        if fields.get("error"):
            events.append(google_failure(fields["error"]))
        return events + self._channels.rest(body, path, _BODY_DONE) + self._end()

    def _end(self) -> list[AnswerEvent]:
        """Return the end, once nothing more is to come."""
        if self._ended or not self._stopped or self._seen - self._stopped:
            return []
        self._ended = True
        return [*self._channels.close_all(), Ended()]

    def _stop(self, choice: int, reason: Json) -> list[AnswerEvent]:
        if not isinstance(reason, str) or not reason:
            return []
        self._stopped.add(choice)
        return [*self._channels.close_all(choice), Stopped(choice=choice, reason=reason)]

    def _feedback(self, feedback: Json, path: Path) -> list[AnswerEvent]:
        stopped = self._stop(0, as_dict(feedback).get("blockReason"))
        events = self._channels.rest(feedback, path, _FEEDBACK_DONE)
        return events + self._ratings(as_dict(feedback), path) + stopped

    def _ratings(self, holder: dict[str, Json], path: Path) -> list[AnswerEvent]:
        """Read safety ratings: keywords, and whatever else may stand there."""
        ratings, where = holder.get("safetyRatings"), (*path, "safetyRatings")
        return self._channels.loose(ratings, where, kind=ChannelKind.OTHER)

    def _candidate(self, candidate: Json, position: int, path: Path) -> list[AnswerEvent]:
        if not isinstance(candidate, dict):
            return self._channels.other(candidate, path)
        number = as_count(candidate.get("index"))
        number = position if number is None else number
        if len(self._seen) < _MAX_CANDIDATES:
            self._seen.add(number)
        events = self._content(candidate.get("content"), number, (*path, "content"))
        for key in _CITED:
            events += self._channels.loose(
                candidate.get(key), (*path, key), kind=ChannelKind.CITATION, choice=number
            )
        events += self._uses.grounding(candidate)
        events += self._ratings(candidate, path)
        events += self._channels.rest(candidate, path, _CANDIDATE_DONE, event=f"{number}")
        return events + self._stop(number, candidate.get("finishReason"))

    def _content(self, content: Json, number: int, path: Path) -> list[AnswerEvent]:
        fields = as_dict(content)
        if not isinstance(content, dict):
            return self._channels.other(content, path)
        events: list[AnswerEvent] = []
        for index, part in enumerate(as_list(fields.get("parts"))):
            events += self._part(part, number, (*path, "parts", index))
        return events + self._channels.rest(content, path, {"parts": list}, event=f"{number}")

    def _part(self, part: Json, number: int, path: Path) -> list[AnswerEvent]:
        if not isinstance(part, dict):
            return self._channels.other(part, path)
        kind = ChannelKind.REASONING if part.get("thought") is True else ChannelKind.TEXT
        events = self._channels.delta(Channel(number, kind), part.get("text"), (*path, "text"))
        events += self._calls(part, number, path)
        for key in _RESULTS:
            events += self._channels.loose(
                part.get(key), (*path, key), kind=ChannelKind.TOOL_RESULT, choice=number
            )
        events += self._channels.rest(part.get("inlineData"), (*path, "inlineData"), {})
        return events + self._channels.rest(part, path, _PART_DONE, event=f"{number}")

    def _calls(self, part: dict[str, Json], number: int, path: Path) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        if isinstance(call := part.get("functionCall"), dict):
            where = (*path, "functionCall")
            events += self._call(call, call.get("name"), number, where)
            events += self._channels.rest(call, where, _CALL_DONE, event=f"call {number}")
        if isinstance(call := part.get("toolCall"), dict):
            where = (*path, "toolCall")
            events += self._call(call, call.get("toolType"), number, where)
            events += self._channels.rest(call, where, _TOOL_CALL_DONE, event=f"call {number}")
        if isinstance(call := part.get("executableCode"), dict):
            where = (*path, "executableCode")
            events += self._uses.use("code_execution")
            events += self._call(
                {"args": call.get("code")}, "code_execution", number, where, "code"
            )
            events += self._channels.rest(call, where, _CODE_DONE, event=f"call {number}")
        return events

    def _call(
        self, call: dict[str, Json], name: Json, number: int, path: Path, key: str = "args"
    ) -> list[AnswerEvent]:
        """Read a call that comes whole, on a channel of its own."""
        channel = self._channels.numbered(number, ChannelKind.TOOL_CALL, object())
        arguments = call.get("args")
        written = arguments if isinstance(arguments, str) else compact(arguments or {})
        events = self._channels.tool(channel, call.get("id"), name)
        events += self._channels.delta(channel, written, (*path, key))
        return events + self._channels.close(channel)


_MAX_CANDIDATES: Final = 1024


def _identity(body: dict[str, Json]) -> list[AnswerEvent]:
    found = Identified(
        response_id=as_str(body.get("responseId")),
        model=as_str(body.get("modelVersion")),
        service_tier=as_str(as_dict(body.get("usageMetadata")).get("serviceTier")),
    )
    return [found] if found != Identified() else []
