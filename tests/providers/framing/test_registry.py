import pytest

from llmtrace.providers.base import FrameTooLarge
from llmtrace.providers.framing.event_stream import EventStreamFraming
from llmtrace.providers.framing.json_array import JsonArrayFraming
from llmtrace.providers.framing.ndjson import NdjsonFraming
from llmtrace.providers.framing.registry import DIALECT_FRAMINGS, FRAMINGS, framing_for
from llmtrace.providers.framing.sse import SseFraming


@pytest.mark.parametrize(
    ("media_type", "dialect", "expected"),
    [
        pytest.param("text/event-stream", "", SseFraming, id="sse"),
        pytest.param("Text/Event-Stream; charset=utf-8", "", SseFraming, id="case-and-parameters"),
        pytest.param("application/x-ndjson", "", NdjsonFraming, id="ndjson"),
        pytest.param("application/vnd.amazon.eventstream", "", EventStreamFraming, id="aws"),
        pytest.param("application/json", "gemini.generate", JsonArrayFraming, id="gemini-array"),
        pytest.param("text/event-stream", "gemini.generate", SseFraming, id="gemini-sse"),
    ],
)
def test_media_type_chooses_the_framing(
    media_type: str, dialect: str, expected: type[object]
) -> None:
    assert isinstance(framing_for(media_type, dialect=dialect), expected)


@pytest.mark.parametrize("media_type", ["", "application/json", "text/html", "text/event-streams"])
def test_what_is_no_stream_has_no_framing(media_type: str) -> None:
    assert framing_for(media_type, dialect="openai.chat") is None


ALL = [("", media_type) for media_type in FRAMINGS] + list(DIALECT_FRAMINGS)


@pytest.mark.parametrize(("dialect", "media_type"), ALL)
def test_every_framing_is_bounded_and_starts_empty(dialect: str, media_type: str) -> None:
    framing = framing_for(media_type, dialect=dialect, max_frame=64)
    assert framing is not None
    assert (framing.receive(b""), framing.pending) == ([], 0)
    aws = bytes.fromhex("0000ffff000000004b82b329")
    endless = aws if isinstance(framing, EventStreamFraming) else b'{"a":"' + b"x" * 100
    with pytest.raises(FrameTooLarge):
        framing.receive(endless)
