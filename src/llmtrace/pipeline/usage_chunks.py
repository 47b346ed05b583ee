"""Takes the chunk out of a chat stream that tells the usage nobody but the gateway asked for.

OpenAI sends it last before ``[DONE]``, with no choices in it, to those who ask by
``stream_options.include_usage``
(https://platform.openai.com/docs/api-reference/chat-streaming/streaming).
"""

import re
from typing import Final

import orjson

_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_HINT: Final = b'"usage"'
MOST_HELD: Final = 1 << 20
"""Bytes of an event that has not ended."""
_DATA: Final = re.compile(rb"^data:[ ]?(.*?)$", re.MULTILINE)


class UsageChunkFilter:
    """Lets an event stream through whole event by whole event, but for that chunk.

    What it holds of an event that has not ended is bounded: beyond, all goes on as it comes.
    """

    def __init__(self, *, max_event: int = MOST_HELD) -> None:
        self._held = b""
        self._max_event = max_event
        self._passes = False

    def receive(self, data: bytes) -> bytes:
        """Take the next bytes of the stream; return those that go on."""
        if self._passes:
            return data
        held, out = self._held + data, b""
        start = 0
        for end in _END.finditer(held, max(0, len(self._held) - 3)):
            event = held[start : end.end()]
            out += b"" if _is_usage_alone(event) else event
            start = end.end()
        self._held = held[start:]
        if len(self._held) > self._max_event:
            self._passes = True
            return out + self.close()
        return out

    def next(self, chunk: bytes) -> bytes:
        """Take what a ``stream`` callable is given, which is empty at the end."""
        return self.receive(chunk) if chunk else self.close()

    def close(self) -> bytes:
        """The stream ended: return what is held still."""
        held, self._held = self._held, b""
        return held


def _is_usage_alone(event: bytes) -> bool:
    """Whether an event says what was used, and nothing else."""
    if _HINT not in event or b'"choices"' not in event:
        return False
    data = b"".join(match[1].rstrip(b"\r") for match in _DATA.finditer(event))
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    told = isinstance(chunk, dict) and isinstance(chunk.get("usage"), dict)
    return told and chunk.get("choices") == []
