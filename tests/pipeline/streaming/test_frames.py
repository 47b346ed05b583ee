"""The gate of frames: order, channels that must not mix, and what happens when it cannot go on."""

import json
from typing import Any, Final

import pytest

from llmtrace.domain.answers import Channel
from llmtrace.pipeline.streaming import FrameGate, GateBounds, Ruling
from llmtrace.pipeline.streaming.frames import acts
from llmtrace.pipeline.streaming.stops import (
    BLOCKED,
    BROKEN_OFF,
    CALL_WENT_ON,
    HELD_TOO_MUCH,
    UNEDITABLE,
)
from llmtrace.providers.base import Frame
from llmtrace.providers.registry import dialect
from llmtrace.testing.judges import FORBIDDEN, KEY, REASON, SSN, PatternJudge

DONE: Final = Frame(event="", data=b"[DONE]")
PING: Final = Frame(event="ping", data=b'{"type": "ping"}')


def chunk(choice: int = 0, finish: str | None = None, **delta: Any) -> Frame:
    choices = [{"index": choice, "delta": delta, "finish_reason": finish}]
    return Frame(event="", data=json.dumps({"id": "c", "choices": choices}).encode())


def call(index: int, arguments: str = "", name: str = "") -> Frame:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    one = {"index": index, "function": function, **({"id": f"t{index}"} if name else {})}
    return chunk(tool_calls=[one])


def event(kind: str, **members: Any) -> Frame:
    return Frame(event=kind, data=json.dumps({"type": kind, **members}).encode())


def block(index: int, kind: str = "text", **members: Any) -> Frame:
    opened = {"type": kind, **members}
    return event("content_block_start", index=index, content_block=opened)


def delta(index: int, text: str, key: str = "text", kind: str = "text_delta") -> Frame:
    return event("content_block_delta", index=index, delta={"type": kind, key: text})


def arguments(index: int, text: str) -> Frame:
    return delta(index, text, "partial_json", "input_json_delta")


def stop(index: int) -> Frame:
    return event("content_block_stop", index=index)


def gate(name: str = "openai.chat", judge: PatternJudge | None = None, **options: Any) -> FrameGate:
    return FrameGate(dialect(name), judge or PatternJudge(), **options)


def feed(running: FrameGate, *frames: Frame) -> list[Frame]:
    return [out for frame in frames for out in running.receive(frame)]


def said(frames: list[Frame], choice: int = 0) -> str:
    text = ""
    for frame in frames:
        for one in json.loads(frame.data)["choices"] if frame != DONE else ():
            if one["index"] == choice:
                text += one["delta"].get("content") or ""
    return text


# --- order


def test_a_frame_that_waits_holds_those_behind_it() -> None:
    running = gate()
    usage = Frame(event="", data=b'{"choices": [], "usage": {"prompt_tokens": 1}}')
    assert feed(running, chunk(content="AKIA"), usage) == []
    end = chunk(finish="stop")
    assert feed(running, end) == [chunk(content="AKIA"), usage, end]


def test_what_says_nothing_overtakes() -> None:
    running = gate("anthropic.messages")
    comment = Frame(event="", data=b"", is_comment=True)
    assert feed(running, delta(0, "AKIA"), PING, comment) == [PING, comment]


def test_choices_do_not_mix() -> None:
    running = gate()
    first, second, third = SSN, "plain words", KEY
    out: list[Frame] = []
    for at in range(0, 24, 4):
        for choice, text in enumerate((first, second, third)):
            if text[at : at + 4]:
                out += feed(running, chunk(choice, content=text[at : at + 4]))
    out += feed(running, *(chunk(n, "stop") for n in range(3)), DONE)
    assert [said(out, n) for n in range(3)] == ["[SSN]", "plain words", "[KEY]"]


def test_a_number_cut_by_another_choice_is_still_found() -> None:
    running = gate()
    out = feed(running, chunk(0, content="123-45"), chunk(1, content="one two "))
    assert not out
    out = feed(running, chunk(0, content="-6789 "), chunk(1, content="three "))
    assert said(out) == "[SSN] "


# --- texts that nobody closes


def test_a_text_is_decided_once_another_of_its_choice_has_spoken_twice() -> None:
    running = gate()
    assert feed(running, chunk(reasoning_content="so"), chunk(content="one ")) == []
    assert len(feed(running, chunk(content="two "))) == 3


def test_a_text_that_goes_on_after_one_frame_of_another_is_held_together() -> None:
    running = gate()
    feed(running, chunk(reasoning_content="123-45"), chunk(content="one "))
    out = feed(running, chunk(reasoning_content="-6789 "), chunk(finish="stop"))
    assert b"123-45" not in b"".join(frame.data for frame in out)
    assert b"[SSN]" in out[0].data


def test_a_member_that_nobody_knows_holds_nothing_for_long() -> None:
    running = gate()
    waiting = 0
    for number in range(40):
        frame = json.loads(chunk(content="word ").data) | {"x_trace": f"abc{number}"}
        out = feed(running, Frame(event="", data=json.dumps(frame).encode()))
        waiting += 1 - len(out)
        assert waiting <= 3


def test_a_secret_in_a_member_that_nobody_knows_is_masked() -> None:
    frame = json.loads(chunk(content="word ").data) | {"x_note": f"key {KEY}!"}
    running = gate()
    out = feed(running, Frame(event="", data=json.dumps(frame).encode()), DONE)
    assert json.loads(out[0].data)["x_note"] == "key [KEY]!"


# --- tool calls


def test_calls_that_come_interleaved_go_on_whole() -> None:
    frames = [
        call(0, name="one"),
        call(1, name="two"),
        call(0, '{"a"'),
        call(1, '{"b"'),
        call(0, ": 1}"),
        call(1, ": 2}"),
    ]
    running = gate()
    assert feed(running, *frames) == []
    end = chunk(finish="tool_calls")
    assert feed(running, end, DONE) == [*frames, end, DONE]


def test_no_call_is_ever_sent_in_part() -> None:
    running = gate("anthropic.messages")
    frames = [
        block(0, "tool_use", id="a", name="one", input={}),
        arguments(0, '{"a": '),
        block(1, "tool_use", id="b", name="refuse", input={}),
        arguments(1, "{}"),
        arguments(0, "1}"),
        stop(0),
    ]
    assert feed(running, *frames) == []
    out = feed(running, stop(1))
    assert not any(b"tool_use" in frame.data for frame in out)
    assert running.blocked is not None
    assert running.blocked.refused


def test_a_call_that_goes_on_behind_its_end_stops_the_answer() -> None:
    running = gate("anthropic.messages")
    opened = block(0, "tool_use", id="a", name="one", input={})
    feed(running, opened, arguments(0, "{}"), stop(0))
    out = feed(running, arguments(0, '{"command": "rm -rf /"}'))
    assert [frame.event for frame in out] == ["error"]
    assert running.blocked is not None
    assert running.blocked.code == CALL_WENT_ON


def test_a_call_that_is_open_at_the_end_does_not_go_on() -> None:
    running = gate()
    text = chunk(content="one moment ")
    assert feed(running, text, call(0, '{"a": 1}', name="one")) == [text]
    error, done = running.close()
    assert b"broke off" in error.data
    assert done == DONE
    assert running.blocked is not None
    assert running.blocked.code == BROKEN_OFF


def test_only_so_many_calls_may_be_open() -> None:
    running = gate(bounds=GateBounds(calls=3))
    feed(running, *(call(n, name="x") for n in range(4)))
    assert running.blocked is not None
    assert running.blocked.code == HELD_TOO_MUCH


def test_arguments_without_a_place_stop_the_answer() -> None:
    class Adding(PatternJudge):
        def tool_call(self, name: str, arguments: str, channel: Channel) -> Any:
            return super().tool_call(name, SSN, channel)

    running = gate(judge=Adding())
    feed(running, call(0, name="x"), chunk(finish="tool_calls"))
    assert running.blocked is not None
    assert running.blocked.code == UNEDITABLE


# --- stops


def test_nothing_follows_a_stop() -> None:
    running = gate()
    out = feed(running, chunk(content="one "), chunk(content=f"{FORBIDDEN} "), chunk(content="x "))
    assert len(out) == 3
    assert REASON.encode() in out[1].data
    assert out[2] == DONE
    assert feed(running, DONE) == []
    assert running.close() == []
    assert running.blocked is not None
    assert (running.blocked.code, running.held_bytes) == (BLOCKED, 0)


@pytest.mark.parametrize(
    ("code", "options", "ends"),
    [
        pytest.param(BLOCKED, {}, ["response.failed", "error"], id="blocked"),
        pytest.param(BLOCKED, {"one_error": True}, ["error"], id="blocked-on-a-websocket"),
        pytest.param(BROKEN_OFF, {}, ["error"], id="broken-off-may-be-asked-again"),
        pytest.param("detection_failed", {}, ["error"], id="a-fault-may-be-asked-again"),
    ],
)
def test_who_overlooks_an_error_does_not_ask_again(
    code: str, options: dict[str, Any], ends: list[str]
) -> None:
    frames = gate("openai.responses", **options).stop(code, "why")
    assert [json.loads(frame.data)["type"] for frame in frames] == ends
    assert all("why" in frame.data.decode() for frame in frames)


def test_words_before_the_stop_still_go_on() -> None:
    running = gate()
    out = feed(running, *(chunk(content=text) for text in ("one", " two", " FORB", "IDDEN", " x")))
    assert said(out[:2]) == "one two"
    assert REASON.encode() in out[2].data


def test_a_word_that_waits_goes_on_before_the_stop() -> None:
    running = gate()
    out = feed(running, chunk(content="one"), chunk(content=f", {FORBIDDEN}. "))
    assert said(out[:1]) == "one"
    assert REASON.encode() in out[1].data


def test_a_word_that_waits_goes_on_before_a_refusal() -> None:
    running = gate(bounds=GateBounds(tool_call=5))
    out = feed(running, chunk(content="one"), call(0, '{"a": 12345}', name="look"))
    assert said(out[:1]) == "one"
    assert running.blocked is not None
    assert running.blocked.refused


def test_an_answer_that_broke_off_never_looks_whole() -> None:
    running = gate(blocks="graceful")
    feed(running, call(0, "{}", name="one"))
    assert b'"error"' in running.close()[0].data


def test_what_cannot_be_changed_stops_the_answer() -> None:
    running = gate()
    frame = Frame(event="", data=json.dumps({"choices": [], f"my number {SSN}": "x y"}).encode())
    feed(running, frame, DONE)
    assert running.blocked is not None
    assert running.blocked.code == UNEDITABLE


def test_edits_have_a_bound() -> None:
    running = gate(bounds=GateBounds(edits=3))
    feed(running, *(chunk(content=f"{SSN} , ") for _ in range(5)))
    assert running.blocked is not None
    assert running.blocked.code == HELD_TOO_MUCH


# --- frames that cannot be read


@pytest.mark.parametrize(
    ("data", "passes"),
    [
        pytest.param(b"plain words", True, id="plain"),
        pytest.param(b'{"choices": NaN, "x": "%b"}' % SSN.encode(), False, id="with-a-secret"),
        pytest.param(b"\xff\xfe", True, id="no-utf-8"),
    ],
)
@pytest.mark.parametrize("drop", [False, True], ids=["pass", "drop"])
def test_an_unreadable_frame(data: bytes, passes: bool, drop: bool) -> None:
    running = gate(drop_unread=drop)
    frame = Frame(event="", data=data)
    passes = passes and not drop
    assert feed(running, frame) == ([frame] if passes else [])
    assert (running.unscanned > 0, running.dropped) == (not drop, int(not passes))


def test_half_a_surrogate_pair_goes_on_as_it_came() -> None:
    running = gate()
    halves = [
        Frame(event="", data=b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}'),
        Frame(event="", data=b'{"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}'),
    ]
    assert feed(running, *halves) == halves
    assert running.unscanned == sum(len(frame.data) for frame in halves)


# --- a judge that fails


class Failing(PatternJudge):
    """Fails at the word."""

    def rulings(self, text: str, channel: Channel) -> Any:
        if "fail" in text:
            raise RuntimeError("a detector's fault")
        return super().rulings(text, channel)


def test_a_fault_can_let_all_go() -> None:
    running = gate(judge=Failing())
    frames = [chunk(content="AKIA"), chunk(content=" fail "), chunk(content=f"{SSN} ")]
    assert feed(running, frames[0]) == []
    with pytest.raises(RuntimeError):
        running.receive(frames[1])
    assert running.let_go() == frames[:2]
    assert feed(running, frames[2], DONE) == [frames[2], DONE]


def test_a_fault_can_stop_the_answer() -> None:
    running = gate(judge=Failing())
    feed(running, chunk(content="one "))
    with pytest.raises(RuntimeError):
        running.receive(chunk(content="fail "))
    error, done = running.stop("detection_failed", "It could not be judged.")
    assert b"It could not be judged." in error.data
    assert done == DONE
    assert feed(running, chunk(content="more ")) == []
    assert running.held_bytes == 0


# --- what stands beside a text


def test_what_counts_characters_goes_when_a_text_was_changed() -> None:
    running = gate("openai.responses")
    at = {"item_id": "m", "output_index": 0, "content_index": 0}
    note = {"type": "url_citation", "start_index": 3, "end_index": 9, "url": "u", "title": "t"}
    added = event(
        "response.output_text.annotation.added", **at, annotation_index=0, annotation=note
    )
    part = {"type": "output_text", "text": f"{SSN} is it", "annotations": [note]}
    frames = [
        event("response.output_text.delta", **at, delta=SSN + " is it", logprobs=[{"token": SSN}]),
        added,
        event("response.output_text.done", **at, text=f"{SSN} is it", logprobs=[{"token": SSN}]),
        event("response.content_part.done", **at, part=part),
    ]
    out = [json.loads(frame.data) for frame in feed(running, *frames)]
    assert [one["type"].rsplit(".", 1)[1] for one in out] == ["delta", "done", "done"]
    assert out[0] == {**json.loads(frames[0].data), "delta": "[SSN] is it", "logprobs": []}
    assert out[2]["part"] == {"type": "output_text", "text": "[SSN] is it", "annotations": []}
    untouched = gate("openai.responses")
    assert feed(untouched, added) == [added]


def test_a_ruling_that_asks_for_nothing_does_nothing() -> None:
    assert not acts(Ruling(start=0, end=1))
    assert acts(Ruling(start=0, end=1, replacement=""))
    assert acts(Ruling(start=0, end=1, block="no"))
