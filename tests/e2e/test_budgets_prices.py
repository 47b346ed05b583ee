"""Prices in a file, while the gateway runs: the next call is charged by what stands there now."""

import asyncio
import os
import re
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llmtrace.testing.budgets import MODEL, Door, body
from llmtrace.testing.processes import GatewayProcess, children_of
from llmtrace.testing.provider import ScriptedProvider

WORKERS = 2
URL = "https://api.openai.com/v1/chat/completions"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


def priced(path: Path, output_per_million: float) -> None:
    prices = {MODEL: {"input_per_million": 0, "output_per_million": output_per_million}}
    path.write_text(yaml.safe_dump(prices))


@pytest.mark.slow
async def test_a_changed_file_counts_from_then_on_and_a_bad_one_not_at_all(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    priced(file, 10)
    estimation = {"pricing_file": str(file)}
    caps = [{"window": "daily", "hard_limit_usd": 1000}]
    settings = {
        "workers": WORKERS,
        "cost_estimation": estimation,
        "cost_caps": {"enabled": True, "default_budget_caps": caps},
    }
    with GatewayProcess(tmp_path, provider, ("api.openai.com",), settings=settings) as gateway:
        way = gateway.way()
        door = Door(proxy_url=way.proxy_url, context=ssl.create_default_context(cadata=way.ca_pem))

        async def costs(calls: int) -> set[float]:
            """Make calls on connections of their own, and return what they were charged."""
            for _ in range(calls):
                async with door.client() as http:
                    prompt = body("@script: input_tokens=1 output_tokens=100")
                    assert (await http.post(URL, json=prompt)).status_code == 200
            made.append(calls)
            rows = await asyncio.to_thread(gateway.traces, count=sum(made))
            rows.sort(key=lambda row: row["started_at"])
            return {row["cost_usd"] for row in rows[-calls:]}

        async def until_workers_said(words: str) -> None:
            async with asyncio.timeout(60):
                while True:
                    if len(re.findall(rf"worker-\d.*{words}", gateway.log)) == WORKERS:
                        return
                    await asyncio.sleep(0.1)

        made: list[int] = []
        assert await costs(4) == {0.001}
        priced(file, 20)
        await until_workers_said("new prices are in force")
        assert await costs(4) == {0.002}
        file.write_text(f"{MODEL}: {{input_per_million: -1}}")
        await until_workers_said("stay in force until it is corrected")
        assert await costs(4) == {0.002}
        for pid in children_of(gateway.pid):
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1)
        async with asyncio.timeout(40):
            await _listening(way.proxy_url)
        assert await costs(2) == {0.002}  # beside a bad file, by the last that could be read
        rows = await asyncio.to_thread(gateway.traces, count=sum(made))
    assert sorted(row["cost_usd"] for row in rows) == [0.001] * 4 + [0.002] * 10


async def _listening(url: str) -> None:
    """Wait until somebody takes connections there."""
    host, _, port = url.removeprefix("http://").partition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
