"""``openai.completions``: the legacy completions, still the native tongue of many servers."""

from typing import Final

import orjson

from llmtrace.domain.answers import AnswerEvent
from llmtrace.domain.parts import Path
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.chat_answers import ChatReader, whole_answer
from llmtrace.providers.media import NUMBERS
from llmtrace.providers.openai_chat import KNOWN
from llmtrace.providers.openai_errors import OpenAIErrors
from llmtrace.providers.reading import (
    UNKNOWN,
    USER,
    Reader,
    Reading,
    Voice,
    as_count,
    as_dict,
    as_str,
    members,
    speaking,
    streams,
    text,
)


def is_ids(value: Json) -> bool:
    """Whether this is a prompt in token ids: a list of integers that can be ids."""
    return isinstance(value, list) and bool(value) and all(map(_is_id, value))


def _is_id(value: Json) -> bool:
    return as_count(value) is not None


def prompts(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read a text, token ids, or a list of either. Ids are a gap: only the model reads them."""
    if not isinstance(value, list):
        text(reading, value, path, voice)
    elif is_ids(value):
        reading.opaque(_written(value), path, voice, NUMBERS)
    else:
        for index, item in enumerate(value):
            if is_ids(item):
                reading.opaque(_written(item), (*path, index), voice, NUMBERS)
            else:
                text(reading, item, (*path, index), voice)


def _written(ids: Json) -> bytes:
    return orjson.dumps(ids)


_REQUEST: Final[Reader] = members(prompt=speaking(USER, prompts), suffix=speaking(USER, text))


class OpenAICompletions(OpenAIErrors):
    """The dialect of ``/v1/completions``."""

    @property
    def name(self) -> str:
        """``openai.completions``."""
        return "openai.completions"

    def request(self, body: Json, route: Route) -> RequestView:
        """Read the prompt or prompts; each one has ``n`` choices."""
        reading = Reading(KNOWN)
        _REQUEST(reading, body, (), UNKNOWN)
        fields = as_dict(body)
        prompt = fields.get("prompt")
        batch = len(prompt) if isinstance(prompt, list) and prompt and not is_ids(prompt) else 1
        return RequestView(
            model=as_str(fields.get("model")) or route.model,
            stream=streams(body, route),
            parts=reading.parts,
            media=reading.media,
            max_output_tokens=as_count(fields.get("max_tokens")),
            choices=batch * max(1, as_count(fields.get("n")) or 1),
            billable=route.billable,
            unread=reading.unread,
        )

    def answer(self, body: Json) -> list[AnswerEvent]:
        """Read a whole answer, or an error."""
        return whole_answer(body)

    def reader(self) -> ChatReader:
        """Return a reader of chunks."""
        return ChatReader()
