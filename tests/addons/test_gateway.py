"""The gateway addon in a whole worker: real sockets, real TLS, the scripted provider."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.addons import gateway
from llmtrace.domain.traces import Outcome
from llmtrace.domain.usage import UsageSource
from llmtrace.pipeline.answer import AnswerTap
from llmtrace.pipeline.pipeline import Pipeline
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

KEY = "sk-test-planted-credential-0001"
type StartWorker = Callable[..., Awaitable[Worker]]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def start(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[StartWorker]:
    provider.clear()
    stack: list[Any] = []

    async def begin(**overrides: object) -> Worker:
        context = running_worker(tmp_path, provider, **overrides)
        stack.append(context)
        return await context.__aenter__()

    yield begin
    for context in stack:
        await context.__aexit__(None, None, None)


def client(worker: Worker, **options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        proxy=f"http://run-1:token@127.0.0.1:{worker.forward}",
        verify=worker.client_context(),
        trust_env=False,
        timeout=10,
        **options,
    )


def chat(text: str = "Hello", **more: object) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


URL = "https://api.openai.com/v1/chat/completions"
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


async def test_a_call_is_recorded_before_its_end_is_seen(start: StartWorker) -> None:
    worker = await start()
    async with client(worker) as http:
        answer = await http.post(URL, json=chat(), headers=HEADERS)
        ended = list(worker.journal.ended)
    assert answer.status_code == 200
    (record,) = ended
    trace = record.trace
    assert (trace.provider, trace.dialect, trace.model) == ("openai", "openai.chat", "gpt-4o")
    assert (trace.outcome, trace.status, trace.run) == (Outcome.OK, 200, "run-1")
    assert (trace.usage.input_tokens, trace.usage_source) == (12, UsageSource.PROVIDER)
    assert trace.cost_nano_usd == 12 * 2500 + 9 * 10_000
    assert answer.headers["x-llmtrace-trace-id"] == trace.trace_id
    assert trace.coverage.unread_bytes == 0


async def test_what_passes_is_the_clients_own_bytes(start: StartWorker) -> None:
    worker = await start()
    body = (
        b'{ "messages" : [{"content":"\\u00e9 \\ud83d\\ude00 caf\xc3\xa9","role":"user"}],\n'
        b'\t"zeta": 1.0e-7, "model":"gpt-4o", "n": 1 }'
    )
    headers = {**HEADERS, "X-Odd-Case": "kept", "accept-encoding": "zstd, br"}
    async with client(worker) as http:
        await http.post(URL, content=body, headers=headers)
    (call,) = worker.provider.model_calls
    assert hashlib.sha256(call.body).hexdigest() == hashlib.sha256(body).hexdigest()
    sent = {name.lower(): value for name, value in call.headers}
    assert sent["authorization"] == HEADERS["authorization"]
    assert sent["accept-encoding"] == "zstd, br"
    assert not [name for name in sent if "llmtrace" in name or name == "proxy-authorization"]


async def test_what_is_said_to_llmtrace_ends_there(start: StartWorker) -> None:
    worker = await start()
    own = {
        "X-LLMTrace-Tenant-ID": "acme",
        "x-llmtrace-agent-id": "bot",
        "X_LLMTrace_Token": "t",
        "X-LLMTrace-Provider": "openai",
    }
    async with client(worker) as http:
        await http.post(URL, json=chat(), headers={**HEADERS, **own})
    (call,) = worker.provider.model_calls
    assert not [name for name, _ in call.headers if "llmtrace" in name.lower()]
    trace = await worker.journal.trace()
    assert (trace.tenant, trace.agent) == ("acme", "bot")


async def test_a_stream_is_not_held_back(start: StartWorker) -> None:
    worker = await start()
    worker.provider.enqueue(Script(hold=True))
    async with (
        client(worker) as http,
        http.stream("POST", URL, json=chat(stream=True), headers=HEADERS) as answer,
    ):
        chunks = answer.aiter_bytes()
        first = await asyncio.wait_for(anext(chunks), 5)
        assert b"data:" in first
        assert worker.journal.ended == []
        worker.provider.release()
        rest = b"".join([chunk async for chunk in chunks])
        assert b"[DONE]" in rest
    trace = await worker.journal.trace()
    assert (trace.stream, trace.outcome) == (True, Outcome.OK)
    assert trace.ttft_ms is not None
    record = worker.journal.ended[0]
    assert record.answer is not None
    assert record.answer.content == first + rest
    assert record.texts.answer == "Hello from the scripted provider: all is well."


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        pytest.param(b'{"messages":', {}, 400, "bad_json", id="broken-json"),
        pytest.param(b'{"messages":[],"messages":[]}', {}, 400, "bad_json", id="duplicate-key"),
        pytest.param(b"", {}, 400, "bad_json", id="empty"),
        pytest.param(b"[" * 200 + b"]" * 200, {}, 400, "json_limits", id="too-deep"),
        pytest.param(b"{}", {"content-encoding": "gzip"}, 415, "undecodable_body", id="not-gzip"),
        pytest.param(b"{}", {"content-encoding": "rot13"}, 415, "undecodable_body", id="rot13"),
        pytest.param(
            b"{}", {"content-encoding": "gzip, gzip"}, 415, "undecodable_body", id="two-codings"
        ),
    ],
)
async def test_what_cannot_be_judged_is_refused(
    start: StartWorker, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    worker = await start()
    async with client(worker) as http:
        answer = await http.post(URL, content=body, headers={**HEADERS, **headers})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-should-retry"] == "false"
    assert worker.provider.model_calls == []
    trace = await worker.journal.trace()
    assert (trace.outcome, trace.error_code, trace.status) == (Outcome.REFUSED, code, status)


async def test_a_refusal_has_the_shape_of_its_dialect(start: StartWorker) -> None:
    worker = await start()
    async with client(worker) as http:
        answer = await http.post(
            "https://api.anthropic.com/v1/messages", content=b"{", headers={"x-api-key": KEY}
        )
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["message"].startswith("LLMTrace refused this request")


async def test_without_a_journal_the_provider_is_not_asked(start: StartWorker) -> None:
    worker = await start()
    worker.journal.broken = True
    async with client(worker) as http:
        answer = await http.post(URL, json=chat(), headers=HEADERS)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "audit_unavailable"
        assert worker.provider.model_calls == []
        worker.journal.broken = False
        assert (await http.post(URL, json=chat(), headers=HEADERS)).status_code == 200


async def test_audit_mode_continue_lets_a_call_pass_unrecorded(start: StartWorker) -> None:
    worker = await start(audit__mode="continue")
    worker.journal.broken = True
    async with client(worker) as http:
        answer = await http.post(URL, json=chat(), headers=HEADERS)
    assert answer.status_code == 200
    assert worker.counters.get("audit_failures") == 2


class Fault(Exception):
    """What the tests inject. Its text must not be found anywhere."""


def broken(*_args: object, **_kwargs: object) -> Any:
    raise Fault("a prompt")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Pipeline, "identify"),
        (Pipeline, "inspect"),
        (Pipeline, "answer"),
        (Pipeline, "finish"),
        (gateway, "head_of"),
    ],
    ids=["identify", "inspect", "answer-head", "finish", "head"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_fault_of_our_own_is_refused_and_counted(
    start: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    stream: bool,
) -> None:
    worker = await start()
    monkeypatch.setattr(owner, name, broken)
    async with client(worker) as http:
        answer = await http.post(URL, json=chat(stream=stream), headers=HEADERS)
    late = name == "finish" and stream  # the bytes are out when the end cannot be recorded
    assert answer.status_code == (200 if late else 503)
    assert "a prompt" not in answer.text
    assert sum(v for k, v in worker.counters.snapshot().items() if k.startswith("fail_closed")) >= 1


@pytest.mark.parametrize("name", ["identify", "inspect", "answer", "finish"])
async def test_fail_open_lets_it_pass_and_counts_it(
    start: StartWorker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    worker = await start(on_error="allow")
    monkeypatch.setattr(Pipeline, name, broken)
    async with client(worker) as http:
        answer = await http.post(URL, json=chat(), headers=HEADERS)
    assert answer.status_code == 200
    assert sum(v for k, v in worker.counters.snapshot().items() if k.startswith("fail_open")) >= 1


async def test_a_fault_inside_a_stream_ends_it_in_the_formats_own_way(
    start: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await start()
    seen: list[int] = []
    receive = AnswerTap.receive

    def third_fails(self: AnswerTap, chunk: bytes) -> None:
        seen.append(len(chunk))
        if len(seen) == 3:
            raise Fault("a prompt")
        receive(self, chunk)

    monkeypatch.setattr(AnswerTap, "receive", third_fails)
    worker.provider.enqueue(Script(chunks=20, delay_ms=5))
    async with client(worker) as http:
        answer = await http.post(URL, json=chat(stream=True), headers=HEADERS)
    assert answer.status_code == 200
    events = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-2][6:])["error"]["code"] == "internal_error"
    assert events[-1] == "data: [DONE]"
    assert len(seen) == 3
    trace = await worker.journal.trace()
    assert trace.coverage.gaps[-1].reason == "internal_error"


async def test_no_credential_is_in_any_record(start: StartWorker) -> None:
    worker = await start()
    async with client(worker) as http:
        await http.post(
            f"https://generativelanguage.googleapis.com/v1beta/models/g:generateContent?key={KEY}",
            json={"contents": [{"parts": [{"text": f"my key is {KEY}"}]}]},
        )
        worker.provider.enqueue(Script(text=f"You said {KEY}"))
        await http.post(URL, json=chat(), headers={**HEADERS, "cookie": f"session={KEY}"})
        await http.post(URL, content=b"{", headers=HEADERS)
    await worker.journal.traces(3)
    kept = repr(worker.journal.begun) + repr(worker.journal.ended)
    assert KEY not in kept
    assert "[credential]" in kept


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        ("reset_before_headers", Outcome.BROKEN),
        ("close_before_headers", Outcome.BROKEN),
        ("reset_after_headers", Outcome.BROKEN),
        ("cut_mid_stream", Outcome.BROKEN),
        ("huge_header", Outcome.BROKEN),
        ("garbage", Outcome.BROKEN),
    ],
)
async def test_a_provider_that_misbehaves_leaves_a_trace_and_nothing_hangs(
    start: StartWorker, mode: str, outcome: Outcome
) -> None:
    worker = await start()
    worker.provider.enqueue(Script(misbehave=mode, chunks=5))
    async with client(worker) as http:
        with contextlib.suppress(httpx2.HTTPError):
            await http.post(URL, json=chat(stream=True), headers=HEADERS)
        trace = await worker.journal.trace()
        assert trace.outcome is outcome, (mode, trace.error_code)
        assert (await http.post(URL, json=chat(), headers=HEADERS)).status_code == 200


async def test_a_client_that_leaves_in_mid_stream_is_recorded_with_what_it_got(
    start: StartWorker,
) -> None:
    worker = await start()
    worker.provider.enqueue(Script(hold=True))
    async with (
        client(worker) as http,
        http.stream("POST", URL, json=chat(stream=True), headers=HEADERS) as answer,
    ):
        await anext(answer.aiter_bytes())
    trace = await worker.journal.trace()
    assert (trace.outcome, trace.error_code) == (Outcome.CLIENT_LEFT, "client_left")
    assert trace.usage_source is UsageSource.ESTIMATED
    worker.provider.release()


async def test_an_error_of_the_provider_passes_and_is_read(start: StartWorker) -> None:
    worker = await start()
    worker.provider.enqueue(Script(status=429))
    async with client(worker) as http:
        answer = await http.post(URL, json=chat(), headers=HEADERS)
    assert answer.status_code == 429
    trace = await worker.journal.trace()
    assert (trace.outcome, trace.status) == (Outcome.PROVIDER_ERROR, 429)
    assert trace.error
    assert trace.cost_nano_usd is None


async def test_base_url_mode_reaches_the_provider_named_in_the_path(start: StartWorker) -> None:
    worker = await start()
    async with httpx2.AsyncClient(trust_env=False) as http:
        for path, dialect, body in [
            ("/openai/v1/chat/completions", "openai.chat", chat()),
            ("/v1/chat/completions", "openai.chat", chat()),
            ("/anthropic/v1/messages", "anthropic.messages", {**chat(), "max_tokens": 5}),
        ]:
            answer = await http.post(worker.base_url + path, json=body, headers=HEADERS)
            assert answer.status_code == 200, answer.text
            trace = worker.journal.ended[-1].trace
            assert (trace.dialect, trace.mode) == (dialect, "reverse")
        assert (await http.get(worker.base_url + "/nothing/here")).status_code == 403


async def test_an_unknown_route_is_read_generically(start: StartWorker) -> None:
    worker = await start()
    async with client(worker) as http:
        await http.post(
            "https://api.openai.com/v1/new_thing",
            json={"deep": [{"text": "read me"}]},
            headers=HEADERS,
        )
    trace = await worker.journal.trace()
    assert trace.dialect == "generic"
    assert worker.journal.ended[0].texts.prompt == "read me"


async def test_the_canary_is_answered_without_a_provider(start: StartWorker) -> None:
    worker = await start()
    async with client(worker) as http:
        answer = await http.get("https://api.openai.com/.well-known/llmtrace-canary")
    assert (answer.status_code, answer.text) == (200, "llmtrace\n")
    assert worker.provider.calls == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_without_bodies_only_numbers_are_kept(start: StartWorker, stream: bool) -> None:
    worker = await start(storage__bodies=False)
    worker.provider.enqueue(Script(tool_calls=(ScriptedTool(name="t", arguments='{"a":"said"}'),)))
    async with client(worker) as http:
        await http.post(URL, json=chat("said", stream=stream), headers=HEADERS)
    trace = await worker.journal.trace()
    assert trace.usage.output_tokens
    assert [action.name for action in trace.actions] == ["t"]
    assert "said" not in repr(worker.journal.begun) + repr(worker.journal.ended)


async def test_what_asks_without_a_body_goes_on_without_one(start: StartWorker) -> None:
    worker = await start()
    async with client(worker) as http:
        answer = await http.post("https://api.openai.com/v1/responses/resp_1/cancel")
    assert answer.headers["x-llmtrace-trace-id"]
    (call,) = worker.provider.calls
    assert (call.method, call.body) == ("POST", b"")
