"""Answers that come later are paid for once, whichever worker is asked for them, and when."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.domain.traces import Trace
from llmtrace.storage.ledger import Ledger
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing import redis
from llmtrace.testing.budgets import settled, totals
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.redis import RedisServer
from llmtrace.testing.scripts.batches import CLAUDE, INPUT_TOKENS, MODEL, OUTPUT_TOKENS

OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"
BATCH = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}
PRICE = {
    "input_per_million": 1,
    "output_per_million": 10,
    "service_tiers": {"batch": {"input_per_million": 0.5, "output_per_million": 5}},
}
BATCH_COST = (INPUT_TOKENS * 500) + (OUTPUT_TOKENS * 5_000)
"""In nano-USD."""


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@asynccontextmanager
async def installation(
    folder: Path, provider: ScriptedProvider, mode: str
) -> AsyncIterator[tuple[Worker, Worker, SqliteLedger]]:
    """Two workers of one installation, with a budget, and its ledger."""
    provider.clear()
    settings: dict[str, Any] = {
        "cost_estimation": {"custom_models": {MODEL: PRICE, CLAUDE: PRICE}},
        "cost_caps": {
            "enabled": True,
            "mode": mode,
            "default_budget_caps": [{"window": "monthly", "hard_limit_usd": 1000}],
        },
    }
    async with (
        running_worker(folder, provider, **settings) as first,
        running_worker(folder, provider, **settings) as second,
    ):
        ledger = SqliteLedger.at(first.home.path / "limits.sqlite")
        yield first, second, ledger
        ledger.close()


async def ask(worker: Worker, method: str, url: str, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(
        proxy=worker.proxy_url,
        verify=worker.client_context(),
        trust_env=False,
        timeout=10,
        headers={"user-agent": "later/1"},
    ) as http:
        return await http.request(method, url, json=body or None)


def costs(worker: Worker) -> list[int]:
    traces: list[Trace] = [record.trace for record in worker.journal.ended]
    return [trace.cost_nano_usd for trace in traces if trace.cost_nano_usd is not None]


@pytest.mark.parametrize("mode", ["strict", "estimate"])
async def test_an_answer_in_the_background_is_charged_once_by_whoever_fetches_it(
    provider: ScriptedProvider, tmp_path: Path, mode: str
) -> None:
    async with installation(tmp_path, provider, mode) as (first, second, ledger):
        asked = {"model": MODEL, "input": "hi", "background": True, "max_output_tokens": 1000}
        begun = await ask(first, "POST", f"{OPENAI}/responses", **asked)
        assert begun.json()["status"] == "queued"
        provisional = await settled(ledger)
        assert (provisional > 0) == (mode == "strict")
        for worker in (second, second, first):
            fetched = await ask(worker, "GET", f"{OPENAI}/responses/{begun.json()['id']}")
            assert fetched.json()["status"] == "completed"
        await second.journal.traces(2)
        (cost,) = costs(second)
        assert costs(first) == []
        assert cost > 0
        await _until(ledger, cost)


@pytest.mark.parametrize(
    ("created", "asked", "fetched"),
    [
        pytest.param(f"{OPENAI}/batches", BATCH, "", id="openai"),
        pytest.param(f"{ANTHROPIC}/messages/batches", {"requests": []}, "/results", id="anthropic"),
    ],
)
async def test_a_batch_is_charged_once_by_whoever_fetches_it(
    provider: ScriptedProvider, tmp_path: Path, created: str, asked: dict[str, Any], fetched: str
) -> None:
    async with installation(tmp_path, provider, "estimate") as (first, second, ledger):
        begun = await ask(first, "POST", created, **asked)
        assert begun.status_code == 200
        assert await settled(ledger) == 0
        for worker in (second, second, first):
            answer = await ask(worker, "GET", f"{created}/{begun.json()['id']}{fetched}")
            assert answer.status_code == 200
        await second.journal.traces(2)
        assert costs(second) == [BATCH_COST]
        assert costs(first) == []
        await _until(ledger, BATCH_COST)


async def test_a_restart_forgets_no_batch(provider: ScriptedProvider, tmp_path: Path) -> None:
    async with installation(tmp_path, provider, "estimate") as (first, _, ledger):
        begun = (await ask(first, "POST", f"{OPENAI}/batches", **BATCH)).json()["id"]
        assert await settled(ledger) == 0
    async with installation(tmp_path, provider, "estimate") as (first, _, ledger):
        await ask(first, "GET", f"{OPENAI}/batches/{begun}")
        await _until(ledger, BATCH_COST)


@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
async def test_hosts_that_share_a_ledger_charge_it_once(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with RedisServer() as server, contextlib.closing(RedisLedger.at(server.url)) as ledger:
        settings: dict[str, Any] = {
            "storage": {"redis_url": server.url},
            "cost_estimation": {"custom_models": {MODEL: PRICE}},
            "cost_caps": {
                "enabled": True,
                "mode": "estimate",
                "default_budget_caps": [{"window": "monthly", "hard_limit_usd": 1000}],
            },
        }
        async with (
            running_worker(folders[0], provider, **settings) as first,
            running_worker(folders[1], provider, **settings) as second,
        ):
            begun = (await ask(first, "POST", f"{OPENAI}/batches", **BATCH)).json()["id"]
            for worker in (second, first, second):
                await ask(worker, "GET", f"{OPENAI}/batches/{begun}")
            await _until(ledger, BATCH_COST)
            assert (costs(first), costs(second)) == ([], [BATCH_COST])


async def test_looking_at_batches_is_free_and_a_strict_budget_begins_none(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    async with installation(tmp_path, provider, "strict") as (first, _, ledger):
        for created in (f"{OPENAI}/batches", f"{ANTHROPIC}/messages/batches"):
            refused = await ask(first, "POST", created, **BATCH)
            assert refused.status_code == 403
            assert "model_not_priced" in refused.text
        assert provider.calls == []
        for method, path in (
            ("GET", "batches/batch_of_yesterday"),
            ("POST", "batches/batch_of_yesterday/cancel"),
        ):
            assert (await ask(first, method, f"{OPENAI}/{path}")).status_code == 200
        assert (await ask(first, "GET", f"{OPENAI}/batches")).status_code == 404  # not scripted
        assert len(provider.calls) == 3
        assert totals(ledger) == (0, 0)


async def _until(ledger: Ledger, spent: int) -> None:
    """Wait until so much is spent, and nothing is reserved."""
    async with asyncio.timeout(5):
        while True:
            if totals(ledger) == (spent, 0):
                return
            await asyncio.sleep(0.01)
