"""Answers of the Responses API and of Realtime: typed events, and whole responses.

A response's echo of its request (instructions, tools, …) is passed over: it has been read as the
request. ``obfuscation`` is padding, ``logprobs`` the text again.

Source: the types of the openai SDK 3.52 (``responses/``, ``realtime/``).
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent, ChannelKind, Ended, Stopped, Unread
from llmtrace.domain.parts import Path
from llmtrace.providers.answering import Channels, Done, failure, identified, parse, usage
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.leaves import words
from llmtrace.providers.openai_errors import DONE
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str
from llmtrace.providers.responses_items import CALL, Inner, Items
from llmtrace.providers.tooluses import ToolUses

KNOWN: Final = words(
    """
    id object type role model status phase name namespace call_id item_id response_id event_id
    server_label service_tier incomplete_details reason code param conversation_id
    previous_item_id previous_response_id conversation voice modalities output_modalities
    output_audio_format status_details background size quality output_format container_id file_id
    agent execution created_by obfuscation encoding approval_request_id
    """
)
_OPAQUE: Final = words("encrypted_content fingerprint")
_ECHO: Final[Done] = dict.fromkeys(
    words(
        """
        instructions tools tool_choice metadata text prompt reasoning truncation user audio
        prompt_cache_key prompt_cache_retention safety_identifier moderation context_management
        """
    ),
    object,
)

_RESPONSE_DONE: Final[Done] = {**_ECHO, "output": list, "usage": dict, "error": object}

_TEXT_EVENTS: Final[Mapping[str, tuple[str, ChannelKind]]] = {
    "response.output_text": ("text", ChannelKind.TEXT),
    "response.text": ("text", ChannelKind.TEXT),
    "response.refusal": ("refusal", ChannelKind.REFUSAL),
    "response.reasoning_text": ("text", ChannelKind.REASONING),
    "response.reasoning_summary_text": ("text", ChannelKind.REASONING),
    "response.audio.transcript": ("transcript", ChannelKind.TRANSCRIPT),
    "response.audio_transcript": ("transcript", ChannelKind.TRANSCRIPT),
    "response.output_audio_transcript": ("transcript", ChannelKind.TRANSCRIPT),
    "response.function_call_arguments": ("arguments", ChannelKind.TOOL_CALL),
    "response.custom_tool_call_input": ("input", ChannelKind.TOOL_CALL),
    "response.mcp_call_arguments": ("arguments", ChannelKind.TOOL_CALL),
    "response.code_interpreter_call_code": ("code", ChannelKind.TOOL_CALL),
    "response.shell_call_command": ("command", ChannelKind.OTHER),
    "response.shell_call_output_content": ("output", ChannelKind.OTHER),
}
"""Events ``X.delta`` and ``X.done``: the member with the whole text, and the channel's kind.

A shell call's commands come one by one; its arguments are the item's ``action``, at its end.
"""

_MEDIA_EVENTS: Final[Mapping[str, str]] = {
    "response.audio.delta": "delta",
    "response.output_audio.delta": "delta",
    "response.image_generation_call.partial_image": "partial_image_b64",
}
_ENDINGS: Final = words("response.completed response.failed response.incomplete response.done")
_BEGINNINGS: Final = words("response.created response.queued response.in_progress")
_ITEM_EVENTS: Final[Mapping[str, bool]] = {
    "response.output_item.added": False,
    "response.output_item.done": True,
}
_PART_EVENTS: Final[Mapping[str, tuple[str, str]]] = {
    "response.content_part.added": ("content", "content_index"),
    "response.content_part.done": ("content", "content_index"),
    "response.reasoning_summary_part.added": ("summary", "summary_index"),
    "response.reasoning_summary_part.done": ("summary", "summary_index"),
}
_ANNOTATION: Final = "response.output_text.annotation.added"


def whole_answer(body: Json) -> list[AnswerEvent]:
    """Read a whole response, or an error, into the events that its stream would give."""
    reader = ResponsesReader()
    if not isinstance(body, dict):
        return [*reader.event(body), *reader.close(), Ended()]
    if body.get("error") and "output" not in body:
        return [failure(body["error"])]
    events = reader.response(body, (), ended=True)
    waiting = body.get("status") in ("queued", "in_progress")
    return events if waiting else [*events, Ended()]


class ResponsesReader:
    """Reads the typed events of one response."""

    def __init__(self) -> None:
        self._channels = Channels(KNOWN, _OPAQUE)
        self._items = Items(self._channels)
        self._uses = ToolUses()

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one event of a stream."""
        if frame.data.strip() == DONE:
            return [*self._channels.close_all(), Ended()]
        body, problems = parse(frame.data)
        return problems or self.event(body, frame.event)

    def close(self) -> list[AnswerEvent]:
        """Close what is open: without a terminal event nothing says that this was the end."""
        return self._channels.close_all()

    def event(self, body: Json, name: str = "") -> list[AnswerEvent]:
        """Read one event; ``name`` is its name where its JSON has no ``type``."""
        if not isinstance(body, dict):
            return self._channels.other(body, (), event=name)
        name = as_str(body.get("type")) or name
        if name == "error" or (body.get("error") and not name.startswith("response.")):
            return [failure(body.get("error") or body)]
        stem, _, stage = name.rpartition(".")
        if stem in _TEXT_EVENTS and stage in ("added", "delta", "done"):
            return self._text(body, stem, stage)
        if name in _ENDINGS or name in _BEGINNINGS:
            return self._whole(body, name)
        if name in _ITEM_EVENTS:
            return self._item(body, name)
        if name in _PART_EVENTS:
            return self._part(body, name)
        if name == _ANNOTATION:
            return self._annotation(body)
        return self._media(body, name)

    def response(self, response: Json, path: Path, *, ended: bool) -> list[AnswerEvent]:
        """Read a response object; ``ended``: it is the last word, its output is read."""
        if not isinstance(response, dict):
            return self._channels.other(response, path)
        events = identified(response)
        events += self._channels.rest(response, path, _RESPONSE_DONE, event="response", again=True)
        if not ended:
            return events
        for index, item in enumerate(as_list(response.get("output"))):
            place = self._items.place(as_str(as_dict(item).get("id")), index)
            events += self._items.item(item, place, (*path, "output", index), final=True)
            events += self._uses.item(item, place)
        events += self._channels.close_all() + usage(response.get("usage"))
        events += usage({"tool_usage": response.get("tool_usage")})
        return events + _ending(response)

    def _whole(self, body: dict[str, Json], name: str) -> list[AnswerEvent]:
        ended = name in _ENDINGS
        events = self.response(body.get("response"), ("response",), ended=ended)
        events += self._channels.rest(body, (), {"response": object}, event=name)
        return [*events, Ended()] if ended else events

    def _item(self, body: dict[str, Json], name: str) -> list[AnswerEvent]:
        item = body.get("item")
        item_id = as_str(as_dict(item).get("id")) or as_str(body.get("item_id"))
        place = self._items.place(item_id, body.get("output_index"))
        events = self._items.item(item, place, ("item",), final=_ITEM_EVENTS[name])
        if _ITEM_EVENTS[name]:
            events += self._uses.item(item, place)
        return events + self._channels.rest(body, (), {"item": object}, event=name)

    def _place(self, body: dict[str, Json]) -> int:
        return self._items.place(as_str(body.get("item_id")), body.get("output_index"))

    def _text(self, body: dict[str, Json], stem: str, stage: str) -> list[AnswerEvent]:
        member, kind = _TEXT_EVENTS[stem]
        key = "delta" if stage == "delta" else member
        inner = _inner(body, stem, kind)
        channel = self._items.channel(kind, self._place(body), inner)
        done: Done = {key: str, "logprobs": list, "obfuscation": str}
        rest = self._channels.rest(body, (), done, event=f"{stem} {inner}")
        if stage == "done":
            whole = self._channels.whole(channel, body.get(key), (key,))
            return whole + self._channels.close(channel) + rest
        return self._channels.delta(channel, body.get(key), (key,)) + rest

    def _part(self, body: dict[str, Json], name: str) -> list[AnswerEvent]:
        holder, key = _PART_EVENTS[name]
        inner = (holder, as_count(body.get(key)) or 0)
        events = self._items.content(body.get("part"), self._place(body), inner, ("part",))
        return events + self._channels.rest(body, (), {"part": object}, event=name)

    def _annotation(self, body: dict[str, Json]) -> list[AnswerEvent]:
        index = as_count(body.get("annotation_index")) or 0
        inner = ("content", as_count(body.get("content_index")) or 0, index)
        place = self._place(body)
        events = self._items.annotation(body.get("annotation"), place, inner, ("annotation",))
        return events + self._channels.rest(body, (), {"annotation": object}, event=_ANNOTATION)

    def _media(self, body: dict[str, Json], name: str) -> list[AnswerEvent]:
        """Read an event of sound or pictures, or one that nobody knows."""
        key = _MEDIA_EVENTS.get(name, "")
        size = len(as_str(body.get(key))) if key else 0
        rest = self._channels.rest(body, (), {key: str} if key else {}, event=name)
        return [Unread(reason="media", size=size), *rest] if size else rest


def _inner(body: dict[str, Json], stem: str, kind: ChannelKind) -> Inner:
    """Tell the place of a text in its item."""
    if kind is ChannelKind.TOOL_CALL:
        return CALL
    if kind is ChannelKind.OTHER:
        return (stem, as_count(body.get("command_index")) or 0)
    if stem == "response.reasoning_summary_text":
        return ("summary", as_count(body.get("summary_index")) or 0)
    return ("content", as_count(body.get("content_index")) or 0)


def _ending(response: dict[str, Json]) -> list[AnswerEvent]:
    """Return how a response ended: an error, or the reason why it stopped."""
    details = as_dict(response.get("status_details"))
    error = response.get("error") or details.get("error")
    status = as_str(response.get("status"))
    if error or status == "failed":
        return [failure(error or {"code": "failed", "message": ""})]
    incomplete = as_dict(response.get("incomplete_details")).get("reason")
    reason = as_str(incomplete) or as_str(details.get("reason")) or status
    running = status in ("queued", "in_progress")
    return [Stopped(choice=0, reason=reason)] if reason and not running else []
