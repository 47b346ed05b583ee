"""What is told of the usage of batches: by their object, or by the answers in their results.

- OpenAI (and who speaks its format): the batch object, from the moment that the batch has ended.
- Anthropic: the file of results, one answer a line.
- Gemini: the operation, where the answers are in it and not in a file.

Prices depend on how long each prompt is, so answers are added up by model and by length.

Source: the types of the openai SDK 3.52 (``types/batch.py``), of the anthropic SDK 2.11
(``types/messages/message_batch_individual_response.py``) and of google-genai 3.4 (``BatchJob``).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from llmtrace.domain.answers import AnswerEvent, Identified, UsageSeen
from llmtrace.domain.usage import Usage
from llmtrace.providers.base import Json
from llmtrace.providers.batch_parts import Part, added, written
from llmtrace.providers.reading import as_dict, as_list, as_str
from llmtrace.providers.usage import read_usage
from llmtrace.providers.usage_shapes import BATCH

LENGTHS: Final = (32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000, 524_288)
"""Input tokens from which on some model has another price; a test compares them with all."""

MAX_GROUPS: Final = 150
"""Models and lengths that are told apart; the answers of further ones are left out."""

_ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})


class BatchResults:
    """Adds up the answers of one batch."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], Part] = {}

    def read(self, body: dict[str, Json]) -> list[AnswerEvent]:
        """Return what a body, or a line of one, tells of a batch; nothing if it is of none."""
        if body.get("object") == "batch":
            return self._told([_openai(body)]) if as_str(body.get("status")) in _ENDED else []
        if "custom_id" in body:
            message = as_dict(as_dict(body.get("result")).get("message"))
            return self._told([("anthropic.messages", message, message.get("usage"))])
        name = as_str(body.get("name"))
        if name.startswith("batches/"):
            return [Identified(response_id=name), *self._told(_gemini(body))]
        return []

    def _told(self, answers: "Iterable[_Told]") -> list[AnswerEvent]:
        """Add answers, and return the event that tells the sum so far."""
        told = False
        for dialect, answer, raw in answers:
            model = as_str(answer.get("model"))
            said = {key: value for key, value in as_dict(raw).items() if value is not None}
            usage = read_usage("", dialect, said, model)
            if usage is not None:
                self._add(model, usage)
                told = True
        return [UsageSeen(raw={BATCH: list(map(written, self._parts.values()))})] if told else []

    def _add(self, model: str, usage: Usage) -> None:
        key = (model, sum(usage.input_tokens > length for length in LENGTHS))
        known = self._parts.get(key)
        if known is None and len(self._parts) >= MAX_GROUPS:
            return
        before = known or Part(model, 0, Usage())
        largest = max(before.largest, usage.input_tokens)
        self._parts[key] = Part(model, largest, added(before.usage, usage))


type _Told = tuple[str, Mapping[str, Json], Json]
"""A dialect, what names the model, and the usage object."""


def _openai(body: dict[str, Json]) -> _Told:
    return "openai.responses", body, body.get("usage")


def _gemini(body: dict[str, Json]) -> Iterator[_Told]:
    """Go through the answers of an operation; they may stand one level deeper."""
    asked = as_str(as_dict(body.get("metadata")).get("model"))
    inlined = as_dict(body.get("response")).get("inlinedResponses")
    listed = as_dict(inlined).get("inlinedResponses") if isinstance(inlined, dict) else inlined
    for item in as_list(listed):
        answer = as_dict(as_dict(item).get("response"))
        model = as_str(answer.get("modelVersion")) or asked
        yield "gemini.generate", {"model": model}, answer.get("usageMetadata")
