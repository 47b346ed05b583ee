"""Server-sent events, by the rules of the WHATWG HTML standard, §9.2.6."""

import re
from typing import Final

from llmtrace.providers.base import Frame, FrameTooLarge

KEEPALIVES: Final = frozenset(
    {b"", b"ping", b"keep-alive", b"keepalive", b"heartbeat", b"openrouter processing"}
)
"""Comments that say nothing."""
MAX_ID: Final = 256
BOM: Final = b"\xef\xbb\xbf"
MAX_LINE: Final = 1 << 20
MAX_EVENT: Final = 4 << 20

SNIFFED: Final = 4096
_FIELD_LINE: Final = re.compile(rb"^(?:data|event):", re.MULTILINE)
_COLON: Final = 0x3A
_COMMENT: Final = Frame(event="", data=b"", is_comment=True)


def looks_like_events(content: bytes) -> bool:
    """Whether an answer is a stream of events, whatever its media type says."""
    return _FIELD_LINE.search(content, 0, SNIFFED) is not None


class SseFraming:
    """Cuts a ``text/event-stream`` into events.

    One leading BOM is dropped, lines end at LF, CR or CRLF, data lines are joined by LF, and
    an event without data or without its blank line is none. ``Frame.data`` is the bytes as
    they came. ``retry`` says nothing of the content and is ignored, an ``id`` of an event that
    is one is kept. With ``comments`` each comment line is a frame as well, without its words.

    ``max_event`` bounds the raw bytes of an event's own lines, ``max_line`` those of one line.
    Where a bound is met, the events before it are returned first and the next ``receive``
    raises, so that the frames do not depend on the cutting.
    """

    def __init__(
        self, *, max_event: int = MAX_EVENT, max_line: int = MAX_LINE, comments: bool = False
    ) -> None:
        self.comments = comments
        self._max_event = max_event
        self._max_line = min(max_line, max_event)
        self._start: bytes | None = b""  # until it is known whether the stream begins with a BOM
        self._after_cr = False
        self._tail = bytearray()
        self._data: list[bytes] = []
        self._event = b""
        self._id: str | None = None
        self._held = 0  # raw bytes of the lines of the open event
        self._error: FrameTooLarge | None = None
        self.ignored = 0
        """Bytes of comments and of fields that clients leave aside, though they may hold text."""

    def receive(self, chunk: bytes) -> list[Frame]:
        """Return the events that ``chunk`` completes."""
        if self._error:
            raise self._error
        if self._start is not None:
            chunk = self._without_bom(chunk)
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if not chunk:
            return []
        frames: list[Frame] = []
        try:
            self._split(chunk, frames)
        except FrameTooLarge as error:
            self._error = error
            if not frames:
                raise
        return frames

    def close(self) -> list[Frame]:
        """Return nothing: an event without its blank line is not dispatched."""
        return []

    @property
    def pending(self) -> int:
        """Bytes of the line and the event that are not complete."""
        return len(self._start or b"") + len(self._tail) + self._held

    def _without_bom(self, chunk: bytes) -> bytes:
        start = (self._start or b"") + chunk
        if len(start) < len(BOM) and BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(BOM)

    def _split(self, chunk: bytes, frames: list[Frame]) -> None:
        lines = chunk.splitlines()  # of bytes: at LF, CR and CRLF only, unlike that of str
        rest = b"" if chunk[-1] in b"\r\n" else lines.pop()
        self._after_cr = chunk[-1] == 0x0D
        if lines and self._tail:
            lines[0] = bytes(self._tail + lines[0])
            self._tail.clear()
        for line in lines:
            if len(line) > self._max_line:
                self._tail += line
                raise _too_large("line", self._max_line)
            if not line:
                self._dispatch(frames)
            elif self.comments and line[0] == _COLON:
                self._ignore(line)
                frames.append(_COMMENT)
            else:
                self._field(line)
        self._tail += rest
        if len(self._tail) > self._max_line:
            raise _too_large("line", self._max_line)

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._event = line[7:] if line[6:7] == b" " else line[6:]
        elif line == b"data":
            self._data.append(b"")
        elif line == b"event":
            self._event = b""
        else:
            self._ignore(line)
            return
        self._held += len(line) + 1
        if self._held > self._max_event:
            raise _too_large("event", self._max_event)

    def _ignore(self, line: bytes) -> None:
        name, _, text = line.partition(b":")
        plain = name in (b"id", b"retry") and len(text) <= MAX_ID
        if plain and name == b"id" and b"\0" not in text:
            self._id = text.removeprefix(b" ").decode("utf-8", "replace")
        if not plain and not (name == b"" and text.strip().lower() in KEEPALIVES):
            self.ignored += len(line)

    def _dispatch(self, frames: list[Frame]) -> None:
        if data := self._data:
            joined = data[0] if len(data) == 1 else b"\n".join(data)
            name = self._event.decode("utf-8", "replace")
            frames.append(Frame(event=name, data=joined, id=self._id))
            self._data = []
        self._event = b""
        self._id = None
        self._held = 0


def _too_large(what: str, bound: int) -> FrameTooLarge:
    return FrameTooLarge(f"a server-sent {what} is longer than {bound} bytes")
