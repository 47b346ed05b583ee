"""What a call asks for, and who asks: nobody is exempt, and nothing goes that has no bound."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.app.accounts import accounts
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.domain.traces import Outcome
from llmtrace.environment.home import Home
from llmtrace.limits.charging import CHARGED
from llmtrace.storage.keys import Role
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.budgets import (
    COST,
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

API = "https://api.openai.com/v1"
PROMPT = "@script: output_tokens=100"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, **room_for(10)) as running:
        yield running


def door_of(worker: Worker) -> Door:
    return Door(proxy_url=worker.proxy_url, context=worker.client_context())


async def ask(worker: Worker, document: Any, url: str = URL, **headers: str) -> httpx2.Response:
    async with door_of(worker).client() as http:
        return await http.post(
            url,
            content=document if isinstance(document, bytes) else json.dumps(document),
            headers={"content-type": "application/json", **headers},
        )


@pytest.mark.parametrize(
    "cap",
    ["-1", "1e308", '"10"', "true", str(2**63), "0.5", "[]", "{}"],
    ids=["negative", "huge", "text", "true", "past-64-bits", "fraction", "list", "object"],
)
async def test_a_cap_that_is_none_is_refused(
    worker: Worker, provider: ScriptedProvider, cap: str
) -> None:
    document = json.dumps(body()).replace('"max_tokens": 100', f'"max_tokens": {cap}')
    answer = await ask(worker, document.encode())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_token_cap"
    assert provider.calls == []


async def test_many_answers_at_once_are_too_large_together(
    worker: Worker, provider: ScriptedProvider
) -> None:
    answer = await ask(worker, body(n=128))
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (429, "too_large")
    assert error["max_output_tokens"] == 10 * RESERVED * 100 // COST // 128
    assert answer.headers["x-should-retry"] == "false"
    assert provider.calls == []


async def test_a_contended_budget_says_that_waiting_helps_and_an_exhausted_one_that_it_does_not(
    worker: Worker, provider: ScriptedProvider
) -> None:
    ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
    for _ in range(10):
        provider.enqueue(Script(hold=True, output_tokens=100))
    async with door_of(worker).client() as http:
        streams = [
            await http.send(http.build_request("POST", URL, json=body(stream=True)), stream=True)
            for _ in range(10)
        ]
        contended = await ask(worker, body())
        provider.release()
        for stream in streams:
            await stream.aread()
            await stream.aclose()
    assert await settled(ledger) == 10 * COST
    exhausted = await ask(worker, body())
    ledger.close()
    assert contended.json()["error"]["reason"] == "contended"
    assert 1 <= int(contended.headers["retry-after"]) <= 5
    assert "x-should-retry" not in contended.headers
    error = exhausted.json()["error"]
    assert error["reason"] == "too_large"  # of the sixteen nano-USD that are left
    assert error["retry_after_secs"] == int(exhausted.headers["retry-after"])
    assert exhausted.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR], ids=["admin", "operator"])
async def test_no_key_is_exempt(provider: ScriptedProvider, tmp_path: Path, role: Role) -> None:
    provider.clear()
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    settings.home.path.mkdir(mode=0o700)
    with accounts(settings) as opened:
        _, token = opened.create_key(role=role)
    async with running_worker(tmp_path, provider, **room_for(1)) as worker:
        key = {"x-llmtrace-token": token}
        assert (await ask(worker, body(PROMPT), **key)).status_code == 200
        assert (await ask(worker, body(PROMPT), **key)).status_code == 429
    assert len(provider.model_calls) == 1


ROUTES: dict[str, tuple[str, dict[str, Any], int]] = {
    "chat": ("chat/completions", {"model": "gpt-4o", "messages": [], "max_tokens": 5}, 200),
    "completions": ("completions", {"model": "gpt-4o", "prompt": "x", "max_tokens": 5}, 200),
    "responses": ("responses", {"model": "gpt-4o", "input": "x", "max_output_tokens": 16}, 200),
    "embeddings": ("embeddings", {"model": "text-embedding-3-small", "input": "x"}, 200),
    "images": ("images/generations", {"model": "gpt-image-1", "prompt": "x"}, 404),
    "speech": ("audio/speech", {"model": "gpt-4o-mini-tts", "input": "x", "voice": "v"}, 404),
    "moderations": ("moderations", {"input": "x"}, 404),
    "token-count": ("responses/input_tokens", {"model": "gpt-4o", "input": "x"}, 200),
    "batches": ("batches", {"input_file_id": "file-1"}, 403),
    "realtime-session": ("realtime/client_secrets", {"session": {}}, 403),
    "assistants": ("threads/thread_1/runs", {"assistant_id": "a"}, 403),
    "fine-tuning": ("fine_tuning/jobs", {"model": "gpt-4o"}, 403),
    "unknown": ("telepathy", {"model": "gpt-4o"}, 403),
    "unknown-embeddings": ("embeddings", {"model": "nobody-knows-it", "input": "x"}, 403),
    "unknown-images": ("images/generations", {"model": "nobody-knows-it", "prompt": "x"}, 403),
    "unknown-speech": ("audio/speech", {"model": "nobody-knows-it", "input": "x"}, 403),
}
"""What goes to the provider, which knows some of it (200) and not all (404); the rest is 403."""


async def test_each_route_has_a_price_or_is_denied(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    caps = [{"window": "daily", "hard_limit_usd": 1000}]
    settings: dict[str, Any] = {"cost_caps": {"enabled": True, "default_budget_caps": caps}}
    async with running_worker(tmp_path, provider, **settings) as worker:
        found = {}
        for name, (path, document, _) in ROUTES.items():
            before = len(provider.calls)
            answer = await ask(worker, document, f"{API}/{path}")
            found[name] = answer.status_code
            assert (len(provider.calls) == before) == (answer.status_code == 403)
            if answer.status_code == 403:
                assert answer.json()["error"]["code"] == "model_not_priced"
    assert found == {name: status for name, (_, _, status) in ROUTES.items()}


@pytest.mark.parametrize("mode", ["strict", "estimate"])
async def test_realtime_sessions_are_held_to_the_budget(
    provider: ScriptedProvider, tmp_path: Path, mode: str
) -> None:
    """Nobody can tell what a spoken answer costs at most, so that a strict budget has none."""
    provider.clear()
    prices = {"custom_models": {"gpt-realtime": {"input_per_million": 0, "output_per_million": 10}}}
    settings: dict[str, Any] = room_for(1, mode=mode, max_output_tokens=100)
    settings |= {"cost_estimation": prices}
    if mode == "estimate":
        settings["cost_caps"]["default_budget_caps"][0]["hard_limit_usd"] = "0.06"
    async with running_worker(tmp_path, provider, **settings) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        opened = await Socket.open(worker, "/v1/realtime?model=gpt-realtime")
        if mode == "strict":  # where voices are told, answers begin that nobody asked for
            refused: Any = await opened.event()
            assert refused.status_code == 403
            assert (provider.calls, totals(ledger)) == ([], (0, 0))
            opened.abort()
            ledger.close()
            return
        socket = await opened.accepted()
        statuses = []
        for _ in range(3):
            provider.enqueue(Script(output_tokens=4_000))
            socket.send(json.dumps({"type": "response.create"}))
            while (message := await socket.message()) is not None:
                if message["type"] in ("response.done", "error"):
                    statuses.append(message.get("status", 200))
                    break
            await settled(ledger)
        socket.abort()
        spent = await settled(ledger)
        ledger.close()
    assert statuses == [200, 429, 429]
    assert spent == 4_000 * 10_000


async def test_an_answer_that_nobody_asked_for_and_does_not_fit_costs_what_was_said(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    """With voice detection the provider begins by itself: it has read what it cuts off."""
    provider.clear()
    price = {"input_per_million": 1_000, "output_per_million": 10}
    settings: dict[str, Any] = room_for(1, mode="estimate", max_output_tokens=100)
    settings |= {"cost_estimation": {"custom_models": {"gpt-realtime": price}}}
    settings["cost_caps"]["default_budget_caps"][0]["hard_limit_usd"] = "0.000001"
    async with running_worker(tmp_path, provider, **settings) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        socket = await (await Socket.open(worker, "/v1/realtime?model=gpt-realtime")).accepted()
        said = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "x" * 400}],
        }
        socket.send(json.dumps({"type": "conversation.item.create", "item": said}))
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA"}))
        while (message := await socket.message()) is not None:
            assert message["type"] != "response.done"
        socket.abort()
        spent = 0
        for _ in range(250):  # it is booked a moment later
            if spent := totals(ledger)[0]:
                break
            await asyncio.sleep(0.02)
        assert totals(ledger) == (spent, 0)
        ledger.close()
        (trace,) = [t for t in await worker.journal.traces(1) if t.outcome is Outcome.REFUSED]
    assert spent == int(trace.attributes[CHARGED]) > 100 * 1_000_000 // 4


async def test_every_name_of_a_model_counts_in_the_same_budget(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    names = ("gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o", "GPT-4o")
    settings: dict[str, Any] = {
        "cost_caps": {
            "enabled": True,
            "default_scope": "model",
            "default_budget_caps": [{"window": "daily", "hard_limit_usd": 1000}],
        }
    }
    async with running_worker(tmp_path, provider, **settings) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        for name in names:
            answer = await ask(worker, body(PROMPT) | {"model": name})
            assert answer.status_code == 200
        await settled(ledger)
        (budget,) = ledger.current()
        ledger.close()
        costs = {trace.cost_nano_usd or 0 for trace in await worker.journal.traces(len(names))}
    assert "gpt-4o" in budget.key
    assert len(costs) == 1
    assert budget.spent == len(names) * costs.pop()


async def test_what_fits_exactly_goes_and_a_nano_usd_less_does_not(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    for missing, status in ((0, 200), (1, 429)):
        folder = tmp_path / str(missing)
        folder.mkdir()
        limit = f"{(RESERVED - missing) / 1e9:.9f}"
        caps = {"cap": {"hard_limit_usd": limit}}
        async with running_worker(folder, provider, **room_for(1, **caps)) as worker:
            crowd = await rush([door_of(worker)], 1, text=PROMPT)
            assert crowd.statuses == {status: 1}


async def test_a_model_without_a_price_goes_only_where_nothing_must_be_proved(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    for mode, status in (("strict", 403), ("estimate", 200)):
        folder = tmp_path / mode
        folder.mkdir()
        async with running_worker(folder, provider, **room_for(10**6, mode=mode)) as worker:
            answer = await ask(worker, body(PROMPT) | {"model": "nobody-knows-it"})
            assert answer.status_code == status
            trace = await worker.journal.trace()
            assert trace.cost_nano_usd is None
            if status == 200:
                ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
                assert await settled(ledger) > 0  # not free: as the dearest model would be
                ledger.close()
    assert len(provider.model_calls) == 1


CORPUS = Path(__file__).parents[1] / "providers" / "token_corpus.jsonl"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_is_told_no_usage_of_is_charged_within_15_per_cent(
    provider: ScriptedProvider, tmp_path: Path, stream: bool
) -> None:
    provider.clear()
    samples = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    async with running_worker(tmp_path, provider, **room_for(1000)) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        for sample in samples:
            provider.enqueue(Script(text=sample["text"], chunks=5, usage="null"))
            document = body(stream=stream, max_tokens=2 * sample["tokens"])
            assert (await ask(worker, document)).status_code == 200
        spent = await settled(ledger)
        ledger.close()
    expected = sum(sample["tokens"] for sample in samples) * COST // 100
    assert spent == pytest.approx(expected, rel=0.15)
