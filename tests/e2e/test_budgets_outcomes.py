"""However a call ends, it is settled once: nothing is lost, nothing is free, nothing stays open."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.limits.charging import CHARGED
from llmtrace.providers.editing import EditFailed
from llmtrace.storage.ledger import Ledger
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.budgets import (
    COST,
    NANO_PER_TOKEN,
    RESERVED,
    URL,
    Door,
    body,
    room_for,
    rush,
    settled,
    totals,
)
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A worker with a budget, and its ledger as another process sees it."""

    worker: Worker
    ledger: Ledger
    door: Door

    async def ask(self, text: str = "hi", **more: Any) -> httpx2.Response:
        async with self.door.client() as http:
            return await http.post(URL, json=body(text, **more))


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@asynccontextmanager
async def budget(
    folder: Path, provider: ScriptedProvider, calls: float = 10, **more: Any
) -> AsyncIterator[Desk]:
    provider.clear()
    caps, own = more.pop("caps", {}), more.pop("at", None)
    shared = SqliteLedger.at(own) if own else None
    async with running_worker(
        folder, provider, shared, **room_for(calls, **caps), **more
    ) as worker:
        ledger = SqliteLedger.at(own or worker.home.path / "limits.sqlite")
        door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
        yield Desk(worker=worker, ledger=ledger, door=door)
        await settled(ledger)
        ledger.close()


USAGE_LIES = ("negative", "huge", "string", "nan", "nested", "null", "fraction")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("script", "spent"),
    [
        pytest.param("output_tokens=100", COST, id="all-of-it"),
        pytest.param("output_tokens=10", COST // 10, id="a-tenth"),
        pytest.param("output_tokens=0 input_tokens=0", 0, id="an-explicit-0"),
        pytest.param("output_tokens=300", 3 * COST, id="more-than-was-set-aside"),
        pytest.param("status=500", 0, id="status-500"),
        pytest.param("status=429", 0, id="status-429"),
    ],
)
async def test_what_the_provider_tells_is_booked(
    provider: ScriptedProvider, tmp_path: Path, script: str, spent: int, stream: bool
) -> None:
    async with budget(tmp_path, provider) as desk:
        await desk.ask(f"@script: {script}", stream=stream)
        assert await settled(desk.ledger) == spent
        trace = await desk.worker.journal.trace()
        assert (trace.cost_nano_usd or 0) == spent
        overrun = desk.worker.counters.get("budget_overrun")
        assert overrun == (spent > RESERVED)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lie", USAGE_LIES)
async def test_a_usage_that_is_none_is_estimated_and_not_free(
    provider: ScriptedProvider, tmp_path: Path, lie: str, stream: bool
) -> None:
    async with budget(tmp_path, provider) as desk:
        words = "one two three four five six"
        await desk.ask(f'@script: usage={lie} text="{words}"', stream=stream)
        assert 0 < await settled(desk.ledger) <= RESERVED


async def test_after_it_is_settled_the_next_wave_is_admitted(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    prompt = "@script: output_tokens=10"
    async with budget(tmp_path, provider) as desk:
        for wave in range(1, 9):
            crowd = await rush([desk.door], 2, text=prompt)
            assert crowd.statuses == {200: 2}
            assert await settled(desk.ledger) == wave * 2 * COST // 10
        assert totals(desk.ledger)[0] <= 10 * RESERVED


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_client_that_leaves_pays_for_what_came(
    provider: ScriptedProvider, tmp_path: Path, dialect: str
) -> None:
    """More for each chunk, more than nothing, and no more than what was set aside."""
    charges = []
    prices = {
        "custom_models": {
            "priced-by-output": {"input_per_million": 1, "output_per_million": 10},
        }
    }
    async with running_worker(
        tmp_path, provider, **{**room_for(1000), "cost_estimation": prices}
    ) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        before = totals(ledger)[0]
        for chunks in range(1, 7):
            await _leave(worker, provider, dialect, chunks)
            spent = await settled(ledger)
            charges.append(spent - before)
            before = spent
        traces = await worker.journal.traces(6)
        ledger.close()
    assert charges == sorted(charges)
    assert charges[0] > 0
    assert charges[-1] > charges[0]
    assert charges[-1] <= RESERVED + 1_000_000
    assert {trace.outcome for trace in traces} == {Outcome.CLIENT_LEFT}
    assert charges == [trace.cost_nano_usd for trace in traces]


PATHS = {
    "openai": ("https://api.openai.com/v1/chat/completions", {}),
    "anthropic": ("https://api.anthropic.com/v1/messages", {"anthropic-version": "2023-06-01"}),
}
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu"


async def _leave(worker: Worker, provider: ScriptedProvider, dialect: str, chunks: int) -> None:
    """Read so many words of a stream, and close the connection."""
    url, headers = PATHS[dialect]
    provider.enqueue(Script(text=WORDS, chunks=12, delay_ms=60))
    document = body("a prompt of some words", stream=True)
    words = 0
    async with (
        httpx2.AsyncClient(
            proxy=worker.proxy_url, verify=worker.client_context(), trust_env=False, timeout=10
        ) as http,
        http.stream("POST", url, json=document, headers=headers) as answer,
    ):
        async for line in answer.aiter_lines():
            words += '"content":"' in line or '"text":"' in line
            if words > chunks:
                break


async def test_a_client_that_leaves_after_the_end_had_it_all(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    async with budget(tmp_path, provider) as desk:
        provider.enqueue(Script(output_tokens=7, misbehave=""))
        async with (
            desk.door.client() as http,
            http.stream("POST", URL, json=body(stream=True)) as answer,
        ):
            async for line in answer.aiter_lines():
                if "[DONE]" in line:
                    break
        assert await settled(desk.ledger) == 7 * NANO_PER_TOKEN
        assert (await desk.worker.journal.trace()).outcome is Outcome.OK


@pytest.mark.parametrize(
    ("mode", "charged"), [("strict", RESERVED), ("estimate", None)], ids=["strict", "estimate"]
)
async def test_a_call_that_was_sent_and_never_answered_is_not_free(
    provider: ScriptedProvider, tmp_path: Path, mode: str, charged: int | None
) -> None:
    prices = {
        "custom_models": {"priced-by-output": {"input_per_million": 1, "output_per_million": 10}}
    }
    async with running_worker(
        tmp_path, provider, **{**room_for(1000, mode=mode), "cost_estimation": prices}
    ) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        provider.clear()
        provider.enqueue(Script(misbehave="close_before_headers"))
        door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
        async with door.client() as http:
            answer = await http.post(URL, json=body())
        assert answer.status_code == 502
        spent = await settled(ledger)
        trace = await worker.journal.trace()
        ledger.close()
    assert trace.outcome is Outcome.BROKEN
    assert spent > 0
    assert spent == int(trace.attributes.get(CHARGED, trace.cost_nano_usd or 0))
    assert (spent >= RESERVED) == (charged is not None)


async def test_a_provider_that_is_not_reached_costs_nothing(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    nowhere: dict[str, Any] = {"upstreams": {"api.openai.com": "http://127.0.0.1:9"}}
    async with budget(tmp_path, provider, **nowhere) as desk:
        assert (await desk.ask()).status_code == 502
        assert await settled(desk.ledger) == 0
        assert (await desk.worker.journal.trace()).outcome is Outcome.CONNECT_FAILED


async def test_a_call_that_detection_blocks_reserves_nothing(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    rules = [{"name": "secrets", "kinds": ["secret.*"], "verdict": "block"}]
    enforce: dict[str, Any] = {"mode": "enforce", "policy": {"rules": rules}}
    async with budget(tmp_path, provider, **enforce) as desk:
        answer = await desk.ask("The key is AKIA" + "IOSFODNN7EXAMPLQ, keep it.")
        assert answer.status_code == 400
        assert provider.model_calls == []
        assert list(desk.ledger.current()) == []


async def test_an_answer_that_is_blocked_is_paid_for(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    rules = [{"name": "secrets", "kinds": ["secret.*"], "verdict": "block"}]
    enforce: dict[str, Any] = {"mode": "enforce", "policy": {"rules": rules}}
    async with budget(tmp_path, provider, **enforce) as desk:
        provider.enqueue(Script(text="It is AKIA" + "IOSFODNN7EXAMPLQ.", output_tokens=40))
        assert (await desk.ask()).status_code == 400
        assert await settled(desk.ledger) == 40 * NANO_PER_TOKEN


async def test_what_is_refused_leaves_a_trace_and_the_provider_sees_nothing(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    async with budget(tmp_path, provider, 0.5) as desk:
        answer = await desk.ask()
        trace = await desk.worker.journal.trace()
        assert provider.calls == []
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers  # waiting does not help a call that is too large
    error = answer.json()["error"]
    assert (error["code"], error["reason"]) == ("cost_cap_exceeded", "too_large")
    assert error["max_output_tokens"] == 49
    assert (trace.outcome, trace.error_code) == (Outcome.REFUSED, "cost_cap_exceeded")
    assert trace.status == 429


async def test_the_chunk_that_only_the_gateway_asked_for_goes_no_further(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    async with budget(tmp_path, provider) as desk:
        prompt = "@script: output_tokens=33"
        plain = (await desk.ask(prompt, stream=True)).text
        asked = (await desk.ask(prompt, stream=True, stream_options={"include_usage": True})).text
        assert await settled(desk.ledger) == 66 * NANO_PER_TOKEN
        first, second = (json.loads(call.body) for call in provider.model_calls)
        traces = await desk.worker.journal.traces(2)
    assert first["stream_options"] == second["stream_options"] == {"include_usage": True}
    assert '"choices":[]' not in plain
    assert '"choices":[]' in asked
    assert plain.endswith("data: [DONE]\n\n")
    assert [trace.usage.output_tokens for trace in traces] == [33, 33]
    assert traces[0].attributes == {"put_in": "stream_options.include_usage"}
    assert traces[1].attributes == {}


async def test_a_call_without_a_cap_is_given_one(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    caps: dict[str, Any] = {"default_token_cap": {"max_completion_tokens": 70}}
    async with budget(tmp_path, provider, caps=caps) as desk:
        document = body()
        del document["max_tokens"]
        async with desk.door.client() as http:
            answer = await http.post(URL, json=document)
        (call,) = provider.model_calls
        trace = await desk.worker.journal.trace()
    assert answer.status_code == 200
    assert json.loads(call.body)["max_completion_tokens"] == 70
    assert trace.attributes == {"put_in": "max_completion_tokens"}


@pytest.mark.parametrize("capped", [False, True], ids=["no-cap", "own-cap"])
async def test_a_call_that_cannot_be_held_to_its_bound_does_not_go(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capped: bool,
) -> None:
    """What only asks for the usage may fail: the call has a bound all the same."""

    def cannot(*_: Any) -> bytes:
        raise EditFailed("says the test")

    monkeypatch.setattr("llmtrace.pipeline.admission.put_member", cannot)
    document = body(stream=True)
    if not capped:
        del document["max_tokens"]
    async with budget(tmp_path, provider, 100, caps={"max_output_tokens": 50}) as desk:
        async with desk.door.client() as http:
            answer = await http.post(URL, json=document)
        assert answer.status_code == (200 if capped else 400)
        assert len(provider.model_calls) == capped
        assert desk.worker.counters.get("put_failed") == 1
        spent = await settled(desk.ledger)
    if capped:
        assert 0 < spent <= RESERVED
    else:
        assert spent == 0
        error = answer.json()["error"]
        assert (error["code"], error["limit_tokens"]) == ("token_cap_required", 50)
        assert "Set max_completion_tokens to 50 or less" in error["message"]
        assert answer.headers["x-should-retry"] == "false"


async def test_calls_over_a_websocket_are_held_to_the_budget_too(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    create = {
        "type": "response.create",
        "model": "priced-by-output",
        "input": "hi",
        "max_output_tokens": 100,
    }
    async with budget(tmp_path, provider, 1) as desk:
        provider.enqueue(Script(output_tokens=100))
        socket = await (await Socket.open(desk.worker)).accepted()
        socket.send(json.dumps(create))
        assert await socket.until("response.completed")
        assert await settled(desk.ledger) == COST
        socket.send(json.dumps(create))
        refused = await socket.message()
        assert refused is not None
        assert (refused["type"], refused["status"]) == ("error", 429)
        assert refused["error"]["code"] == "cost_cap_exceeded"
        assert refused["error"]["limit_usd"] > 0
        assert len([call for call in provider.model_calls if call.method == "WS"]) == 1
        socket.abort()
        outcomes = [trace.outcome for trace in await desk.worker.journal.traces(2)]
    assert outcomes == [Outcome.OK, Outcome.REFUSED]


async def test_a_limit_that_is_lowered_lets_what_is_under_way_end(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    high, low = tmp_path / "high", tmp_path / "low"
    high.mkdir()
    low.mkdir()
    path = tmp_path / "limits.sqlite"
    async with budget(high, provider, 5, at=path) as desk:
        provider.enqueue(Script(hold=True, output_tokens=100))
        under_way = asyncio.create_task(desk.ask(stream=True))
        await asyncio.to_thread(provider.wait_for, lambda calls: len(calls) == 1)
        async with running_worker(low, provider, SqliteLedger.at(path), **room_for(0.5)) as worker:
            door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
            assert (await rush([door], 1)).statuses == {429: 1}
            provider.release()
            assert (await under_way).status_code == 200
            assert await settled(desk.ledger) == COST
            assert (await rush([door], 1)).statuses == {429: 1}
        assert (await desk.ask()).status_code == 200  # the limit that is raised counts at once
