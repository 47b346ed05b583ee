"""Calls under a subscription: metered as what the API would cost, with the plan's windows."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.domain.traces import Outcome, PlanWindow
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.budgets import (
    COST,
    MODEL,
    RESERVED,
    body,
    room_for,
    settled,
    totals,
)
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script
from llmtrace.testing.scripts.openai_responses import RESETS

CODEX = "/backend-api/codex/responses"
ANTHROPIC = "https://api.anthropic.com/v1/messages"
LOGIN = {"authorization": "Bearer sk-ant-oat01-a-login", "anthropic-version": "2023-06-01"}
CREATE = {"type": "response.create", "model": MODEL, "input": "hi", "max_output_tokens": 100}


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, **room_for(5)) as running:
        yield running


async def answered(socket: Socket) -> list[dict[str, Any]]:
    said = []
    while (message := await socket.message()) is not None:
        said.append(message)
        if message["type"] in ("response.completed", "error"):
            break
    return said


@pytest.mark.parametrize("mode", ["observe", "enforce"])
async def test_the_windows_of_codex_are_read_on_its_websocket(
    provider: ScriptedProvider, tmp_path: Path, mode: str
) -> None:
    provider.clear()
    async with running_worker(tmp_path, provider, mode=mode, **room_for(5)) as worker:
        socket = await (await Socket.open(worker, CODEX, host="chatgpt.com")).accepted()
        for _ in range(2):
            provider.enqueue(Script(output_tokens=100))
            socket.send(json.dumps(CREATE))
            said = await answered(socket)
            assert said[0]["type"] == "codex.rate_limits"  # the client reads it too
            assert said[0]["rate_limits"]["primary"]["used_percent"] == 37.5
        socket.abort()
        traces = await worker.journal.traces(2)
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        assert await settled(ledger) == 2 * COST
        ledger.close()
    for trace in traces:
        assert (trace.outcome, trace.plan) == (Outcome.OK, "chatgpt-subscription")
        assert trace.cost_nano_usd == COST
        resets = datetime.fromtimestamp(RESETS, UTC)
        assert trace.plan_windows == (PlanWindow(name="5h", used=0.375, resets_at=resets),)
        assert trace.coverage.gaps == ()


async def test_who_is_under_no_plan_has_no_windows(
    worker: Worker, provider: ScriptedProvider
) -> None:
    socket = await (await Socket.open(worker, CODEX)).accepted()
    socket.send(json.dumps(CREATE))
    await answered(socket)
    socket.abort()
    trace = await worker.journal.trace()
    assert (trace.plan, trace.plan_windows) == ("", ())


@pytest.mark.parametrize(
    ("traffic", "status"), [("count", 429), ("ignore", 200)], ids=["counted", "ignored"]
)
async def test_budgets_count_what_the_api_would_cost_or_ignore_it(
    provider: ScriptedProvider, tmp_path: Path, traffic: str, status: int
) -> None:
    provider.clear()
    async with running_worker(tmp_path, provider, **room_for(1, plan_traffic=traffic)) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        async with httpx2.AsyncClient(
            proxy=worker.proxy_url,
            verify=worker.client_context(),
            trust_env=False,
            headers={"user-agent": "crowd/1", **LOGIN},
        ) as http:
            prompt = body("@script: output_tokens=100")
            del prompt["stream"]
            assert (await http.post(ANTHROPIC, json=prompt)).status_code == 200
            await settled(ledger)
            assert (await http.post(ANTHROPIC, json=prompt)).status_code == status
        first = (await worker.journal.traces(2))[0]
        assert (first.plan, first.cost_nano_usd) == ("claude-subscription", COST)
        assert await settled(ledger) == (COST if traffic == "count" else 0)
        assert totals(ledger)[0] <= RESERVED
        ledger.close()
