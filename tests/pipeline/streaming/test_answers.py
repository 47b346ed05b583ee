"""Answers of every dialect through the gate: what may never happen, whatever the cuts."""

import json
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import ChannelKind
from llmtrace.pipeline.streaming import AnswerGate, FrameGate, gate_whole
from llmtrace.pipeline.streaming.answers import QUIET_SECONDS
from llmtrace.pipeline.streaming.channels import PATIENCE
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.registry import dialect as dialect_named
from llmtrace.testing.judges import (
    CODE,
    EMAIL,
    KEY,
    MASKED,
    SSN,
    PatternJudge,
    expected,
)
from llmtrace.testing.script import Script, ScriptedTool
from llmtrace.testing.transcripts import (
    CASES,
    Case,
    frames_of,
    run,
    texts,
)

EVERY: Final = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
CALLING: Final = pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c.tools], ids=[n for n, c in CASES.items() if c.tools]
)
THINKING: Final = pytest.mark.parametrize(
    "case",
    [c for c in CASES.values() if c.thinks],
    ids=[n for n, c in CASES.items() if c.thinks],
)
WORDS: Final = st.sampled_from(
    [
        SSN,
        KEY,
        EMAIL,
        MASKED,
        CODE,
        " ",
        ", ",
        "word",
        "12",
        "AKIA",
        "a@b",
        "[[N-",
        "é",
        "😀",
        "\n",
        "-",
    ]
)
TEXTS: Final = st.lists(WORDS, max_size=12).map("".join)


# --- P1: the cutting of the bytes changes nothing


@EVERY
@settings(max_examples=12, deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 1 << 16), max_size=30))
def test_any_cutting_of_the_bytes_gives_the_same_bytes(
    case: Case, text: str, cuts: list[int]
) -> None:
    script = Script(text=text or "x", chunks=7)
    assert run(case, script, cuts=cuts).out == run(case, script).out


@EVERY
def test_bytes_that_come_one_by_one_give_the_same_bytes(case: Case) -> None:
    script = Script(text=f"é {SSN} 😀 {MASKED}", chunks=5)
    one_by_one = run(case, script, cuts=list(range(100_000)))
    assert one_by_one.out == run(case, script).out


# --- P2: the splitting of a text over deltas changes nothing of it


@EVERY
@settings(max_examples=25, deadline=None)
@given(text=TEXTS, chunks=st.integers(1, 60))
def test_any_splitting_of_a_text_gives_the_same_text(case: Case, text: str, chunks: int) -> None:
    result = run(case, Script(text=text or "x", chunks=chunks))
    assert texts(result.answer) == {ChannelKind.TEXT: expected(text or "x")}
    assert result.answer.complete
    assert result.gate.blocked is None


# --- P3, P4: nothing leaks on the way, and nothing waits longer than it must


@EVERY
@settings(max_examples=15, deadline=None)
@given(text=TEXTS, chunks=st.integers(1, 40))
def test_what_has_gone_is_always_a_beginning_of_the_whole(
    case: Case, text: str, chunks: int
) -> None:
    data, media_type = case.answer(Script(text=text or "x", chunks=chunks), streamed=True)
    gate = FrameGate(dialect_named(case.dialect), PatternJudge())
    collector = AnswerCollector()
    sent = dialect_named(case.dialect).reader()
    want = expected(text or "x")
    for frame in frames_of(case.dialect, data, media_type):
        for out in gate.receive(frame):
            collector.add(sent.receive(out))
        assert want.startswith(texts(collector.answer()).get(ChannelKind.TEXT, ""))
    assert not gate.held_bytes
    assert not gate.close()


@EVERY
def test_a_frame_goes_on_as_soon_as_its_words_are_decided(case: Case) -> None:
    script = Script(text="one two three four five six", chunks=0)
    data, media_type = case.answer(script, streamed=True)
    gate = FrameGate(dialect_named(case.dialect), PatternJudge())
    waiting = 0
    for frame in frames_of(case.dialect, data, media_type):
        waiting += 1 - len(gate.receive(frame))
        assert waiting <= 1
    assert waiting == 0


@THINKING
def test_a_text_does_not_wait_for_one_that_has_ended(case: Case) -> None:
    script = Script(reasoning="I think so", text="one two three four five six seven eight")
    data, media_type = case.answer(script, streamed=True)
    gate = FrameGate(dialect_named(case.dialect), PatternJudge())
    waiting = 0
    for frame in frames_of(case.dialect, data, media_type):
        waiting += 1 - len(gate.receive(frame))
        assert waiting <= PATIENCE + 1
    assert waiting == 0


# --- P5: where nothing is found, nothing is changed


@EVERY
@settings(max_examples=10, deadline=None)
@given(chunks=st.integers(0, 9), tool=st.booleans())
def test_an_answer_without_findings_says_the_same_in_the_same_frames(
    case: Case, chunks: int, tool: bool
) -> None:
    calls = (ScriptedTool(name="look", arguments='{"at": "the sky"}'),) if tool else ()
    script = Script(
        text="Plain words, 12 of them.",
        chunks=chunks,
        reasoning="Think." if case.thinks else "",
        tool_calls=calls if case.tools else (),
    )
    data, media_type = case.answer(script, streamed=True)
    result = run(case, script)
    before = frames_of(case.dialect, data, media_type)
    assert frames_of(case.dialect, result.out, media_type) == before
    assert result.gate.frames.edited == 0


# --- P6: a stream says what the whole answer says


@EVERY
@settings(max_examples=25, deadline=None)
@given(text=TEXTS, chunks=st.integers(0, 20))
def test_a_stream_and_the_whole_answer_become_the_same(case: Case, text: str, chunks: int) -> None:
    script = Script(text=text or "x", chunks=chunks)
    body, _ = case.answer(script, streamed=False)
    whole = gate_whole(dialect_named(case.dialect), body, PatternJudge())
    assert whole.body is not None
    collector = AnswerCollector()
    collector.add(dialect_named(case.dialect).answer(json.loads(whole.body)))
    streamed = run(case, script)
    assert texts(collector.answer()) == texts(streamed.answer)
    assert whole.edited == bool(streamed.gate.frames.edited)
    if expected(text) == text:
        assert whole.body is body


# --- P7: what was judged is what was said


@EVERY
@settings(max_examples=10, deadline=None)
@given(text=TEXTS, chunks=st.integers(0, 20))
def test_all_that_was_said_was_judged(case: Case, text: str, chunks: int) -> None:
    result = run(case, Script(text=text or "x", chunks=chunks))
    collector = AnswerCollector()
    collector.add(result.events)
    said = sum(map(len, collector.answer().texts.values()))
    assert (result.gate.frames.scanned, result.gate.frames.unscanned) == (said, 0)


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson"])
def test_who_waits_for_long_is_told_that_somebody_is_there(media_type: str) -> None:
    now = [0.0]
    dialect = dialect_named("openai.chat" if "event" in media_type else "ollama.chat")
    gate = AnswerGate(dialect, PatternJudge(), media_type=media_type, clock=lambda: now[0])
    function = {"name": "write", "arguments": '{"text": "'}
    delta = {"tool_calls": [{"index": 0, "id": "c", "function": function}]}
    choices = [{"index": 0, "delta": delta}]
    held = json.dumps({"choices": choices, "message": {"content": "AKIA"}}).encode()
    held = b"data: %b\n\n" % held if "event" in media_type else held + b"\n"
    assert gate.receive(held) == b""
    now[0] += QUIET_SECONDS
    told = b": keepalive\n\n" if "event" in media_type else b""
    assert gate.receive(held) == told
    assert gate.receive(held) == b""
