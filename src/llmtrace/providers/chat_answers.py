"""Chat answers: whole, and as chunks; legacy completions too, whose chunks have ``text``.

Source: the types of the openai SDK 3.52 (``chat/``), and the deviations that compatible providers
are known for: content lists in answers (Mistral), ``reasoning`` beside ``reasoning_content``,
tool-call deltas without an index, usage under ``x_groq``, errors inside a choice (OpenRouter).
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Stopped,
    Unread,
)
from llmtrace.domain.parts import Path
from llmtrace.providers.answering import (
    Channels,
    Done,
    compact,
    failure,
    identified,
    parse,
    usage,
)
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import DONE
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

KNOWN: Final = words(
    """
    id object model role type index provider finish_reason native_finish_reason service_tier
    system_fingerprint name call_id severity prompt_filter_results content_filter_results
    content_filter_result hate self_harm sexual violence jailbreak protected_material_code
    protected_material_text profanity x_groq
    """
)
"""Keys of an answer whose values are names, ids and keywords."""

_TEXTS: Final[Mapping[str, tuple[ChannelKind, int]]] = {
    "content": (ChannelKind.TEXT, 0),
    "refusal": (ChannelKind.REFUSAL, 0),
    "reasoning_content": (ChannelKind.REASONING, 0),
    "reasoning": (ChannelKind.REASONING, 1),
}
_BLOCKS: Final[Mapping[str, ChannelKind]] = {
    "text": ChannelKind.TEXT,
    "thinking": ChannelKind.REASONING,
}
_MAX_STRUCTURE: Final = 48
"""Path length from which blocks in blocks are read flat."""
_BODY_DONE: Final[Done] = {
    "choices": list,
    "usage": dict,
    "error": object,
    "obfuscation": str,
    "x_groq": dict,
}
_CHOICE_DONE: Final[Done] = {
    "delta": object,
    "message": object,
    "text": object,
    "error": object,
    "logprobs": dict,
}
_MESSAGE_DONE: Final[Done] = {
    **dict.fromkeys(_TEXTS, object),
    "tool_calls": list,
    "function_call": object,
    "audio": object,
    "annotations": object,
}
_CALL_DONE: Final[Done] = {"function": object, "custom": object}
_FUNCTION_DONE: Final[Done] = {"name": str, "arguments": object, "input": object}
_AUDIO_DONE: Final[Done] = {"transcript": object, "data": str}


def whole_answer(body: Json) -> list[AnswerEvent]:
    """Read a whole chat or legacy completion into the events that its stream would give."""
    reader = ChatReader()
    events = reader.body(body)
    if any(isinstance(event, Failed) for event in events):
        return [*events, *reader.close()]
    return [*events, *reader.close(), Ended()]


class ChatReader:
    """Reads chat chunks and legacy completion chunks, and whole answers as one chunk of all.

    ``obfuscation`` (padding) and ``logprobs`` (the text again, token by token) are passed over.
    """

    def __init__(self) -> None:
        self._channels = Channels(KNOWN)
        self._last_call: dict[int, object] = {}

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one event."""
        if frame.data.strip() == DONE:
            return [*self._channels.close_all(), Ended()]
        body, problems = parse(frame.data)
        return problems or self.body(body, frame.event)

    def close(self) -> list[AnswerEvent]:
        """Close what is open: without ``[DONE]`` nothing says that this was the end."""
        return self._channels.close_all()

    def body(self, body: Json, event: str = "") -> list[AnswerEvent]:
        """Read one chunk, or a whole answer."""
        if not isinstance(body, dict):
            return self._channels.other(body, (), event=event)
        if body.get("object") == "error" and "error" not in body:
            return [failure(body)]
        events = identified(body)
        for position, choice in enumerate(as_list(body.get("choices"))):
            events += self._choice(choice, position, ("choices", position))
        groq = as_dict(body.get("x_groq"))
        events += usage(body.get("usage")) + usage(groq.get("usage"))
        for holder in (body, groq):
            if holder.get("error"):
                events.append(failure(holder["error"]))
        return events + self._channels.rest(body, (), _BODY_DONE, event=event)

    def _choice(self, choice: Json, position: int, path: Path) -> list[AnswerEvent]:
        if not isinstance(choice, dict):
            return self._channels.other(choice, path)
        number = as_count(choice.get("index"))
        number = position if number is None else number
        events: list[AnswerEvent] = []
        for key in ("delta", "message"):
            if key in choice:
                events += self._message(choice[key], number, (*path, key), final=key == "message")
        if choice.get("text"):
            channel = Channel(number, ChannelKind.TEXT)
            events += self._text(choice["text"], channel, (*path, "text"))
        if choice.get("error"):
            events.append(failure(choice["error"]))
        if reason := as_str(choice.get("finish_reason")):
            events += self._channels.close_all(number)
            events.append(Stopped(choice=number, reason=reason))
        return events + self._channels.rest(choice, path, _CHOICE_DONE, event=f"{number}")

    def _message(self, message: Json, number: int, path: Path, *, final: bool) -> list[AnswerEvent]:
        if not isinstance(message, dict):
            return self._channels.other(message, path)
        events: list[AnswerEvent] = []
        for key, (kind, index) in _TEXTS.items():
            if message.get(key):
                channel = Channel(number, kind, index)
                events += self._text(message[key], channel, (*path, key), final=final)
        for position, call in enumerate(as_list(message.get("tool_calls"))):
            where = (*path, "tool_calls", position)
            events += self._call(call, number, position, where, final=final)
        if message.get("function_call"):
            where = (*path, "function_call")
            legacy = self._channels.numbered(number, ChannelKind.TOOL_CALL, "function_call")
            events += self._function(message["function_call"], legacy, "", where, final=final)
        if message.get("audio"):
            events += self._audio(message["audio"], number, (*path, "audio"), final=final)
        if notes := message.get("annotations"):
            where, kind = (*path, "annotations"), ChannelKind.CITATION
            events += self._channels.loose(notes, where, kind=kind, choice=number)
        return events + self._channels.rest(message, path, _MESSAGE_DONE, event=f"{number}")

    def _text(
        self, value: Json, channel: Channel, path: Path, *, final: bool = False
    ) -> list[AnswerEvent]:
        """Read a string, or a list of blocks that continue the same channel."""
        if isinstance(value, str):
            say = self._channels.whole if final else self._channels.delta
            return say(channel, value, path)
        if not isinstance(value, list) or len(path) > _MAX_STRUCTURE:
            return self._channels.other(value, path)
        events: list[AnswerEvent] = []
        for position, block in enumerate(value):
            events += self._block(block, channel, (*path, position))
        return events

    def _block(self, block: Json, channel: Channel, path: Path) -> list[AnswerEvent]:
        if isinstance(block, str):
            return self._channels.delta(channel, block, path)
        fields = as_dict(block)
        key = as_str(fields.get("type"))
        kind = _BLOCKS.get(key)
        if kind is None or key not in fields:
            return self._channels.other(block, path)
        named = Channel(channel.choice, kind, channel.index)
        rest = self._channels.rest(block, path, {key: object})
        return self._text(fields[key], named, (*path, key)) + rest

    def _call(
        self, call: Json, number: int, position: int, path: Path, *, final: bool
    ) -> list[AnswerEvent]:
        if not isinstance(call, dict):
            return self._channels.other(call, path)
        key = self._call_key(call, number, position, final=final)
        channel = self._channels.numbered(number, ChannelKind.TOOL_CALL, key)
        events: list[AnswerEvent] = []
        for member in ("function", "custom"):
            if call.get(member):
                where = (*path, member)
                events += self._function(call[member], channel, call.get("id"), where, final=final)
        return events + self._channels.rest(call, path, _CALL_DONE)

    def _call_key(
        self, call: dict[str, Json], number: int, position: int, *, final: bool
    ) -> object:
        """Tell which call a delta belongs to: by its index, else its id, else it is the last."""
        index = as_count(call.get("index"))
        if final or index is not None:
            key: object = position if index is None else index
        else:
            key = as_str(call.get("id")) or self._last_call.get(number, position)
        self._last_call[number] = key
        return key

    def _function(
        self, function: Json, channel: Channel | None, call_id: Json, path: Path, *, final: bool
    ) -> list[AnswerEvent]:
        if not isinstance(function, dict):
            return self._channels.other(function, path)
        name = function.get("name")
        if channel is not None and name and self._channels.has_name(channel) and not final:
            events = self._channels.other(name, (*path, "name"))
        else:
            events = self._channels.tool(channel, call_id, name)
        say = self._channels.whole if final else self._channels.delta
        for key in ("arguments", "input"):
            value = function.get(key)
            if value is not None:
                written = value if isinstance(value, str) else compact(value)
                events += say(channel, written, (*path, key))
        return events + self._channels.rest(function, path, _FUNCTION_DONE)

    def _audio(self, audio: Json, number: int, path: Path, *, final: bool) -> list[AnswerEvent]:
        """Read the transcript; the sound itself is a gap."""
        if not isinstance(audio, dict):
            return self._channels.other(audio, path)
        channel = Channel(number, ChannelKind.TRANSCRIPT)
        events = self._text(audio.get("transcript"), channel, (*path, "transcript"), final=final)
        if data := as_str(audio.get("data")):
            events.append(Unread(reason="media", size=len(data)))
        return events + self._channels.rest(audio, path, _AUDIO_DONE)
