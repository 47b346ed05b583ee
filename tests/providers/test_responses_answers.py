"""Responses answers: the typed events, and whole responses."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import (
    Answer,
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Stopped,
    TextDelta,
    TextRepeat,
    Unread,
)
from llmtrace.providers.base import Frame
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.responses_answers import ResponsesReader, whole_answer

TEXT = Channel(0, ChannelKind.TEXT)


def event(kind: str, **fields: Any) -> Frame:
    return Frame(event=kind, data=json.dumps({"type": kind, **fields}).encode())


def stream(*frames: Frame) -> list[AnswerEvent]:
    reader = ResponsesReader()
    return [found for frame in frames for found in reader.receive(frame)] + reader.close()


def collect(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


SHORT = st.text(max_size=8)
CONTENT = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("output_text"),
            "text": SHORT,
            "annotations": st.lists(st.fixed_dictionaries({"title": SHORT}), max_size=2),
        }
    ),
    st.fixed_dictionaries({"type": st.just("refusal"), "refusal": SHORT}),
)
ITEM = st.one_of(
    st.fixed_dictionaries({"type": st.just("message"), "content": st.lists(CONTENT, max_size=2)}),
    st.fixed_dictionaries(
        {
            "type": st.just("reasoning"),
            "summary": st.lists(
                st.fixed_dictionaries({"type": st.just("summary_text"), "text": SHORT}), max_size=2
            ),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call"), "name": st.just("f"), "arguments": SHORT}
    ),
    st.fixed_dictionaries(
        {"type": st.just("custom_tool_call"), "name": st.just("g"), "input": SHORT}
    ),
    st.fixed_dictionaries(
        {"type": st.just("shell_call"), "action": st.dictionaries(st.just("commands"), SHORT)}
    ),
)
STREAMED = {
    "output_text": ("response.output_text", "text", "content_index"),
    "refusal": ("response.refusal", "refusal", "content_index"),
    "summary_text": ("response.reasoning_summary_text", "text", "summary_index"),
    "function_call": ("response.function_call_arguments", "arguments", ""),
    "custom_tool_call": ("response.custom_tool_call_input", "input", ""),
}


def said(holder: dict[str, Any], at: int, **place: Any) -> list[Frame]:
    """The deltas of one text, and the event that says it again."""
    stem, key, index = STREAMED[holder["type"]]
    place = {k: v for k, v in place.items() if k in ("output_index", "item_id", index)}
    pieces = [holder[key][:at], holder[key][at:]]
    frames = [event(f"{stem}.delta", delta=piece, **place) for piece in pieces]
    return [*frames, event(f"{stem}.done", **{key: holder[key]}, **place)]


def streamed(number: int, item: dict[str, Any], at: int) -> list[Frame]:
    where = {"output_index": number, "item_id": item["id"]}
    begun = {**item, "content": [], "summary": [], "arguments": "", "input": ""}
    frames = [event("response.output_item.added", item=begun, output_index=number)]
    for index, part in enumerate(item.get("content", []) + item.get("summary", [])):
        frames += said(part, at, **where, content_index=index, summary_index=index)
        for n, note in enumerate(part.get("annotations", [])):
            fields = {"annotation": note, "annotation_index": n, "content_index": index}
            frames.append(event("response.output_text.annotation.added", **fields, **where))
    if item["type"] in STREAMED:
        frames += said(item, at, **where)
    return [*frames, event("response.output_item.done", item=item, output_index=number)]


@settings(max_examples=100, deadline=None)
@given(output=st.lists(ITEM, max_size=4), at=st.integers(0, 5), repeated=st.booleans())
def test_stream_equals_whole(output: list[dict[str, Any]], at: int, repeated: bool) -> None:
    output = [{**item, "id": f"i{n}", "call_id": f"c{n}"} for n, item in enumerate(output)]
    response: Any = {"id": "r1", "model": "m", "status": "in_progress", "output": [], "usage": None}
    ended = {**response, "status": "completed", "output": output, "usage": {"input_tokens": 1}}
    frames = [event("response.created", response=response)]
    for number, item in enumerate(output):
        frames += streamed(number, item, at)
    last = ended if repeated else {**ended, "output": []}
    frames.append(event("response.completed", response=last))
    whole = collect(whole_answer(ended))
    assert collect(stream(*frames)) == whole
    assert whole.complete


def test_a_stream_of_the_last_word_alone_is_read() -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
    answer = collect(stream(event("response.completed", response={"output": [item]})))
    assert answer.texts == {TEXT: "Hi"}


def test_what_is_said_again_is_a_repeat() -> None:
    place = {"output_index": 0, "content_index": 0}
    events = stream(
        event("response.output_text.delta", delta="Hi", **place),
        event("response.output_text.done", text="Hi", **place),
    )
    assert [type(e) for e in events[:2]] == [TextDelta, TextRepeat]


def test_another_text_at_the_end_is_read_as_well() -> None:
    place = {"output_index": 0, "content_index": 0}
    answer = collect(
        stream(
            event("response.output_text.delta", delta="harmless", **place),
            event("response.output_text.done", text="harmful", **place),
        )
    )
    assert sorted(answer.texts.values()) == ["harmful", "harmless"]


@pytest.mark.parametrize(
    ("response", "found"),
    [
        ({"status": "completed"}, Stopped(choice=0, reason="completed")),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            Stopped(choice=0, reason="max_output_tokens"),
        ),
        (
            {"status": "failed", "error": {"code": "server_error", "message": "No"}},
            Failed(code="server_error", message="No"),
        ),
        ({"status": "failed", "error": None}, Failed(code="failed", message="")),
        ({"status": "cancelled"}, Stopped(choice=0, reason="cancelled")),
        (
            {"status": "failed", "status_details": {"error": {"type": "t", "message": "No"}}},
            Failed(code="t", message="No"),
        ),
    ],
)
def test_endings(response: dict[str, Any], found: AnswerEvent) -> None:
    kind = f"response.{response['status']}".replace("cancelled", "done")
    assert stream(event(kind, response=response))[-2:] == [found, Ended()]
    assert found in whole_answer({"output": [], **response})


def test_an_error_event() -> None:
    events = stream(event("error", code="c", message="No", param=None))
    assert events == [Failed(code="c", message="No")]


def test_an_error_without_a_type() -> None:
    frame = Frame(event="error", data=b'{"error": {"code": "c", "message": "No"}}')
    assert stream(frame) == [Failed(code="c", message="No")]


def test_an_error_is_no_answer() -> None:
    assert whole_answer({"error": {"code": "c", "message": "No"}}) == [
        Failed(code="c", message="No")
    ]


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_response_in_the_background_has_not_ended(status: str) -> None:
    assert not collect(whole_answer({"id": "r", "status": status, "output": []})).complete


def test_the_echo_of_the_request_is_no_answer() -> None:
    echo = {"instructions": "Be kind", "tools": [{"name": "f"}], "metadata": {"a": "b"}}
    assert stream(event("response.created", response={"id": "r", **echo}))[1:] == []


NEW = {"type": "new", "a": "x y"}


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(event("response.brand_new.delta", delta="x y"), id="event"),
        pytest.param(event("response.output_item.done", item=NEW), id="item"),
        pytest.param(event("response.content_part.done", part=NEW), id="part"),
        pytest.param(event("response.shell_call_command.delta", delta="x y"), id="shell"),
        pytest.param(Frame(event="", data=b'["x y"]'), id="no-object"),
    ],
)
def test_what_nobody_knows_is_read(frame: Frame) -> None:
    [found] = [e for e in stream(frame) if isinstance(e, TextDelta)]
    assert (found.channel.kind, found.text) == (ChannelKind.OTHER, "x y")


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("response.audio.delta", "delta"),
        ("response.output_audio.delta", "delta"),
        ("response.image_generation_call.partial_image", "partial_image_b64"),
    ],
)
def test_sound_and_pictures_are_gaps(kind: str, key: str) -> None:
    assert stream(event(kind, **{key: "AAAA"})) == [Unread(reason="media", size=4)]


def test_transcripts_are_read() -> None:
    events = stream(event("response.output_audio_transcript.delta", delta="Hi", output_index=0))
    assert collect(events).texts == {Channel(0, ChannelKind.TRANSCRIPT): "Hi"}


def test_parallel_items_keep_apart() -> None:
    frames = [
        event("response.output_text.delta", delta=text, output_index=o, content_index=c)
        for o, c, text in ((0, 0, "a"), (1, 0, "c"), (0, 1, "b"), (0, 0, "A"))
    ]
    assert list(collect(stream(*frames)).texts.values()) == ["aA", "c", "b"]
