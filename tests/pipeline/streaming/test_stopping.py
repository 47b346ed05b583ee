"""Answers of every dialect that are stopped, refused, or not as they should be."""

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import ChannelKind
from llmtrace.pipeline.streaming import AnswerGate, FrameGate, GateBounds, gate_whole
from llmtrace.pipeline.streaming.stops import FRAME_TOO_LARGE
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.endings.registry import CHUNK_CUTS
from llmtrace.providers.registry import dialect as dialect_named
from llmtrace.testing.judges import (
    CODE,
    EMAIL,
    FORBIDDEN,
    KEY,
    MASKED,
    REASON,
    REFUSED,
    SSN,
    PatternJudge,
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


# --- blocks and refusals


@EVERY
@pytest.mark.parametrize("style", ["error", "graceful"])
def test_a_block_ends_the_answer_and_nothing_of_its_frame_goes_on(case: Case, style: str) -> None:
    result = run(case, Script(text=f"one two {FORBIDDEN} three four", chunks=9), blocks=style)
    answer = result.answer
    assert "one two".startswith(texts(answer).get(ChannelKind.TEXT, "").rstrip()[:7])
    assert "FORB" not in result.out.decode("utf-8", "replace")
    assert result.gate.blocked is not None
    if style == "error":
        assert answer.error is not None
        assert answer.error.message == REASON
    else:
        assert answer.error is None or case.dialect == "cohere.chat"
        assert answer.complete
        assert answer.stop_reasons


@CALLING
def test_a_tool_call_goes_on_whole_and_unchanged(case: Case) -> None:
    arguments = json.dumps({"path": "a.txt", "text": "plain"})
    script = Script(tool_calls=(ScriptedTool(name="write", arguments=arguments),), chunks=6)
    result = run(case, script)
    (call,) = result.answer.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("write", json.loads(arguments))
    ((name, judged),) = result.judge.calls
    assert (name, json.loads(judged)) == ("write", json.loads(arguments))


@CALLING
@settings(max_examples=10, deadline=None)
@given(chunks=st.integers(0, 30))
def test_a_tool_call_can_get_other_arguments(case: Case, chunks: int) -> None:
    arguments = json.dumps({"text": f"call {SSN} and {EMAIL}"})
    script = Script(tool_calls=(ScriptedTool(name="w", arguments=arguments),), chunks=chunks)
    result = run(case, script)
    (call,) = result.answer.tool_calls
    assert json.loads(call.arguments) == {"text": "call [SSN] and [EMAIL]"}
    for out in (result.out.decode("utf-8", "replace"), str(result.answer)):
        assert SSN not in out
    assert result.answer.complete


@CALLING
@pytest.mark.parametrize("before", [0, 1], ids=["alone", "behind-another"])
def test_a_refused_tool_call_becomes_a_text_and_the_talk_goes_on(case: Case, before: int) -> None:
    tools = [ScriptedTool(name="look", arguments='{"a": 1}')] * before
    tools.append(ScriptedTool(name="refuse", arguments='{"command": "rm -rf /"}'))
    result = run(case, Script(tool_calls=tuple(tools)))
    answer = result.answer
    assert [call.name for call in answer.tool_calls] == ["look"] * before
    assert texts(answer)[ChannelKind.TEXT] == REFUSED
    assert (answer.complete, answer.error) == (True, None)
    assert b"rm -rf" not in result.out
    assert result.gate.blocked is not None
    assert result.gate.blocked.refused
    body, _ = case.answer(Script(tool_calls=tuple(tools)), streamed=False)
    whole = gate_whole(dialect_named(case.dialect), body, PatternJudge())
    assert whole.body is not None
    collector = AnswerCollector()
    collector.add(dialect_named(case.dialect).answer(json.loads(whole.body)))
    again = collector.answer()
    assert [call.name for call in again.tool_calls] == ["look"] * before
    assert texts(again)[ChannelKind.TEXT] == REFUSED
    assert set(again.stop_reasons) == set(answer.stop_reasons)


@CALLING
def test_a_refusal_can_be_an_error(case: Case) -> None:
    script = Script(tool_calls=(ScriptedTool(name="refuse"),))
    answer = run(case, script, refusals="error").answer
    assert answer.error is not None
    assert answer.error.message == REFUSED
    assert not answer.tool_calls


@CALLING
def test_a_tool_call_that_breaks_off_never_goes_on(case: Case) -> None:
    arguments = json.dumps({"text": "a long text " * 5})
    script = Script(tool_calls=(ScriptedTool(name="write", arguments=arguments),), chunks=9)
    frames = frames_of(case.dialect, *case.answer(script, streamed=True))
    for cut in range(1, len(frames)):
        gate = FrameGate(dialect_named(case.dialect), PatternJudge())
        out = [f for frame in frames[:cut] for f in gate.receive(frame)] + gate.close()
        collector = AnswerCollector()
        reader = dialect_named(case.dialect).reader()
        for frame in out:
            collector.add(reader.receive(frame))
        assert all(json.loads(c.arguments) for c in collector.answer().tool_calls)
        if gate.blocked:
            assert collector.answer().error is not None


@CALLING
def test_a_tool_call_over_its_bound_is_refused(case: Case) -> None:
    arguments = json.dumps({"text": "x" * 2_000})
    script = Script(tool_calls=(ScriptedTool(name="w", arguments=arguments),), chunks=9)
    result = run(case, script, bounds=GateBounds(tool_call=1_000))
    assert not result.answer.tool_calls
    assert result.gate.blocked is not None
    assert result.answer.complete
    assert result.gate.frames.held_bytes == 0


@EVERY
def test_holding_has_a_bound(case: Case) -> None:
    script = Script(text="x" * 5_000, chunks=50)
    result = run(case, script, bounds=GateBounds(frames=1_000))
    assert result.gate.blocked is None
    tool = ScriptedTool(name="w", arguments=json.dumps({"y": "y" * 5_000}))
    if case.tools and case.dialect not in CHUNK_CUTS:
        result = run(case, Script(tool_calls=(tool,)), bounds=GateBounds(frames=1_000))
        assert result.gate.blocked is not None
        assert b"yyy" not in result.out
        assert result.answer.error is not None


# --- bytes that are not as they should be


CHAT: Final = dialect_named("openai.chat")


def chat(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


def stream(**options: Any) -> AnswerGate:
    return AnswerGate(CHAT, PatternJudge(), media_type="text/event-stream", **options)


def test_odd_bytes_are_written_in_the_one_way() -> None:
    gate = stream()
    one, two = chat("one "), chat("two ")
    odd = (
        b"\xef\xbb\xbf: \xffhello\r\rid: 3\r\n"
        + one.replace(b"\n", b"\r\n")
        + b"retry: 1\n\n"
        + two
    )
    assert gate.receive(odd) == b": keepalive\n\nid: 3\n" + one + two
    assert gate.receive(b": any words\n") == b": keepalive\n\n"


def test_an_event_of_any_size_is_not_passed_unread() -> None:
    gate = stream(max_frame=1_000)
    out = gate.receive(chat("one "))
    out += gate.receive(chat("x" * 2_000)) + gate.receive(chat("more "))
    assert out.startswith(chat("one "))
    assert b"xxx" not in out
    assert b"more" not in out
    assert gate.blocked is not None
    assert gate.blocked.code == FRAME_TOO_LARGE
    assert gate.close() == b""


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        pytest.param(b"data: {", True, id="cut-in-an-event"),
        pytest.param(b"", False, id="cut-between-events"),
        pytest.param(chat("", "stop") + b"data: [DONE]\n", False, id="cut-behind-the-stop"),
    ],
)
def test_an_answer_that_is_cut_in_an_event_ends_in_an_error(rest: bytes, error: bool) -> None:
    gate = stream()
    out = gate.receive(chat("one ") + rest) + gate.close()
    assert (b"broke off" in out) == error
    assert (gate.blocked is not None) == error


def test_a_media_type_that_is_no_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="text/plain"):
        AnswerGate(CHAT, PatternJudge(), media_type="text/plain")


def test_a_stream_under_a_wrong_name_is_read_as_one() -> None:
    body = chat(f"it is {SSN}, ") + chat("", "stop") + b"data: [DONE]\n\n"
    whole = gate_whole(CHAT, body, PatternJudge())
    assert whole.body == body.replace(SSN.encode(), b"[SSN]")
    assert whole.edited
    assert whole.events


@pytest.mark.parametrize("drop", [False, True], ids=["pass", "drop"])
@pytest.mark.parametrize(
    ("body", "clean"),
    [(b"<html>plain</html>", True), (f"<html>{SSN}</html>".encode(), False)],
    ids=["clean", "with-a-secret"],
)
def test_what_cannot_be_read_passes_only_if_nothing_is_seen_in_it(
    body: bytes, clean: bool, drop: bool
) -> None:
    whole = gate_whole(CHAT, body, PatternJudge(), drop_unread=drop)
    assert whole.body == (body if clean and not drop else None)
    assert (whole.blocked is None) == (whole.body is not None)


def test_a_whole_answer_of_a_thousand_texts_is_one_frame() -> None:
    choices = [
        {"index": n, "message": {"content": f"{n}: {SSN}"}, "finish_reason": "stop"}
        for n in range(1_000)
    ]
    whole = gate_whole(CHAT, json.dumps({"choices": choices}).encode(), PatternJudge())
    assert whole.body is not None
    assert whole.body.count(b"[SSN]") == 1_000


def test_a_whole_answer_is_stopped_by_its_words() -> None:
    message = {"role": "assistant", "content": f"a {FORBIDDEN} word"}
    body = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
    whole = gate_whole(CHAT, body, PatternJudge())
    assert whole.body is None
    assert whole.blocked is not None
    assert (whole.blocked.message, whole.blocked.refused) == (REASON, False)


def test_a_fault_can_let_the_stream_go() -> None:
    gate = stream()
    assert gate.receive(chat("AKIA")) == b""
    assert gate.let_go() == chat("AKIA")
    assert gate.receive(chat(SSN)) == chat(SSN)


def test_unreadable_members_of_a_whole_answer_can_be_refused() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x"}}] * 10_001}).encode()
    assert gate_whole(CHAT, body, PatternJudge()).body == body
    assert gate_whole(CHAT, body, PatternJudge(), drop_unread=True).body is None
