"""``openai.embeddings``: texts in, vectors out. The vectors are never read as text."""

from typing import Final

from llmtrace.domain.answers import AnswerEvent, Ended, Unread
from llmtrace.providers.answering import Channels, Done, failure, identified, parse, usage
from llmtrace.providers.base import Frame, Json, RequestView, Route
from llmtrace.providers.openai_chat import KNOWN
from llmtrace.providers.openai_completions import prompts
from llmtrace.providers.openai_errors import OpenAIErrors
from llmtrace.providers.reading import (
    UNKNOWN,
    USER,
    Reader,
    Reading,
    as_dict,
    as_list,
    as_str,
    members,
    speaking,
)

_REQUEST: Final[Reader] = members(input=speaking(USER, prompts))
_REQUEST_KNOWN: Final = KNOWN | {"encoding_format", "input_type", "truncate"}
_ANSWER_KNOWN: Final = frozenset({"id", "object", "model"})
_BODY_DONE: Final[Done] = {"data": list, "usage": dict, "error": object}
_ITEM_DONE: Final[Done] = {"embedding": object}


class OpenAIEmbeddings(OpenAIErrors):
    """The dialect of ``/v1/embeddings``."""

    @property
    def name(self) -> str:
        """``openai.embeddings``."""
        return "openai.embeddings"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read the texts to embed."""
        reading = Reading(_REQUEST_KNOWN)
        _REQUEST(reading, body, (), UNKNOWN)
        return RequestView(
            model=as_str(as_dict(body).get("model")) or route.model,
            parts=reading.parts,
            media=reading.media,
            max_output_tokens=0,
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read usage and errors. A vector in base64 is counted as media."""
        return EmbeddingsReader().body(body)

    def reader(self) -> "EmbeddingsReader":
        """Return a reader; embeddings do not stream, but nobody is obliged to know that."""
        return EmbeddingsReader()


class EmbeddingsReader:
    """Reads a whole answer per frame."""

    def __init__(self) -> None:
        self._channels = Channels(_ANSWER_KNOWN)

    def receive(self, frame: Frame) -> list[AnswerEvent]:
        """Read one frame."""
        body, problems = parse(frame.data)
        return problems or self.body(body)

    def close(self) -> list[AnswerEvent]:
        """Nothing is left open."""
        return self._channels.close_all()

    def body(self, body: Json) -> list[AnswerEvent]:
        """Read an answer or an error."""
        if not isinstance(body, dict):
            return self._channels.other(body, ())
        if body.get("error"):
            return [failure(body["error"])]
        events = identified(body) + usage(body.get("usage"))
        for position, item in enumerate(as_list(body.get("data"))):
            vector = as_dict(item).get("embedding")
            if isinstance(vector, str):
                events.append(Unread(reason="media", size=len(vector)))
            path = ("data", position)
            if isinstance(item, dict):
                events += self._channels.rest(item, path, _ITEM_DONE)
            else:
                events += self._channels.other(item, path)
        events += self._channels.rest(body, (), _BODY_DONE)
        return [*events, *self._channels.close_all(), Ended()]
