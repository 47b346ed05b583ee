"""Reading an answer: what the dialects share, whether the answer comes whole or as a stream."""

import hashlib
from collections.abc import Mapping
from typing import Final

import orjson

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelClosed,
    ChannelKind,
    Failed,
    Identified,
    TextDelta,
    TextRepeat,
    ToolCallOpened,
    Unread,
    UsageSeen,
)
from llmtrace.domain.parts import Path
from llmtrace.providers.base import Json
from llmtrace.providers.leaves import NOTHING_KNOWN, is_token, strings
from llmtrace.providers.media import is_blob
from llmtrace.providers.reading import as_dict, as_str

MAX_CHANNELS: Final = 10_000
"""Channels of one answer. Text on further ones is counted as ``Unread``, not read."""

type Done = Mapping[str, type]
"""Members of an object that have been read, if they are of this type."""


def parse(data: bytes) -> tuple[Json, list[AnswerEvent]]:
    """Parse a frame's JSON; where it is none, return None and the event that says so."""
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None, [Unread(reason="bad_json", size=len(data))]
    return value, []


def compact(value: Json) -> str:
    """Write a value as compact JSON, such as tool arguments that came as an object."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # deeper than orjson writes: its strings say what there is to read
        return "\n".join(text for _, text in strings(value))


def failure(error: Json) -> Failed:
    """Read an error object, or the string that stands in its place."""
    if isinstance(error, str):
        return Failed(code="", message=error)
    fields = as_dict(error)
    code = fields.get("code")
    named = code if isinstance(code, (str, int)) and not isinstance(code, bool) else None
    if named in (None, "", 0):
        named = as_str(fields.get("type")) or as_str(fields.get("status"))
    message = fields.get("message")
    return Failed(code=str(named), message=message if isinstance(message, str) else compact(error))


def identified(body: Mapping[str, Json], *, response_id: str = "id") -> list[AnswerEvent]:
    """Return what a body says of itself, if anything."""
    said = as_str(body.get(response_id))
    model, tier = as_str(body.get("model")), as_str(body.get("service_tier"))
    if not (said or model or tier):
        return []
    return [Identified(response_id=said, model=model, service_tier=tier)]


def usage(raw: Json) -> list[AnswerEvent]:
    """Return a usage object as an event. Members that are null say nothing and are left out."""
    if not isinstance(raw, dict):
        return []
    said = {key: value for key, value in raw.items() if value is not None}
    return [UsageSeen(raw=said)] if said else []


class Channels:
    """The channels of one answer: numbers them, and knows what each one has said.

    ``known`` are the keys whose values are ids and keywords in this dialect's answers, ``opaque``
    those whose values only the provider can read.
    """

    def __init__(
        self, known: frozenset[str] = NOTHING_KNOWN, opaque: frozenset[str] = NOTHING_KNOWN
    ) -> None:
        self.known = known
        self.opaque = opaque
        self._numbers: dict[object, Channel] = {}
        self._counts: dict[tuple[int, ChannelKind], int] = {}
        self._said: dict[Channel, hashlib.blake2b] = {}
        self._open: dict[Channel, None] = {}
        self._tools: dict[Channel, str] = {}

    def numbered(self, choice: int, kind: ChannelKind, key: object) -> Channel | None:
        """Return the channel that stands for ``key``, numbered in order of appearance.

        Returns None where there are ``MAX_CHANNELS`` already.
        """
        name = (choice, kind, key)
        channel = self._numbers.get(name)
        if channel is None and len(self._numbers) < MAX_CHANNELS:
            index = self._counts.get((choice, kind), 0)
            self._counts[choice, kind] = index + 1
            channel = self._numbers[name] = Channel(choice, kind, index)
        return channel

    def delta(self, channel: Channel | None, text: Json, path: Path) -> list[AnswerEvent]:
        """Return the event of a piece of text; none for an empty one."""
        if not isinstance(text, str) or not text:
            return []
        encoded = text.encode("utf-8", "surrogatepass")
        said = self._listen(channel) if channel is not None else None
        if channel is None or said is None:
            return [Unread(reason="too_large", size=len(encoded))]
        said.update(encoded)
        return [TextDelta(channel=channel, text=text, path=path)]

    def whole(self, channel: Channel | None, text: Json, path: Path) -> list[AnswerEvent]:
        """Return the event of a channel's whole text.

        It is a repeat if the channel has said just this, news if the channel has said nothing.
        If it said something else, the text goes to a channel of its own: nothing is unread.
        """
        if not isinstance(text, str) or not text:
            return []
        said = self._said.get(channel) if channel else None
        if channel is None or said is None or said.digest() == _SILENCE:
            return self.delta(channel, text, path)
        if said.digest() == _hash(text).digest():
            return [TextRepeat(channel=channel, text=text, path=path)]
        return self.delta(self.numbered(channel.choice, ChannelKind.OTHER, object()), text, path)

    def tool(self, channel: Channel | None, call_id: Json, name: Json) -> list[AnswerEvent]:
        """Open a tool call: once, or a second time if its name has come only now."""
        named = as_str(name)
        if channel is None or (channel in self._tools and not (named and not self._tools[channel])):
            return []
        if self._listen(channel) is None:
            return []
        self._tools[channel] = named
        return [ToolCallOpened(channel=channel, call_id=as_str(call_id), name=named)]

    def has_name(self, channel: Channel) -> bool:
        """Whether this tool call has been opened with a name."""
        return bool(self._tools.get(channel))

    def close(self, channel: Channel | None) -> list[AnswerEvent]:
        """Close a channel, if it is open."""
        if channel is None or channel not in self._open:
            return []
        del self._open[channel]
        return [ChannelClosed(channel=channel)]

    def close_all(self, choice: int | None = None) -> list[AnswerEvent]:
        """Close every channel (of one choice) that is still open."""
        ending = [c for c in self._open if choice is None or c.choice == choice]
        return [event for channel in ending for event in self.close(channel)]

    def loose(
        self, value: Json, path: Path, *, kind: ChannelKind, choice: int = 0
    ) -> list[AnswerEvent]:
        """Read every string of a value that comes whole, each on a channel of its own."""
        events: list[AnswerEvent] = []
        for where, text in strings(value, path, known=self.known, sticky=True):
            if self._is_opaque(where, text):
                events.append(Unread(reason="media", size=len(text)))
                continue
            channel = self.numbered(choice, kind, object())
            events += self.delta(channel, text, where) + self.close(channel)
        return events

    def placed(
        self, value: Json, path: Path, key: tuple[object, ...], *, kind: ChannelKind
    ) -> list[AnswerEvent]:
        """Read every string of a value that may come again, whole: in an event, at the end.

        The same place below the same ``key`` is the same channel.
        """
        events: list[AnswerEvent] = []
        for where, text in strings(value, path, known=self.known, sticky=True):
            if self._is_opaque(where, text):
                events.append(Unread(reason="media", size=len(text)))
                continue
            channel = self.numbered(0, kind, (*key, where[len(path) :]))
            events += self.whole(channel, text, where) + self.close(channel)
        return events

    def other(
        self,
        value: Json,
        path: Path,
        *,
        event: str = "",
        known: frozenset[str] = NOTHING_KNOWN,
        again: bool = False,
    ) -> list[AnswerEvent]:
        """Read every string of what nobody knows.

        The same place of the same kind of event is the same channel, so that a text which comes
        in pieces is put together again. ``again``: it comes whole, and more than once, at the
        same place below ``path``.
        """
        say = self.whole if again else self.delta
        events: list[AnswerEvent] = []
        for where, text in strings(value, path, known=known):
            place = where[len(path) :] if again else where
            channel = self.numbered(0, ChannelKind.OTHER, (event, place))
            events += say(channel, text, where)
        return events

    def rest(
        self, body: Json, path: Path, done: Done, *, event: str = "", again: bool = False
    ) -> list[AnswerEvent]:
        """Read generically what stands in an object beside the members of ``done``."""
        events: list[AnswerEvent] = []
        for key, value in as_dict(body).items():
            if not isinstance(value, (str, list, dict)):
                continue
            if key in done and isinstance(value, done[key]):
                continue
            is_known = key in self.known
            if isinstance(value, str):
                if key in self.opaque and is_blob(value):
                    events.append(Unread(reason="media", size=len(value)))
                    continue
                if is_known and is_token(value):
                    continue
            known = self.known if is_known else NOTHING_KNOWN
            events += self.other({key: value}, path, event=event, known=known, again=again)
        return events

    def _is_opaque(self, path: Path, text: str) -> bool:
        return bool(path) and path[-1] in self.opaque and is_blob(text)

    def _listen(self, channel: Channel) -> hashlib.blake2b | None:
        """Open a channel unless too many are, and return what sums up what it has said."""
        said = self._said.get(channel)
        if said is None and len(self._said) < MAX_CHANNELS:
            said = self._said[channel] = hashlib.blake2b(digest_size=16)
            self._open[channel] = None
        return said


def _hash(text: str) -> hashlib.blake2b:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)


_SILENCE: Final = _hash("").digest()
