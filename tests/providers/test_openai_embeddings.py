"""Embeddings: texts are read, vectors are not."""

import json

from llmtrace.domain.answers import Ended, Failed, TextDelta, Unread, UsageSeen
from llmtrace.providers.base import Frame, Json, Route
from llmtrace.providers.openai_embeddings import OpenAIEmbeddings

ROUTE = Route(provider="openai", dialect="openai.embeddings", operation="embeddings")
ANSWER: Json = {
    "object": "list",
    "model": "m",
    "data": [{"embedding": [0.1, 0.2]}, {"embedding": "AAAA", "object": "embedding"}],
    "usage": {"prompt_tokens": 4},
}


def test_inputs_are_the_users() -> None:
    view = OpenAIEmbeddings().request({"model": "m", "input": ["a", "b"]}, ROUTE)
    assert [part.location for part in view.parts] == ["input[0]", "input[1]"]
    assert view.max_output_tokens == 0


def test_vectors_are_never_text() -> None:
    events = OpenAIEmbeddings().answer(ANSWER)
    assert not [event for event in events if isinstance(event, TextDelta)]
    assert Unread(reason="media", size=4) in events
    assert UsageSeen(raw={"prompt_tokens": 4}) in events
    assert events[-1] == Ended()


def test_what_is_beside_a_vector_is_read() -> None:
    answer: Json = {"data": [{"embedding": [0.1], "note": "a text"}, "another"], "more": "third"}
    events = OpenAIEmbeddings().answer(answer)
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert texts == ["a text", "another", "third"]


def test_an_error_is_no_answer() -> None:
    error: Json = {"error": {"message": "No", "code": "c"}}
    assert OpenAIEmbeddings().answer(error) == [Failed(code="c", message="No")]


def test_a_stream_gives_the_same() -> None:
    frame = Frame(event="", data=json.dumps(ANSWER).encode())
    assert OpenAIEmbeddings().reader().receive(frame) == OpenAIEmbeddings().answer(ANSWER)
