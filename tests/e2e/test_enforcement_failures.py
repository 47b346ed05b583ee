"""Faults of detection itself: each stage and kind of fault gets exactly the configured verdict."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.analyzers.base import Direction
from llmtrace.analyzers.cache import CachedAnalyzer
from llmtrace.domain.traces import Outcome
from llmtrace.pipeline import judging
from llmtrace.pipeline.detection import Detection
from llmtrace.pipeline.judging import AnswerJudge
from llmtrace.policy.table import PolicyTable
from llmtrace.policy.vault import Vault
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket
from llmtrace.testing.planted import FAULTS as KINDS
from llmtrace.testing.planted import SECRET, called, documents, said
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

POLICY = {"rules": [{"name": "secrets", "kinds": ["secret.*"], "verdict": "redact"}]}
URL = "https://api.openai.com/v1/chat/completions"
WORDS = "One two three, four five six, and then seven eight nine."
TOOL = ScriptedTool(name="Read", arguments=json.dumps({"path": "notes.txt", "lines": "1-20"}))
FAULTS = ("detection_failed", "fail_open", "fail_closed")


REQUEST_STAGES = {
    "inspect": (CachedAnalyzer, "inspect"),
    "decide": (PolicyTable, "decide"),
    "mask": (Vault, "mask"),
}
TEXT_STAGES = {
    "undecided": (AnswerJudge, "undecided"),
    "rulings": (AnswerJudge, "rulings"),
    "growing": (judging, "inspection"),
    "restore": (Vault, "unmask"),
}
CUT_KINDS = [*(("", kind) for kind in KINDS)]
CUT_KINDS += [("one_byte_each", "exception"), ("slow_drip", "exception")]
EACH = pytest.mark.parametrize("kind", KINDS)
MODES = pytest.mark.parametrize("mode", ["block", "allow"])


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@asynccontextmanager
async def enforcing(
    folder: Path, provider: ScriptedProvider, mode: str, **more: object
) -> AsyncIterator[Worker]:
    provider.clear()
    settings = {"mode": "enforce", "policy": POLICY, "on_error": mode, **more}
    async with running_worker(folder, provider, **settings) as worker:
        yield worker


async def ask(worker: Worker, text: str = "hi", *, stream: bool = False) -> httpx2.Response:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "stream": stream}
    async with httpx2.AsyncClient(
        proxy=worker.proxy_url, verify=worker.client_context(), trust_env=False, timeout=10
    ) as http:
        return await http.post(URL, json=body, headers={"authorization": "Bearer none-at-all"})


def faults(worker: Worker) -> int:
    """Return how many faults were counted, wherever."""
    counts = worker.counters.snapshot()
    return sum(count for name, count in counts.items() if name.partition("{")[0] in FAULTS)


async def one_trace(worker: Worker) -> Any:
    await worker.journal.traces(1)
    await asyncio.sleep(0.02)  # for a second end to come, which would be wrong
    (record,) = worker.journal.ended
    return record.trace


# --- requests ---------------------------------------------------------------------------------


@EACH
@MODES
@pytest.mark.parametrize("stage", REQUEST_STAGES)
async def test_a_fault_in_a_request(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        owner, name = REQUEST_STAGES[stage]
        monkeypatch.setattr(owner, name, _in_requests(owner, name, KINDS[kind]()))
        answer = await ask(worker, f"The token is {SECRET} for now.")
        trace = await one_trace(worker)
        assert faults(worker) == 1
        if mode == "block":
            assert answer.status_code == 503
            assert SECRET not in answer.text
            assert provider.model_calls == []
            assert trace.outcome in (Outcome.REFUSED, Outcome.BROKEN)
            assert trace.error_code
        else:
            assert answer.status_code == 200
            (call,) = provider.model_calls
            assert SECRET.encode() in call.body
            assert trace.outcome is Outcome.OK
            assert trace.coverage.unread_bytes > 0


def _in_requests(owner: type, name: str, fault: Callable[..., Any]) -> Callable[..., Any]:
    """Return what fails for requests, and works for answers."""
    real = getattr(owner, name)

    def run(self: Any, *args: Any) -> Any:
        where = args[-1]
        if getattr(where, "direction", Direction.REQUEST) is Direction.ANSWER:
            return real(self, *args)
        return fault()

    return run


@MODES
async def test_detection_that_takes_too_long_is_given_up(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    analysis = {"timeout_ms": 100}
    async with enforcing(tmp_path, provider, mode, security_analysis=analysis) as worker:
        slow = _in_requests(CachedAnalyzer, "inspect", lambda: time.sleep(0.8))
        monkeypatch.setattr(CachedAnalyzer, "inspect", slow)
        began = time.monotonic()
        answer = await ask(worker, "x" * 100_000)
        took = time.monotonic() - began
        assert took < 0.7
        assert faults(worker) == 1
        assert answer.status_code == (503 if mode == "block" else 200)
        if mode == "block":
            assert answer.json()["error"]["code"] == "detection_timeout"
        assert len(provider.model_calls) == (mode == "allow")
        monkeypatch.undo()
        await one_trace(worker)


# --- answers ----------------------------------------------------------------------------------


class Later:
    """Works so many times, then fails for ever."""

    def __init__(self, real: Callable[..., Any], fault: Callable[..., Any], works: int) -> None:
        self._real, self._fault, self._works = real, fault, works

    def __call__(self, *args: Any, **more: Any) -> Any:
        self._works -= 1
        return self._real(*args, **more) if self._works >= 0 else self._fault()

    def __get__(self, owner: object, _kind: type) -> Callable[..., Any]:
        return lambda *args, **more: self(owner, *args, **more)


def fail(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, kind: str, works: int) -> None:
    monkeypatch.setattr(owner, name, Later(getattr(owner, name), KINDS[kind](), works))


@pytest.mark.parametrize(("cutting", "kind"), CUT_KINDS)
@MODES
@pytest.mark.parametrize("works", [0, 3], ids=["at-once", "later"])
@pytest.mark.parametrize("stage", ["undecided", "rulings", "growing"])
async def test_a_fault_in_a_streamed_text(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    works: int,
    cutting: str,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        provider.enqueue(Script(text=WORDS, chunks=13, misbehave=cutting))
        owner, name = TEXT_STAGES[stage]
        fail(monkeypatch, owner, name, kind, works)
        answer = await ask(worker, stream=True)
        monkeypatch.undo()
        trace = await one_trace(worker)
        assert faults(worker) == 1
        assert trace.coverage.unread_bytes > 0
        if mode == "allow":
            assert said(answer.text) == WORDS
            assert answer.text.count("[DONE]") == 1
            assert trace.outcome is Outcome.OK
        else:
            assert WORDS.startswith(said(answer.text))
            assert said(answer.text) != WORDS
            assert documents(answer.text)[-1]["error"]["code"] == "internal_error"
            assert trace.outcome is Outcome.STOPPED


@EACH
@MODES
async def test_a_fault_in_a_streamed_tool_call(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        provider.enqueue(Script(text="", tool_calls=(TOOL,), chunks=7))
        fail(monkeypatch, AnswerJudge, "tool_call", kind, 0)
        answer = await ask(worker, stream=True)
        trace = await one_trace(worker)
        assert faults(worker) == 1
        assert called(answer.text) == (TOOL.arguments if mode == "allow" else "")
        if mode == "block":
            assert documents(answer.text)[-1]["error"]["code"] == "internal_error"
        assert trace.outcome is (Outcome.OK if mode == "allow" else Outcome.STOPPED)


@EACH
@MODES
@pytest.mark.parametrize("stage", ["rulings", "growing", "tool_call"])
async def test_a_fault_in_a_whole_answer(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        calls = (TOOL,) if stage == "tool_call" else ()
        provider.enqueue(Script(text="" if calls else WORDS, tool_calls=calls))
        owner, name = TEXT_STAGES.get(stage, (AnswerJudge, "tool_call"))
        fail(monkeypatch, owner, name, kind, 0)
        answer = await ask(worker)
        monkeypatch.undo()
        trace = await one_trace(worker)
        assert faults(worker) == 1
        if mode == "allow":
            assert answer.status_code == 200
            message = answer.json()["choices"][0]["message"]
            assert (TOOL.arguments if calls else WORDS) in json.dumps(message).replace("\\", "")
            assert trace.outcome is Outcome.OK
            assert trace.coverage.unread_bytes > 0
        else:
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "internal_error"
            assert WORDS not in answer.text
            assert trace.outcome in (Outcome.STOPPED, Outcome.BROKEN)
            assert trace.error_code == "internal_error"


@EACH
@MODES
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_fault_when_a_value_is_to_come_back(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        await ask(worker, f"The token is {SECRET} for now.")
        masked = json.loads(provider.model_calls[0].body)["messages"][0]["content"].split()[3]
        worker.journal.ended.clear()
        provider.enqueue(Script(text=f"It is {masked} indeed, yes.", chunks=9))
        fail(monkeypatch, Vault, "unmask", kind, 0)
        answer = await ask(worker, stream=stream)
        monkeypatch.undo()
        trace = await one_trace(worker)
        assert faults(worker) == 1
        assert SECRET not in answer.text
        whole = said(answer.text) if stream else answer.text
        assert (f"It is {masked} indeed, yes." in whole) == (mode == "allow")
        assert trace.outcome in (
            (Outcome.OK,) if mode == "allow" else (Outcome.STOPPED, Outcome.BROKEN)
        )


@EACH
@MODES
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_fault_when_an_answer_has_gone_by_leaves_its_trace(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        provider.enqueue(Script(text=WORDS))
        monkeypatch.setattr(Detection, "answer", KINDS[kind]())
        answer = await ask(worker, stream=stream)
        trace = await one_trace(worker)
        assert answer.status_code == 200
        assert (said(answer.text) if stream else answer.text).count("seven eight nine") == 1
        assert faults(worker) == 1
        assert trace.outcome is Outcome.OK
        assert trace.coverage.unread_bytes > 0


# --- WebSockets -------------------------------------------------------------------------------

CREATE = json.dumps({"type": "response.create", "model": "gpt-4o", "input": f"It is {SECRET}."})


async def _answer(socket: Socket) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while (message := await socket.message()) is not None:
        messages.append(message)
        if message["type"] in ("response.completed", "error"):
            break
    return messages


@EACH
@MODES
async def test_a_fault_in_a_websocket_request(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        socket = await (await Socket.open(worker)).accepted()
        fault = _in_requests(CachedAnalyzer, "inspect", KINDS[kind]())
        monkeypatch.setattr(CachedAnalyzer, "inspect", fault)
        socket.send(CREATE)
        messages = await _answer(socket)
        bodies = [call.body for call in provider.calls if call.method == "WS"]
        assert faults(worker) == 1
        if mode == "allow":
            assert messages[-1]["type"] == "response.completed"
            assert bodies == [CREATE.encode()]
        else:
            assert bodies == []
            assert not messages or messages[0]["type"] == "error"
        socket.abort()
        if mode == "allow" or messages:
            await one_trace(worker)


@EACH
@MODES
@pytest.mark.parametrize("works", [0, 3], ids=["at-once", "later"])
async def test_a_fault_in_a_websocket_answer(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    works: int,
    kind: str,
    mode: str,
) -> None:
    async with enforcing(tmp_path, provider, mode) as worker:
        socket = await (await Socket.open(worker)).accepted()
        provider.enqueue(Script(text=WORDS, chunks=13))
        fail(monkeypatch, AnswerJudge, "rulings", kind, works)
        socket.send(CREATE)
        messages = await _answer(socket)
        monkeypatch.undo()
        deltas = [m["delta"] for m in messages if m["type"] == "response.output_text.delta"]
        if mode == "allow":
            assert "".join(deltas) == WORDS
            numbers = [message["sequence_number"] for message in messages]
            assert numbers == list(range(len(numbers)))
        else:
            assert WORDS.startswith("".join(deltas))
            assert "".join(deltas) != WORDS
            assert messages[-1]["type"] != "response.completed"
        trace = await one_trace(worker)
        assert faults(worker) == 1
        assert (trace.outcome is Outcome.OK) == (mode == "allow")
        socket.abort()
