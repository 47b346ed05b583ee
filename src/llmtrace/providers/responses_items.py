"""The items of a response's output, wherever they stand: in an event, or in the response.

A channel is told by its item's place in the output and by its place in the item; it gets the next
number of its kind. The arguments of a tool call are the string that the item has for them, or
compact JSON where they are an object. What has been said before is a repeat.

Source: the types of the openai SDK 3.52 (``responses/``).
"""

from collections.abc import Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent, Channel, ChannelKind, Unread
from llmtrace.domain.parts import Path
from llmtrace.providers.answering import Channels, Done, compact
from llmtrace.providers.base import Json
from llmtrace.providers.reading import as_count, as_dict, as_list, as_str

CONTENT: Final[Mapping[str, tuple[str, ChannelKind]]] = {
    "output_text": ("text", ChannelKind.TEXT),
    "text": ("text", ChannelKind.TEXT),
    "refusal": ("refusal", ChannelKind.REFUSAL),
    "reasoning_text": ("text", ChannelKind.REASONING),
    "summary_text": ("text", ChannelKind.REASONING),
    "output_audio": ("transcript", ChannelKind.TRANSCRIPT),
    "audio": ("transcript", ChannelKind.TRANSCRIPT),
}
"""Content by its type: the member that has its text, and the kind of its channel."""

CALLS: Final[Mapping[str, tuple[str, str]]] = {
    "function_call": ("", "arguments"),
    "custom_tool_call": ("", "input"),
    "mcp_call": ("", "arguments"),
    "mcp_approval_request": ("", "arguments"),
    "shell_call": ("shell", "action"),
    "local_shell_call": ("local_shell", "action"),
    "apply_patch_call": ("apply_patch", "operation"),
    "computer_call": ("computer", "action"),
    "web_search_call": ("web_search", "action"),
    "file_search_call": ("file_search", "queries"),
    "code_interpreter_call": ("code_interpreter", "code"),
    "tool_search_call": ("tool_search", "arguments"),
}
"""Tool calls by their type: the name where the item has none, and where the arguments are."""

_RESULTS: Final = ("output", "outputs", "results", "error", "tools")
_ITEM_DONE: Final[Done] = {
    **dict.fromkeys(_RESULTS, object),
    "content": list,
    "summary": list,
    "result": str,
}
_CONTENT_DONE: Final[Done] = {"annotations": object, "logprobs": list}
_MAX_PLACES: Final = 10_000

type Inner = tuple[object, ...]
"""Where a text stands in its item: ``("content", 0)``, ``("summary", 1)``, ``("call",)``."""

CALL: Final[Inner] = ("call",)


class Items:
    """Reads the output items of one response."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._places: dict[str, int] = {}

    def place(self, item_id: str, index: Json) -> int:
        """Tell an item's place in the output: as it says, else as its id said before."""
        place = as_count(index)
        if place is None:
            return self._places.get(item_id, 0)
        if item_id and len(self._places) < _MAX_PLACES:
            return self._places.setdefault(item_id, place)
        return place

    def channel(self, kind: ChannelKind, place: int, inner: Inner) -> Channel | None:
        """Return the channel of a text of an item."""
        return self._channels.numbered(0, kind, (place, *inner))

    def item(self, item: Json, place: int, path: Path, *, final: bool) -> list[AnswerEvent]:
        """Read an item. ``final``: it stands at its end, arguments and results are there."""
        if not isinstance(item, dict):
            return self._channels.other(item, path)
        kind = as_str(item.get("type"))
        done = dict(_ITEM_DONE)
        events: list[AnswerEvent] = []
        for key in ("summary", "content"):
            for index, part in enumerate(as_list(item.get(key))):
                events += self.content(part, place, (key, index), (*path, key, index))
        if kind in CALLS:
            done |= {CALLS[kind][1]: object, "name": str}
            events += self._call(item, kind, place, path, final=final)
        if final:
            for key in _RESULTS:
                where, named = (*path, key), (place, key)
                result = ChannelKind.TOOL_RESULT
                events += self._channels.placed(item.get(key), where, named, kind=result)
            if image := as_str(item.get("result")):
                events.append(Unread(reason="media", size=len(image)))
        rest = self._channels.rest(item, path, done, event=f"item {place}", again=True)
        return events + rest

    def content(self, part: Json, place: int, inner: Inner, path: Path) -> list[AnswerEvent]:
        """Read a piece of an item's content, with its annotations."""
        fields = as_dict(part)
        key, kind = CONTENT.get(as_str(fields.get("type")), ("", ChannelKind.OTHER))
        done: dict[str, type] = {**_CONTENT_DONE}
        events: list[AnswerEvent] = []
        if key:
            done[key] = str
            channel = self.channel(kind, place, inner)
            events += self._channels.whole(channel, fields.get(key), (*path, key))
        for index, annotation in enumerate(as_list(fields.get("annotations"))):
            where = (*path, "annotations", index)
            events += self.annotation(annotation, place, (*inner, index), where)
        if not isinstance(part, dict):
            return self._channels.other(part, path)
        if kind is ChannelKind.TRANSCRIPT:
            done["data"] = str
        event = f"content {place} {inner}"
        return events + self._channels.rest(part, path, done, event=event, again=True)

    def annotation(
        self, annotation: Json, place: int, inner: Inner, path: Path
    ) -> list[AnswerEvent]:
        """Read a citation."""
        citation = ChannelKind.CITATION
        return self._channels.placed(annotation, path, (place, *inner), kind=citation)

    def _call(
        self, item: dict[str, Json], kind: str, place: int, path: Path, *, final: bool
    ) -> list[AnswerEvent]:
        name, member = CALLS[kind]
        channel = self.channel(ChannelKind.TOOL_CALL, place, CALL)
        call_id = item.get("call_id") or item.get("id")
        events = self._channels.tool(channel, call_id, as_str(item.get("name")) or name)
        arguments = item.get(member)
        if not final or arguments is None:
            return events
        written = arguments if isinstance(arguments, str) else compact(arguments)
        events += self._channels.whole(channel, written, (*path, member))
        return events + self._channels.close(channel)
