"""The dialect of what nobody knows: every string of a request and of an answer is read."""

from llmtrace.domain.answers import AnswerEvent, Ended
from llmtrace.providers.answering import Channels, failure, identified, parse, usage
from llmtrace.providers.base import Frame, Json, RequestView, Route
from llmtrace.providers.batches import BatchResults
from llmtrace.providers.leaves import strings
from llmtrace.providers.openai_errors import DONE, OpenAIErrors
from llmtrace.providers.reading import UNKNOWN, Reading, as_dict, as_str, streams
from llmtrace.providers.tooluses import pictures

__all__ = ["GenericDialect", "GenericReader", "strings"]


class GenericDialect(OpenAIErrors):
    """Reads any JSON. For routes of governed hosts that no dialect knows.

    Its errors are OpenAI's, whose shape most providers share.
    """

    @property
    def name(self) -> str:
        """``generic``."""
        return "generic"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read every string of the body as somebody's, not trusted."""
        reading = Reading()
        reading.strings(body, (), UNKNOWN)
        fields = as_dict(body)
        return RequestView(
            model=as_str(fields.get("model")) or route.model,
            stream=streams(body, route),
            parts=reading.parts,
            media=reading.media,
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read every string of the body, each on its own channel of kind OTHER."""
        channels = Channels()
        return [*_read(channels, body, BatchResults()), *channels.close_all(), Ended()]

    def reader(self) -> "GenericReader":
        """Return a reader for SSE, NDJSON or a streamed array."""
        return GenericReader()


class GenericReader:
    """Reads every string of every frame. A text that comes in pieces is put together."""

    def __init__(self) -> None:
        self._channels = Channels()
        self._batch = BatchResults()

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one frame."""
        if frame.data.strip() == DONE:
            return [*self._channels.close_all(), Ended()]
        body, problems = parse(frame.data)
        return problems or _read(self._channels, body, self._batch, frame.event)

    def close(self) -> list[AnswerEvent]:
        """Close what is open. Nothing says whether this was the end: no ``Ended``."""
        return self._channels.close_all()


def _read(
    channels: Channels, body: Json, batch: BatchResults, event: str = ""
) -> list[AnswerEvent]:
    fields = as_dict(body)
    told = fields.get("usage") if fields.get("object") != "batch" else None
    events = identified(fields) + usage(told) + pictures(fields) + batch.read(fields)
    if fields.get("error"):
        events.append(failure(fields["error"]))
    return events + channels.other(body, (), event=event)
