"""Reads an answer while it passes: decodes, frames, reads and keeps it, and changes nothing."""

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import orjson

from llmtrace.domain.answers import Answer, AnswerEvent, Unread
from llmtrace.domain.traces import Gap
from llmtrace.pipeline.streaming import Blocked
from llmtrace.providers.base import AnswerReader, Dialect, FrameTooLarge, Framing
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.decoding import Reason, decoder_for
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.framing.sse import SseFraming

STREAM_LINE: Final = re.compile(rb"^(?:data|event):", re.MULTILINE)
SNIFFED: Final = 4096


class Gate(Protocol):
    """Lets an answer's messages through as far as they are judged."""

    @property
    def blocked(self) -> Blocked | None:
        """Why the answer ended here, None if it did not."""
        ...

    def take(self, message: bytes, events: Sequence[AnswerEvent], *, last: bool) -> list[bytes]:
        """Take a message and what it says; return those that may go on now."""
        ...

    def let_go(self, message: bytes) -> list[bytes]:
        """Judge no more: return what is held, and with it a message that could not be taken."""
        ...

    def as_sent(self, content: bytes) -> bytes:
        """Return what went on with placeholders for the values that were put back."""
        ...


class MessageTap:
    """The same for an answer that comes as WebSocket messages, already read by their session.

    With a gate, what it lets through is what goes on and what is kept.
    """

    media_type = "application/x-ndjson"

    def __init__(
        self,
        *,
        max_bytes: int,
        keep: bool,
        on_events: Callable[[Sequence[AnswerEvent]], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.gate = gate
        self._collector = AnswerCollector()
        self._on_events = on_events
        self._max_bytes = max_bytes
        self._keep = keep
        self._kept: list[bytes] = []
        self._gaps: dict[str, int] = {}
        self.received = 0
        self.decoded = 0

    def receive(self, message: bytes) -> None:
        """Note a message from the provider, and keep it if it goes on as it is."""
        self.received += len(message)
        self.decoded += len(message)
        if self.gate is None:
            self._keep_message(message)

    def let_through(
        self, message: bytes, events: Sequence[AnswerEvent], *, last: bool
    ) -> list[bytes]:
        """Return the messages that may go on now that this one is there."""
        if self.gate is None:
            return [message]
        passed = self.gate.take(message, events, last=last)
        for one in passed:
            self._keep_message(one)
        return passed

    def let_go(self, message: bytes) -> list[bytes]:
        """Return what is held, unread, and a message: a fault of ours is to hold nothing."""
        passed = [message] if self.gate is None else self.gate.let_go(message)
        if self.gate is not None:
            for one in passed:
                self._keep_message(one)
        return passed

    def _keep_message(self, message: bytes) -> None:
        if self.decoded > self._max_bytes:
            self._gap("answer_over_limit", len(message))
        elif self._keep:
            self._kept.append(message + b"\n")

    def take(self, events: Sequence[AnswerEvent]) -> None:
        """Note what a message said."""
        self._collector.add(list(events))
        if self._on_events is not None:
            self._on_events(events)

    def close(self) -> Answer:
        """The answer ended: return what it said."""
        answer = self._collector.answer()
        for unread in answer.unread:
            self._gap(unread.reason, unread.size)
        return answer

    @property
    def content(self) -> bytes:
        """The messages, one a line, as far as they were kept."""
        content = b"".join(self._kept)
        return self.gate.as_sent(content) if self.gate else content

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was not read, by reason."""
        return tuple(Gap(reason=reason, size=size) for reason, size in self._gaps.items())

    def _gap(self, reason: str, size: int) -> None:
        self._gaps[reason] = self._gaps.get(reason, 0) + size


class AnswerTap:
    """Takes the bytes of one answer as they come, and knows at the end what it said.

    Never raises on data. What could not be read is in ``gaps``. ``on_events`` is told what
    each chunk said, before the chunk goes on.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        media_type: str,
        content_encoding: str,
        max_bytes: int,
        max_frame: int,
        keep: bool = True,
        on_events: Callable[[Sequence[AnswerEvent]], None] | None = None,
    ) -> None:
        self._dialect = dialect
        self._decoder = decoder_for(content_encoding, max_size=max_bytes)
        self._framing: Framing | None = framing_for(
            media_type, dialect=dialect.name, max_frame=max_frame
        )
        self._reader: AnswerReader | None = dialect.reader() if self._framing else None
        self._max_frame = max_frame
        self._collector = AnswerCollector()
        self._on_events = on_events
        self._keep = keep or self._framing is None
        self._kept: list[bytes] = []
        self._gaps: dict[str, int] = {}
        self.media_type = media_type
        self.received = 0
        """Bytes on the wire."""
        self.decoded = 0
        """Bytes after content decoding."""

    def receive(self, chunk: bytes) -> None:
        """Read the next bytes from the wire."""
        self.received += len(chunk)
        if self._decoder is None:
            self._gap("unknown_coding", len(chunk))
            return
        self._take(self._decoder.receive(chunk))
        if self._decoder.overflowed:
            self._gap("answer_over_limit", len(chunk))
        elif self._decoder.broken:
            self._gap("broken_coding", len(chunk))

    def close(self) -> Answer:
        """The answer ended, cleanly or not: return what it said."""
        if self._decoder is not None:
            self._take(self._decoder.close())
            if self._decoder.broken is Reason.TRUNCATED:
                self._gap("cut_coding", 1)
        if self._reader is not None:
            if self._framing is not None:
                self._read(self._framing)
            self._emit(self._reader.close())
        elif self._kept:
            self._emit(self._whole())
        answer = self._collector.answer()
        for unread in answer.unread:
            self._gap(unread.reason, unread.size)
        return answer

    @property
    def content(self) -> bytes:
        """The decoded answer, as far as it was kept."""
        return b"".join(self._kept)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was not read, by reason."""
        return tuple(Gap(reason=reason, size=size) for reason, size in self._gaps.items())

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self.decoded += len(data)
        if self._keep:
            self._kept.append(data)
        if self._reader is None:
            return
        if self._framing is None:  # a frame was too large, and where the next begins is unknown
            self._gap("frame_too_large", len(data))
            return
        try:
            frames = self._framing.receive(data)
        except FrameTooLarge:
            self._gap("frame_too_large", len(data) + self._framing.pending)
            self._framing = None
            return
        for frame in frames:
            self._emit(self._reader.receive(frame))

    def _read(self, framing: Framing) -> None:
        reader = self._reader
        if reader is None:
            return
        for frame in framing.close():
            self._emit(reader.receive(frame))
        if isinstance(framing, SseFraming):
            self._gap("comment", framing.ignored)
        if framing.pending:
            self._gap("cut_frame", framing.pending)

    def _whole(self) -> list[AnswerEvent]:
        content = self.content
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            return self._mislabelled(content)
        return self._dialect.answer(body)

    def _mislabelled(self, content: bytes) -> list[AnswerEvent]:
        """Read a stream that came under another media type, now that all of it is here."""
        framing = framing_for("text/event-stream", max_frame=self._max_frame)
        if framing is None or not STREAM_LINE.search(content[:SNIFFED]):
            reason = "bad_json" if "json" in self.media_type else "not_json"
            return [Unread(reason=reason, size=len(content))]
        reader = self._dialect.reader()
        try:
            frames = framing.receive(content) + framing.close()
        except FrameTooLarge:
            return [Unread(reason="frame_too_large", size=len(content))]
        return [event for frame in frames for event in reader.receive(frame)] + reader.close()

    def _emit(self, events: list[AnswerEvent]) -> None:
        if not events:
            return
        self._collector.add(events)
        if self._on_events is not None:
            self._on_events(events)

    def _gap(self, reason: str, size: int) -> None:
        if size:
            self._gaps[reason] = self._gaps.get(reason, 0) + size
