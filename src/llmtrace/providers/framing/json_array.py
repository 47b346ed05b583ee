"""A JSON array that is streamed element by element, as Gemini answers without ``alt=sse``."""

import re
from enum import Enum, auto
from typing import Final

from llmtrace.providers.base import Frame, FrameTooLarge

MAX_ELEMENT: Final = 4 << 20

_BETWEEN: Final = re.compile(rb"[^ \t\r\n,]")
_STRUCTURE: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
"""A whole string, the begin of one that goes on in the next chunk, or a bracket."""
_STRING: Final = re.compile(rb'["\\]')
_OPENING: Final = (b"{", b"[")
_CLOSING: Final = (b"}", b"]")


class _State(Enum):
    BEFORE = auto()
    BETWEEN = auto()
    ELEMENT = auto()
    STRING = auto()
    ESCAPE = auto()
    AFTER = auto()
    BROKEN = auto()


class JsonArrayFraming:
    """Cuts ``[{…},{…}]`` into its objects, each as soon as its last brace is there.

    A lone object (an error, say) is one frame. The objects are told apart by their brackets
    and strings only: whoever parses them finds what is wrong inside. Bytes that belong to no
    object end the reading, since nothing after them can be told apart with certainty: they
    and what follows them are counted in ``pending``.
    ``max_element`` is in bytes; where it is met, the objects before are returned first and
    the next ``receive`` raises.
    """

    def __init__(self, *, max_element: int = MAX_ELEMENT) -> None:
        self._max = max_element
        self._state = _State.BEFORE
        self._in_array = False
        self._depth = 0
        self._element = bytearray()
        self._lost = 0
        self._error: FrameTooLarge | None = None

    def receive(self, chunk: bytes) -> list[Frame]:
        """Return the objects that ``chunk`` completes."""
        if self._error:
            raise self._error
        frames: list[Frame] = []
        at = start = 0
        while at < len(chunk):
            if self._state in _INSIDE:
                at = self._inside(chunk, at)
                if self._depth == 0:
                    self._element += chunk[start:at]
                    if not self._finish(frames):
                        break
            else:
                at = start = self._outside(chunk, at)
        else:
            if self._state in _INSIDE:
                self._element += chunk[start:]
        if len(self._element) > self._max:
            self._error = FrameTooLarge(f"an element is longer than {self._max} bytes")
            if not frames:
                raise self._error
        return frames

    def close(self) -> list[Frame]:
        """Return nothing: an object without its last brace is none."""
        return []

    @property
    def is_array(self) -> bool:
        """Whether the objects stand in an array, as far as that is known."""
        return self._in_array

    @property
    def pending(self) -> int:
        """Bytes of the object that is not complete, or of what is no object."""
        return len(self._element) + self._lost

    def _finish(self, frames: list[Frame]) -> bool:
        if len(self._element) > self._max:
            return False
        frames.append(Frame(event="", data=bytes(self._element)))
        self._element.clear()
        self._state = _State.BETWEEN if self._in_array else _State.AFTER
        return True

    def _outside(self, chunk: bytes, at: int) -> int:
        """Read what stands around the objects; return where the next object or chunk begins."""
        if self._state is not _State.BROKEN:
            found = _BETWEEN.search(chunk, at)
            if found is None:
                return len(chunk)
            at = found.start()
            match self._state, found[0]:
                case _State.BEFORE, b"[":
                    self._in_array = True
                    self._state = _State.BETWEEN
                    return at + 1
                case ((_State.BEFORE | _State.BETWEEN), b"{"):
                    self._state = _State.ELEMENT
                    return at
                case _State.BETWEEN, b"]":
                    self._state = _State.AFTER
                    return at + 1
        self._state = _State.BROKEN
        self._lost += len(chunk) - at
        return len(chunk)

    def _inside(self, chunk: bytes, at: int) -> int:
        """Read on in an object; return where it, or else the chunk, ends."""
        if self._state is not _State.ELEMENT:
            at = self._in_string(chunk, at)
        for found in _STRUCTURE.finditer(chunk, at):
            token = found[0]
            if token in _OPENING:
                self._depth += 1
            elif token in _CLOSING:
                self._depth -= 1
                if self._depth == 0:
                    return found.end()
            elif token == b'"':
                self._state = _State.STRING
                return self._in_string(chunk, found.end())
        return len(chunk)

    def _in_string(self, chunk: bytes, at: int) -> int:
        """Read on in a string; return where it, or else the chunk, ends."""
        while at < len(chunk):
            if self._state is _State.ESCAPE:
                self._state = _State.STRING
                at += 1
                continue
            found = _STRING.search(chunk, at)
            if found is None:
                return len(chunk)
            at = found.end()
            if found[0] == b'"':
                self._state = _State.ELEMENT
                return at
            self._state = _State.ESCAPE
        return at


_INSIDE: Final = frozenset({_State.ELEMENT, _State.STRING, _State.ESCAPE})
