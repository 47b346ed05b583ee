"""Newline-delimited JSON: one document a line (https://github.com/ndjson/ndjson-spec)."""

from typing import Final

from llmtrace.providers.base import Frame, FrameTooLarge

MAX_LINE: Final = 4 << 20
_BLANK: Final = b" \t\r"


class NdjsonFraming:
    """Cuts a stream into its lines; only LF ends one, and blank lines are none.

    The last line needs no LF. ``max_line`` is in bytes; where it is met, the lines before are
    returned first and the next ``receive`` raises.
    """

    def __init__(self, *, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._tail = bytearray()
        self._error: FrameTooLarge | None = None

    def receive(self, chunk: bytes) -> list[Frame]:
        """Return the lines that ``chunk`` completes."""
        if self._error:
            raise self._error
        *lines, rest = chunk.split(b"\n")
        if lines and self._tail:
            lines[0] = bytes(self._tail + lines[0])
            self._tail.clear()
        frames: list[Frame] = []
        for line in lines:
            if len(line) > self._max_line:
                self._tail += line
                break
            if stripped := line.strip(_BLANK):
                frames.append(Frame(event="", data=stripped))
        else:
            self._tail += rest
        if len(self._tail) > self._max_line:
            self._error = FrameTooLarge(f"a line is longer than {self._max_line} bytes")
            if not frames:
                raise self._error
        return frames

    def close(self) -> list[Frame]:
        """Return the last line where it had no LF."""
        if self._error:
            return []
        last = bytes(self._tail).strip(_BLANK)
        self._tail.clear()
        return [Frame(event="", data=last)] if last else []

    @property
    def pending(self) -> int:
        """Bytes of the line that is not complete."""
        return len(self._tail)
