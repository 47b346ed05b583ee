"""Which framing reads which media type: one line a format."""

from collections.abc import Callable, Mapping
from typing import Final

from llmtrace.providers.base import Framing
from llmtrace.providers.framing.event_stream import EventStreamFraming
from llmtrace.providers.framing.json_array import JsonArrayFraming
from llmtrace.providers.framing.ndjson import NdjsonFraming
from llmtrace.providers.framing.sse import SseFraming

type Factory = Callable[[int], Framing]
"""Makes a framing whose frames have at most so many bytes."""


def _sse(max_frame: int) -> Framing:
    return SseFraming(max_event=max_frame)


def _ndjson(max_frame: int) -> Framing:
    return NdjsonFraming(max_line=max_frame)


def _json_array(max_frame: int) -> Framing:
    return JsonArrayFraming(max_element=max_frame)


def _event_stream(max_frame: int) -> Framing:
    return EventStreamFraming(max_message=max_frame)


FRAMINGS: Final[Mapping[str, Factory]] = {
    "text/event-stream": _sse,
    "application/x-ndjson": _ndjson,
    "application/ndjson": _ndjson,
    "application/jsonl": _ndjson,
    "application/x-jsonl": _ndjson,
    "application/x-jsonlines": _ndjson,
    "application/stream+json": _ndjson,
    "application/vnd.amazon.eventstream": _event_stream,
}
"""Media types that are streams whatever the dialect."""

DIALECT_FRAMINGS: Final[Mapping[tuple[str, str], Factory]] = {
    ("gemini.generate", "application/json"): _json_array,
    ("ollama.chat", "application/json"): _ndjson,
    ("ollama.generate", "application/json"): _ndjson,
}
"""What a media type means in the streamed answers of one dialect."""


def framing_for(media_type: str, *, dialect: str = "", max_frame: int = 4 << 20) -> Framing | None:
    """Return a new framing for a streamed answer, or None where the type is no known stream.

    ``media_type`` may carry parameters; ``max_frame`` is in bytes.
    """
    essence = media_type.partition(";")[0].strip().lower()
    factory = DIALECT_FRAMINGS.get((dialect, essence)) or FRAMINGS.get(essence)
    return factory(max_frame) if factory else None
