"""Ollama's lines add up to what the whole answer says."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.answers import Answer, AnswerEvent, Channel, ChannelKind, Failed
from llmtrace.domain.parts import MediaKind, Role
from llmtrace.providers.base import Dialect, Frame, Json, Route
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.ollama import OllamaChat, OllamaGenerate

DIALECTS: dict[str, Dialect] = {"ollama.chat": OllamaChat(), "ollama.generate": OllamaGenerate()}
CHAT, GENERATE = DIALECTS.values()
ROUTE = Route(provider="ollama", dialect="ollama.chat", operation="chat")
EMBED = Route(provider="ollama", dialect="ollama.generate", operation="embeddings", stream=False)


def example(name: str) -> dict[str, Any]:
    text = (Path(__file__).parent / "examples" / f"{name}.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def put_together(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


def stream(dialect: Dialect, lines: list[Json]) -> list[AnswerEvent]:
    reader = dialect.reader()
    frames = [Frame(event="", data=json.dumps(line).encode()) for line in lines]
    return [event for frame in frames for event in reader.receive(frame)] + reader.close()


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_stream_says_what_the_whole_answer_says(name: str) -> None:
    lines = [frame["data"] for frame in example(name)["frames"]]
    whole = DIALECTS[name].answer(example(name)["answer"])
    assert put_together(stream(DIALECTS[name], lines)) == put_together(whole)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_stream_that_breaks_off_is_not_complete(name: str) -> None:
    lines = [frame["data"] for frame in example(name)["frames"]][:-1]
    assert not put_together(stream(DIALECTS[name], lines)).complete


@pytest.mark.parametrize(
    ("body", "streams"),
    [({}, True), ({"stream": True}, True), ({"stream": False}, False), ({"stream": None}, True)],
    ids=["absent", "true", "false", "null"],
)
def test_it_streams_unless_told_not_to(body: Json, streams: bool) -> None:
    assert CHAT.request(body, ROUTE).stream is streams
    assert GENERATE.request(body, EMBED).stream is False


def test_roles_and_images() -> None:
    view = CHAT.request(example("ollama.chat")["request"], ROUTE)
    assert [p.role for p in view.parts][:5] == [
        Role.SYSTEM,
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL_CALL,
        Role.TOOL_RESULT,
    ]
    assert [(m.kind, m.size) for m in view.media] == [(MediaKind.IMAGE, 16)]
    assert (view.model, view.max_output_tokens) == ("llama3.2", 64)


@pytest.mark.parametrize("value", ["one text", ["one text"]], ids=["string", "list"])
def test_texts_to_embed_are_the_users(value: Json) -> None:
    parts = GENERATE.request({"model": "m", "input": value}, EMBED).parts
    assert [(p.role, p.text) for p in parts] == [(Role.USER, "one text")]


@pytest.mark.parametrize(
    ("value", "texts"),
    [("json", []), ("two words", ["two words"]), ({"description": "d e"}, ["d e"])],
    ids=["keyword", "text", "schema"],
)
def test_a_format_is_a_keyword_or_read(value: Json, texts: list[str]) -> None:
    assert [p.text for p in GENERATE.request({"format": value}, ROUTE).parts] == texts


def test_usage_comes_with_the_last_line() -> None:
    answer = put_together(CHAT.answer(example("ollama.chat")["answer"]))
    assert answer.usage == {"prompt_eval_count": 10, "eval_count": 6, "total_duration": 12}
    assert answer.stop_reasons == ("stop",)


def test_thinking_is_reasoning() -> None:
    lines: list[Json] = [{"response": "a", "thinking": "b"}, {"response": "c", "thinking": "d"}]
    assert put_together(stream(GENERATE, lines)).texts == {
        Channel(0, ChannelKind.TEXT): "ac",
        Channel(0, ChannelKind.REASONING): "bd",
    }


def test_a_member_that_stands_in_another_place_is_read_once() -> None:
    assert put_together(stream(CHAT, [{"content": "stray"}])).texts == {
        Channel(0, ChannelKind.OTHER): "stray"
    }


def test_an_error_in_mid_stream_is_a_failure() -> None:
    events = stream(CHAT, [{"message": {"content": "a"}}, {"error": "out of memory"}])
    assert Failed(code="", message="out of memory") in events
    assert not put_together(events).complete


def test_embeddings_are_complete() -> None:
    body: Json = {"model": "m", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 3}
    answer = put_together(GENERATE.answer(body))
    assert (answer.complete, answer.usage) == (True, {"prompt_eval_count": 3})


def test_errors_have_ollamas_shape() -> None:
    assert CHAT.refusal(status=400, code="c", message="No.") == b'{"error":"No."}'
    assert CHAT.stream_error(code="c", message="No.") == b'{"error":"No."}\n'
