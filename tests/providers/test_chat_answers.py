"""Chat answers: whole and streamed, and what compatible providers make of them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import (
    Answer,
    AnswerEvent,
    Channel,
    ChannelClosed,
    ChannelKind,
    Failed,
    Stopped,
    TextDelta,
    Unread,
)
from llmtrace.providers.base import Frame
from llmtrace.providers.chat_answers import ChatReader, whole_answer
from llmtrace.providers.collector import AnswerCollector

DONE = Frame(event="", data=b"[DONE]")


def chunk(delta: dict[str, Any], *, index: int = 0, **more: Any) -> Frame:
    body = {"id": "c1", "model": "m", "choices": [{"index": index, "delta": delta, **more}]}
    return Frame(event="", data=json.dumps(body).encode())


def frame(body: object) -> Frame:
    return Frame(event="", data=json.dumps(body).encode())


def whole(body: Any) -> list[AnswerEvent]:
    return whole_answer(body)


def stream(*received: Frame) -> list[AnswerEvent]:
    reader = ChatReader()
    return [event for f in received for event in reader.receive(f)] + reader.close()


def collect(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


TEXTS = st.text(max_size=12)
CALLS = st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), TEXTS), max_size=3)
MESSAGES = st.fixed_dictionaries(
    {"content": TEXTS, "refusal": TEXTS, "reasoning_content": TEXTS, "calls": CALLS}
)


def cut(text: str, at: int) -> list[str]:
    return [text[:at], text[at:]]


@settings(max_examples=80, deadline=None)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=3), at=st.integers(0, 6), data=st.data())
def test_stream_equals_whole(messages: list[dict[str, Any]], at: int, data: st.DataObject) -> None:
    choices, runs = [], []
    for number, message in enumerate(messages):
        texts = {key: value for key, value in message.items() if key != "calls"}
        calls = [
            {"id": f"{number}{j}", "type": "function", "function": {"name": n, "arguments": a}}
            for j, (n, a) in enumerate(message["calls"])
        ]
        choices.append(
            {"index": number, "message": {**texts, "tool_calls": calls}, "finish_reason": "stop"}
        )
        run = [chunk({key: p}, index=number) for key in texts for p in cut(texts[key], at)]
        for j, call in enumerate(calls):
            function: Any = call["function"]
            opened = {**call, "index": j, "function": {**function, "arguments": ""}}
            run.append(chunk({"tool_calls": [opened]}, index=number))
            run += [
                chunk({"tool_calls": [{"index": j, "function": {"arguments": p}}]}, index=number)
                for p in cut(function["arguments"], at)
            ]
        runs.append([*run, chunk({}, index=number, finish_reason="stop")])
    mixed = []  # the choices come interleaved in any way
    while runs:
        run = data.draw(st.sampled_from(runs))
        mixed.append(run.pop(0))
        runs = [r for r in runs if r]
    usage = frame({"id": "c1", "choices": [], "usage": {"prompt_tokens": 3}})
    streamed = collect(stream(*mixed, usage, DONE))
    body = {"id": "c1", "model": "m", "choices": choices, "usage": {"prompt_tokens": 3}}
    answer = collect(whole(body))
    by_channel = {call.channel: call for call in answer.tool_calls}
    assert {call.channel: call for call in streamed.tool_calls} == by_channel
    assert streamed.texts == answer.texts
    assert (streamed.usage, streamed.stop_reasons, streamed.complete, streamed.model) == (
        answer.usage,
        answer.stop_reasons,
        answer.complete,
        answer.model,
    )


def test_without_done_a_stream_is_not_complete() -> None:
    assert not collect(stream(chunk({"content": "a"}, finish_reason="stop"))).complete


def test_a_finished_choice_closes_its_channels_first() -> None:
    events = stream(chunk({"content": "a"}), chunk({}, finish_reason="stop"))
    text = Channel(0, ChannelKind.TEXT)
    assert events[-2:] == [ChannelClosed(channel=text), Stopped(choice=0, reason="stop")]


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [
                {"index": 1, "id": "a", "function": {"name": "f", "arguments": "{"}},
                {"index": 1, "function": {"arguments": "}"}},
            ],
            id="index-from-one",
        ),
        pytest.param(
            [
                {"id": "a", "function": {"name": "f", "arguments": "{"}},
                {"function": {"arguments": "}"}},
            ],
            id="no-index",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"arguments": "{"}},
                {"index": 0, "function": {"name": "f", "arguments": "}"}},
            ],
            id="late-name",
        ),
    ],
)
def test_tool_call_deltas_find_their_call(deltas: list[dict[str, Any]]) -> None:
    [call] = collect(stream(*(chunk({"tool_calls": [delta]}) for delta in deltas))).tool_calls
    assert (call.call_id, call.name, call.arguments) == ("a", "f", "{}")


def test_calls_without_index_are_told_apart_by_id() -> None:
    calls = [{"id": i, "function": {"name": i, "arguments": i}} for i in "ab"]
    answer = collect(stream(*(chunk({"tool_calls": [call]}) for call in calls)))
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("a", "a"), ("b", "b")]


def test_arguments_as_an_object_are_written_as_json() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
    [found] = collect(whole({"choices": [{"message": {"tool_calls": [call]}}]})).tool_calls
    assert found.arguments == '{"x":1}'


def test_the_legacy_function_call_is_a_tool_call() -> None:
    pieces = [{"name": "f", "arguments": "{"}, {"arguments": "}"}]
    [call] = collect(stream(*(chunk({"function_call": piece}) for piece in pieces))).tool_calls
    assert (call.name, call.arguments) == ("f", "{}")


def test_legacy_completions_have_text() -> None:
    events = stream(frame({"choices": [{"index": 0, "text": "Hi"}]}), DONE)
    assert collect(events).texts == {Channel(0, ChannelKind.TEXT): "Hi"}


def test_audio_is_a_gap_and_its_transcript_is_read() -> None:
    answer = collect(stream(chunk({"audio": {"id": "x", "transcript": "Hi", "data": "AAAA"}})))
    assert answer.texts == {Channel(0, ChannelKind.TRANSCRIPT): "Hi"}
    assert answer.unread == (Unread(reason="media", size=4),)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"error": {"message": "No", "code": "c"}}, id="error-object"),
        pytest.param({"object": "error", "message": "No", "code": "c"}, id="vllm"),
        pytest.param(
            {"choices": [{"index": 0, "delta": {}, "error": {"message": "No", "code": "c"}}]},
            id="in-a-choice",
        ),
        pytest.param({"x_groq": {"error": {"message": "No", "code": "c"}}}, id="groq"),
    ],
)
def test_errors_wherever_they_stand(body: dict[str, Any]) -> None:
    assert Failed(code="c", message="No") in stream(chunk({"content": "a"}), frame(body))
    assert not collect(whole(body)).complete


def test_usage_of_groq() -> None:
    assert collect(stream(frame({"x_groq": {"id": "r", "usage": {"a": 1}}}))).usage == {"a": 1}


def test_each_citation_has_a_channel_of_its_own() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "http://a", "title": "b c"}}
    events = whole({"choices": [{"message": {"annotations": [note]}}]})
    found = [e for e in events if isinstance(e, TextDelta)]
    assert [(e.channel.kind, e.channel.index, e.text) for e in found] == [
        (ChannelKind.CITATION, 0, "http://a"),
        (ChannelKind.CITATION, 1, "b c"),
    ]


def test_the_message_at_the_end_of_a_stream_is_a_repeat() -> None:
    last = frame({"choices": [{"index": 0, "message": {"content": "Hi"}}]})
    assert collect(stream(chunk({"content": "Hi"}), last)).texts == {
        Channel(0, ChannelKind.TEXT): "Hi"
    }


def test_blocks_in_blocks_of_any_depth_are_read() -> None:
    content: Any = "bottom"
    for _ in range(500):
        content = [{"type": "thinking", "thinking": content}]
    answer = collect(stream(chunk({"content": content})))
    assert "bottom" in answer.texts.values()
