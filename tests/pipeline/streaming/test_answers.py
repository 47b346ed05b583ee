"""Answers of every dialect through the gate: what may never happen, whatever the cuts."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import Answer, AnswerEvent, ChannelKind
from llmtrace.pipeline.streaming import AnswerGate, FrameGate, GateBounds, gate_whole
from llmtrace.pipeline.streaming.channels import PATIENCE
from llmtrace.pipeline.streaming.stops import FRAME_TOO_LARGE
from llmtrace.providers.base import Frame
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.endings.registry import CHUNK_CUTS
from llmtrace.providers.framing.registry import framing_for
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
    expected,
)
from llmtrace.testing.routes import find
from llmtrace.testing.script import Script, ScriptedTool
from llmtrace.testing.wire import Request

BEDROCK: Final = "/model/anthropic.claude-3-5-sonnet/"
META: Final = "/model/meta.llama3-8b-instruct/"
GEMINI: Final = "/v1beta/models/gemini-2.5-flash:"


@dataclass(frozen=True)
class Case:
    dialect: str
    stream: str
    whole: str
    query: dict[str, str] = field(default_factory=dict)
    tools: bool = True
    thinks: bool = True

    def answer(self, script: Script, *, streamed: bool) -> tuple[bytes, str]:
        path = self.stream if streamed else self.whole
        endpoint = find("POST", path)
        assert endpoint is not None
        body = {"model": "m", "stream": streamed, "messages": [{"role": "user", "content": "Hi"}]}
        query = self.query if streamed else {}
        request = Request(method="POST", path=path, query=query, body=json.dumps(body).encode())
        reply = endpoint.answer(request, script)
        return reply.body, dict(reply.headers)["content-type"]


CASES: Final = {
    "openai.chat": Case("openai.chat", "/v1/chat/completions", "/v1/chat/completions"),
    "openai.completions": Case(
        "openai.completions", "/v1/completions", "/v1/completions", tools=False, thinks=False
    ),
    "openai.responses": Case("openai.responses", "/v1/responses", "/v1/responses"),
    "anthropic.messages": Case("anthropic.messages", "/v1/messages", "/v1/messages"),
    "gemini.generate": Case(
        "gemini.generate",
        f"{GEMINI}streamGenerateContent",
        f"{GEMINI}generateContent",
        {"alt": "sse"},
    ),
    "gemini.generate-array": Case(
        "gemini.generate", f"{GEMINI}streamGenerateContent", f"{GEMINI}generateContent"
    ),
    "bedrock.converse": Case("bedrock.converse", f"{BEDROCK}converse-stream", f"{BEDROCK}converse"),
    "bedrock.invoke": Case(
        "bedrock.invoke", f"{BEDROCK}invoke-with-response-stream", f"{BEDROCK}invoke"
    ),
    "bedrock.invoke-native": Case(
        "bedrock.invoke",
        f"{META}invoke-with-response-stream",
        f"{META}invoke",
        tools=False,
        thinks=False,
    ),
    "ollama.chat": Case("ollama.chat", "/api/chat", "/api/chat"),
    "ollama.generate": Case(
        "ollama.generate", "/api/generate", "/api/generate", tools=False, thinks=False
    ),
    "cohere.chat": Case("cohere.chat", "/v2/chat", "/v2/chat", thinks=False),
}
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


@dataclass
class Result:
    out: bytes
    gate: AnswerGate
    judge: PatternJudge
    events: list[AnswerEvent]
    steps: list[bytes]

    @property
    def answer(self) -> Answer:
        return read(self.gate_dialect, self.out, self.media_type)

    gate_dialect: str = ""
    media_type: str = ""


def read(dialect: str, data: bytes, media_type: str) -> Answer:
    """Read what a client got."""
    collector = AnswerCollector()
    reader = dialect_named(dialect).reader()
    for frame in frames_of(dialect, data, media_type):
        collector.add(reader.receive(frame))
    collector.add(reader.close())
    return collector.answer()


def frames_of(dialect: str, data: bytes, media_type: str) -> list[Frame]:
    framing = framing_for(media_type, dialect=dialect)
    assert framing is not None
    found = [*framing.receive(data), *framing.close()]
    assert not framing.pending
    return found


def run(
    case: Case,
    script: Script,
    *,
    cuts: list[int] | None = None,
    change: Callable[[bytes], bytes] = bytes,
    **options: Any,
) -> Result:
    data, media_type = case.answer(script, streamed=True)
    data = change(data)
    judge, events = PatternJudge(), list[AnswerEvent]()
    gate = AnswerGate(
        dialect_named(case.dialect),
        judge,
        media_type=media_type,
        on_events=events.extend,
        **options,
    )
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts or ())})
    steps = [gate.receive(data[a:b]) for a, b in itertools.pairwise(edges)]
    steps.append(gate.close())
    return Result(b"".join(steps), gate, judge, events, steps, case.dialect, media_type)


def texts(answer: Answer) -> dict[ChannelKind, str]:
    said: dict[ChannelKind, str] = {}
    for channel, text in answer.texts.items():
        said[channel.kind] = said.get(channel.kind, "") + text
    return said


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
