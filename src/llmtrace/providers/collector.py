"""Puts the events of an answer together."""

from collections.abc import Iterable, Mapping
from typing import Final

from llmtrace.domain.answers import (
    Answer,
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Identified,
    Stopped,
    TextDelta,
    TextRepeat,
    ToolCall,
    ToolCallOpened,
    Unread,
    UsageSeen,
)

MAX_TEXT: Final = 32 << 20
MAX_CHANNELS: Final = 10_000

_MAX_NAME: Final = 1_024
_MAX_MESSAGE: Final = 8 << 10
_USAGE_DEPTH: Final = 6
_USAGE_WIDTH: Final = 200


class AnswerCollector:
    """Collects the events of one answer, whole or streamed, into an ``Answer``.

    At most ``max_text`` code points and ``max_channels`` channels are kept. What is over a
    bound is reported as ``Unread`` with the reason ``too_large`` and its size in bytes of
    UTF-8. In the answer there is one ``Unread`` for each reason, with the sum of the sizes.
    Names are cut at 1,024 code points, the message of an error at 8,192.
    """

    def __init__(self, *, max_text: int = MAX_TEXT, max_channels: int = MAX_CHANNELS) -> None:
        self._left = max_text
        self._max_channels = max_channels
        self._deltas: dict[Channel, list[str]] = {}
        self._repeats: dict[Channel, str] = {}
        self._opened: dict[Channel, ToolCallOpened] = {}
        self._identity = Identified()
        self._stops: dict[int, str] = {}
        self._usage: dict[str, object] | None = None
        self._error: Failed | None = None
        self._complete = False
        self._unread: dict[str, int] = {}

    def add(self, events: Iterable[AnswerEvent]) -> None:
        """Take the next events, in their order."""
        for event in events:
            match event:
                case TextDelta():
                    self._delta(event)
                case TextRepeat():
                    self._repeat(event)
                case ToolCallOpened():
                    self._open(event)
                case Identified():
                    self._identify(event)
                case UsageSeen():
                    self._usage = _merged(self._usage or {}, event.raw, _USAGE_DEPTH)
                case Stopped():
                    if len(self._stops) < self._max_channels:
                        self._stops[event.choice] = event.reason[:_MAX_NAME]
                case Failed():
                    code, message = event.code[:_MAX_NAME], event.message[:_MAX_MESSAGE]
                    self._error = Failed(code=code, message=message)
                case Ended():
                    self._complete = True
                case Unread():
                    self._miss(event.reason, event.size)
                case _:
                    pass  # a channel's end says nothing that its text does not

    def answer(self) -> Answer:
        """Return what has come so far."""
        texts = self._repeats | {channel: "".join(t) for channel, t in self._deltas.items()}
        return Answer(
            response_id=self._identity.response_id,
            model=self._identity.model,
            service_tier=self._identity.service_tier,
            texts={c: text for c, text in texts.items() if c.kind is not ChannelKind.TOOL_CALL},
            tool_calls=tuple(self._tool_call(channel, texts) for channel in self._calls(texts)),
            stop_reasons=tuple(reason for _, reason in sorted(self._stops.items())),
            usage=self._usage,
            error=self._error,
            complete=self._complete,
            unread=tuple(Unread(reason=r, size=size) for r, size in self._unread.items()),
        )

    def _delta(self, event: TextDelta) -> None:
        if self._repeats and event.channel in self._repeats:
            self._left += len(self._repeats.pop(event.channel))
        pieces = self._deltas.get(event.channel)
        if event.text and self._has_room(event.text, known=pieces is not None):
            if pieces is None:
                pieces = self._deltas[event.channel] = []
            pieces.append(event.text)

    def _repeat(self, event: TextRepeat) -> None:
        """Keep the whole text of a channel whose pieces never came."""
        if event.channel in self._deltas or not event.text:
            return
        self._left += len(self._repeats.pop(event.channel, ""))
        if self._has_room(event.text, known=False):
            self._repeats[event.channel] = event.text

    def _has_room(self, text: str, *, known: bool) -> bool:
        """Whether a text can be kept, of a channel that is ``known`` or one more."""
        full = len(self._deltas) + len(self._repeats) >= self._max_channels
        if len(text) > self._left or (full and not known):
            self._miss("too_large", len(text.encode("utf-8", "surrogatepass")))
            return False
        self._left -= len(text)
        return True

    def _open(self, event: ToolCallOpened) -> None:
        """Note a call's id and name; a later event adds what an earlier one left empty."""
        before = self._opened.get(event.channel)
        if before is None and len(self._opened) >= self._max_channels:
            self._miss("too_large", len(event.name))
            return
        self._opened[event.channel] = ToolCallOpened(
            channel=event.channel,
            call_id=(before and before.call_id) or event.call_id[:_MAX_NAME],
            name=(before and before.name) or event.name[:_MAX_NAME],
        )

    def _identify(self, event: Identified) -> None:
        known = self._identity
        if event == known:
            return  # each chunk says it again
        self._identity = Identified(
            response_id=event.response_id[:_MAX_NAME] or known.response_id,
            model=event.model[:_MAX_NAME] or known.model,
            service_tier=event.service_tier[:_MAX_NAME] or known.service_tier,
        )

    def _miss(self, reason: str, size: int) -> None:
        self._unread[reason] = self._unread.get(reason, 0) + size

    def _calls(self, texts: Mapping[Channel, str]) -> list[Channel]:
        unopened = [c for c in texts if c.kind is ChannelKind.TOOL_CALL and c not in self._opened]
        return [*self._opened, *unopened]

    def _tool_call(self, channel: Channel, texts: Mapping[Channel, str]) -> ToolCall:
        opened = self._opened.get(channel)
        return ToolCall(
            channel=channel,
            call_id=opened.call_id if opened else "",
            name=opened.name if opened else "",
            arguments=texts.get(channel, ""),
        )


def _merged(
    known: Mapping[str, object], later: Mapping[str, object], depth: int
) -> dict[str, object]:
    """Return both, the later value where it is not null; objects are merged in the same way."""
    merged = dict(known)
    for key, value in later.items():
        if key not in merged and len(merged) >= _USAGE_WIDTH:
            continue
        if isinstance(value, Mapping):
            before = merged.get(key)
            if depth:
                fields = before if isinstance(before, Mapping) else {}
                merged[key] = _merged(fields, value, depth - 1)
        elif (kept := _leaf(value, depth)) is not None:
            merged[key] = kept
    return merged


def _leaf(value: object, depth: int) -> object:
    """Return a value as far as it can belong to a usage object, bounded; else None."""
    if isinstance(value, list):
        items = (
            _merged({}, item, depth - 1) if isinstance(item, Mapping) else _leaf(item, 0)
            for item in value[:_USAGE_WIDTH]
        )
        return [item for item in items if item is not None] if depth else None
    return value[:_MAX_NAME] if isinstance(value, str) else value
