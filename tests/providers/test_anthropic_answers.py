"""Messages answers: the events of a stream, and whole messages."""

import json
from typing import Any, Final

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
    TextDelta,
    Unread,
)
from llmtrace.providers.anthropic_answers import AnthropicReader, whole_answer
from llmtrace.providers.base import Frame
from llmtrace.providers.collector import AnswerCollector


def event(kind: str, **fields: Any) -> Frame:
    return Frame(event=kind, data=json.dumps({"type": kind, **fields}).encode())


def stream(*frames: Frame) -> list[AnswerEvent]:
    reader = AnthropicReader()
    return [found for frame in frames for found in reader.receive(frame)] + reader.close()


def collect(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


SHORT = st.text(max_size=5)
ARGUMENTS = st.dictionaries(st.text("ab", max_size=2), SHORT)
CITATION = st.fixed_dictionaries(
    {
        "type": st.just("char_location"),
        "cited_text": st.text(max_size=5),
        "title": st.text(max_size=5),
    }
)
BLOCK = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("text"),
            "text": st.text(max_size=9),
            "citations": st.lists(CITATION, max_size=2),
        }
    ),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": st.text(max_size=9)}),
    st.fixed_dictionaries(
        {
            "type": st.just("tool_use"),
            "id": st.just("t1"),
            "name": st.just("Bash"),
            "input": ARGUMENTS,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("web_search_tool_result"),
            "tool_use_id": st.just("s1"),
            "content": st.lists(CITATION, max_size=2),
        }
    ),
)
EMPTY: Final[dict[str, dict[str, Any]]] = {
    "text": {"text": "", "citations": []},
    "thinking": {"thinking": ""},
    "tool_use": {"input": {}},
}
DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


def streamed(index: int, block: dict[str, Any], at: int) -> list[Frame]:
    kind = block["type"]
    frames = [event("content_block_start", index=index, content_block=block | EMPTY.get(kind, {}))]

    def delta(**fields: Any) -> None:
        frames.append(event("content_block_delta", index=index, delta=fields))

    if kind in DELTAS:
        name, key = DELTAS[kind]
        delta(type=name, **{key: block[key][:at]})
        delta(type=name, **{key: block[key][at:]})
    if kind == "tool_use" and block["input"]:
        written = json.dumps(block["input"], separators=(",", ":"), ensure_ascii=False)
        delta(type="input_json_delta", partial_json=written[:at])
        delta(type="input_json_delta", partial_json=written[at:])
    for citation in block.get("citations", []):
        delta(type="citations_delta", citation=citation)
    return [*frames, event("content_block_stop", index=index)]


@settings(max_examples=100, deadline=None)
@given(content=st.lists(BLOCK, max_size=4), at=st.integers(0, 5))
def test_stream_equals_whole(content: list[dict[str, Any]], at: int) -> None:
    message: dict[str, Any] = {"id": "m1", "type": "message", "role": "assistant", "model": "c"}
    usage = {"input_tokens": 3, "output_tokens": 1}
    start = {**message, "content": [], "stop_reason": None, "usage": usage}
    frames = [event("message_start", message=start), event("ping")]
    for index, block in enumerate(content):
        frames += streamed(index, block, at)
    frames.append(
        event(
            "message_delta",
            delta={"stop_reason": "end_turn"},
            usage={"output_tokens": 9, "input_tokens": None},
        )
    )
    frames.append(event("message_stop"))
    whole = collect(
        whole_answer(
            {
                **message,
                "content": [*content],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 9},
            }
        )
    )
    assert collect(stream(*frames)) == whole
    assert whole.complete


def test_a_block_closes_its_channel() -> None:
    frames = streamed(2, {"type": "text", "text": "Hi"}, 1)
    text = Channel(0, ChannelKind.TEXT, 2)
    assert stream(*frames)[-1] == ChannelClosed(channel=text)


def test_an_error_in_mid_stream() -> None:
    error = {"type": "overloaded_error", "message": "Busy"}
    text = streamed(0, {"type": "text", "text": "Hi"}, 1)
    answer = collect(stream(*text, event("error", error=error)))
    assert answer.error == Failed(code="overloaded_error", message="Busy")
    assert not answer.complete


def test_an_error_is_no_answer() -> None:
    events = whole_answer({"type": "error", "error": {"type": "api_error", "message": "No"}})
    assert events == [Failed(code="api_error", message="No")]


def test_without_message_stop_a_stream_is_not_complete() -> None:
    assert not collect(stream(event("message_delta", delta={"stop_reason": "end_turn"}))).complete


def test_arguments_that_stand_at_the_start_are_read() -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x y"}}
    [call] = collect(stream(event("content_block_start", index=0, content_block=block))).tool_calls
    assert (call.call_id, call.name, call.arguments) == ("s", "web_search", '{"query":"x y"}')


def test_arguments_without_a_start_are_a_call() -> None:
    delta = {"type": "input_json_delta", "partial_json": "{}"}
    [call] = collect(stream(event("content_block_delta", index=3, delta=delta))).tool_calls
    assert (call.channel.index, call.arguments) == (3, "{}")


NEW = {"type": "new", "a": "x y"}


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(event("brand_new", text="x y"), id="event"),
        pytest.param(
            event("content_block_start", index=0, content_block=NEW),
            id="block",
        ),
        pytest.param(
            event("content_block_delta", index=0, delta=NEW),
            id="delta",
        ),
        pytest.param(event("message_delta", delta="x y"), id="wrong-type"),
        pytest.param(Frame(event="", data=b'"x y"'), id="bare-string"),
    ],
)
def test_what_nobody_knows_is_read(frame: Frame) -> None:
    [found] = [e for e in stream(frame) if isinstance(e, TextDelta)]
    assert (found.channel.kind, found.text) == (ChannelKind.OTHER, "x y")


def test_unknown_deltas_are_put_together_block_by_block() -> None:
    frames = [
        event("content_block_delta", index=i, delta={"type": "new", "t": t})
        for i, t in ((0, "num"), (1, "other"), (0, "ber"))
    ]
    assert sorted(collect(stream(*frames)).texts.values()) == ["number", "other"]


def test_what_is_encrypted_is_a_gap() -> None:
    block = {"type": "redacted_thinking", "data": "ZW5j"}
    delta = {"type": "signature_delta", "signature": "c2ln"}
    answer = collect(
        stream(
            event("content_block_start", index=0, content_block=block),
            event("content_block_delta", index=1, delta=delta),
        )
    )
    assert not answer.texts
    assert answer.unread == (Unread(reason="media", size=10),)


def test_the_name_of_the_event_stands_in_for_a_missing_type() -> None:
    body = {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    frame = Frame(event="content_block_delta", data=json.dumps(body).encode())
    assert collect(stream(frame)).texts == {Channel(0, ChannelKind.TEXT): "Hi"}
