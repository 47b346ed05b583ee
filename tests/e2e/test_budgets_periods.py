"""Periods end while calls run, clocks differ, budgets go: each call is paid for all the same."""

import asyncio
import os
import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from llmtrace.storage.ledger import Ledger
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.budgets import (
    COST,
    RESERVED,
    URL,
    Door,
    body,
    reserving,
    room_for,
    rush,
    settled,
    totals,
)
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.ledgers import SetClock
from llmtrace.testing.processes import GatewayProcess
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

PROMPT = "@script: output_tokens=100"
EVENING = datetime(2026, 11, 1, 4, 59, 30, tzinfo=UTC)
"""Half a minute before the second midnight-to-be of New York's longest day: 25 hours."""
NEW_YORK = {"time_zone": "America/New_York"}


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


def a_clock(at: datetime = EVENING) -> SetClock:
    return SetClock(int(at.timestamp()) * 1_000_000)


def door_of(worker: Worker) -> Door:
    return Door(proxy_url=worker.proxy_url, context=worker.client_context())


async def ask(door: Door, text: str = "hi", **more: Any) -> httpx2.Response:
    async with door.client() as http:
        return await http.post(URL, json=body(text, **more))


async def test_a_stream_over_midnight_is_paid_from_the_day_in_which_it_began(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    clock = a_clock(datetime(2026, 11, 2, 4, 59, 30, tzinfo=UTC))
    ledger = SqliteLedger.at(tmp_path / "limits.sqlite", clock=clock)
    watcher = SqliteLedger.at(tmp_path / "limits.sqlite", clock=clock)
    async with running_worker(tmp_path, provider, ledger, **room_for(1, **NEW_YORK)) as worker:
        door = door_of(worker)
        provider.enqueue(Script(hold=True, output_tokens=100))
        under_way = asyncio.create_task(ask(door, stream=True))
        await asyncio.to_thread(provider.wait_for, lambda calls: len(calls) == 1)
        (before,) = watcher.current()
        assert (before.reserved, before.key) == (RESERVED, _daily(before.key, "2026-11-01T04"))
        assert (await ask(door)).status_code == 429
        clock.step(60)
        assert (await ask(door, PROMPT)).status_code == 200
        provider.release()
        assert (await under_way).status_code == 200
        assert await _spent(watcher, before.key) == COST
        (today,) = watcher.current()
        assert await _spent(watcher, today.key) == COST
        assert today.key == _daily(today.key, "2026-11-02T05")
        refused = await ask(door)
        assert refused.status_code == 429
        assert refused.json()["error"]["resets_at"] == "2026-11-03T05:00:00Z"
        assert int(refused.headers["retry-after"]) <= 3600
    watcher.close()


def _daily(key: str, hour: str) -> str:
    """Return the key of a daily budget whose day began at an hour (UTC)."""
    return "|".join((*key.split("|")[:3], "daily", f"{hour}:00:00Z"))


async def _spent(ledger: Ledger, key: str) -> int:
    """Return what is spent of a budget once nothing is reserved in it."""
    async with asyncio.timeout(5):
        while True:
            standing = ledger.standings("default", [key])[key]
            if not standing.reserved:
                return standing.spent
            await asyncio.sleep(0.01)


async def test_a_clock_that_is_set_back_opens_no_day_again(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    clock = a_clock(datetime(2026, 11, 2, 5, 0, 30, tzinfo=UTC))
    ledger = SqliteLedger.at(tmp_path / "limits.sqlite", clock=clock)
    async with running_worker(tmp_path, provider, ledger, **room_for(1, **NEW_YORK)) as worker:
        assert (await ask(door_of(worker), PROMPT)).status_code == 200
        clock.step(-60)
        assert (await ask(door_of(worker), PROMPT)).status_code == 429


@pytest.mark.parametrize("ahead", [90, -90], ids=["ahead", "behind"])
async def test_gateways_whose_clocks_differ_share_a_day(
    provider: ScriptedProvider, tmp_path: Path, ahead: int
) -> None:
    """At 04:59:30 UTC one of them thinks that the next day of New York has begun, or has not."""
    provider.clear()
    path, clocks = tmp_path / "limits.sqlite", (a_clock(), a_clock())
    clocks[1].step(ahead)
    ledgers = [SqliteLedger.at(path, clock=clock) for clock in clocks]
    doors, workers = [], []
    for number, ledger in enumerate(ledgers):
        home = tmp_path / str(number)
        home.mkdir()
        workers.append(running_worker(home, provider, ledger, **room_for(2, **NEW_YORK)))
    async with workers[0] as first, workers[1] as second:
        doors = [door_of(second), door_of(first)]
        crowd = await rush(doors[:1], 2, text=PROMPT)
        crowd = await rush(doors, 8, text=PROMPT)
        assert crowd.statuses == {429: 8}
    assert len(provider.model_calls) == 2


@pytest.mark.slow
async def test_a_budget_that_is_deleted_lets_what_it_holds_end(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    with GatewayProcess(tmp_path, provider, ("api.openai.com",), settings=room_for(1)) as gateway:
        way = gateway.way()
        door = Door(proxy_url=way.proxy_url, context=ssl.create_default_context(cadata=way.ca_pem))
        ledger = SqliteLedger.at(gateway.home / "limits.sqlite")
        provider.enqueue(Script(hold=True, output_tokens=100))
        under_way = asyncio.create_task(ask(door, stream=True))
        await reserving(ledger, RESERVED)
        assert (await ask(door)).status_code == 429
        config = yaml.safe_load(gateway.config.read_text())
        config["cost_caps"]["default_budget_caps"] = []
        gateway.config.write_text(yaml.safe_dump(config))
        os.kill(gateway.pid, signal.SIGHUP)
        async with asyncio.timeout(20):
            while True:
                if (await ask(door, PROMPT)).status_code == 200:
                    break
                await asyncio.sleep(0.2)
        assert totals(ledger) == (0, RESERVED)
        provider.release()
        assert (await under_way).status_code == 200
        assert await settled(ledger) == COST
        ledger.close()
