"""What was spent and who was stopped, as a person asks for it of a real gateway."""

import asyncio
import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.testing.budgets import COST, PRICES, URL, Door, body, rush
from llmtrace.testing.processes import GatewayProcess
from llmtrace.testing.provider import ScriptedProvider

ANTHROPIC = "https://api.anthropic.com/v1/messages"
CLAUDE = "claude-sonnet-4-5"
LOGIN = {
    "authorization": "Bearer sk-ant-oat01-" + "x" * 40,
    "anthropic-beta": "oauth-2025-04-20",
    "user-agent": "claude-cli/2.1.0 (external, cli)",
}
SETTINGS: dict[str, Any] = {
    "workers": 2,
    "cost_estimation": PRICES,
    "cost_caps": {
        "enabled": True,
        "default_budget_caps": [{"window": "daily", "hard_limit_usd": 20}],
    },
    "runaway": {"action": "stop", "repeats_soft": 3, "repeats_hard": 5},
}
HELD_SECONDS = 1.5
"""A little longer than workers believe what they know of holds."""


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    hosts = ("api.openai.com", "api.anthropic.com")
    folder = tmp_path_factory.mktemp("costs")
    with GatewayProcess(folder, provider, hosts, settings=SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def door(gateway: GatewayProcess) -> Door:
    way = gateway.way()
    return Door(proxy_url=way.proxy_url, context=ssl.create_default_context(cadata=way.ca_pem))


def served(gateway: GatewayProcess, query: str = "") -> Any:
    address = f"{gateway.api_url}/api/v1/costs/current{query}"
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  # http, ours
        return json.load(answer)


def told(gateway: GatewayProcess, *words: str) -> Any:
    return json.loads(gateway.cli(*words, "--json", "--config", str(gateway.config)))


async def test_costs_are_the_sum_of_the_traces_and_plans_stand_apart(
    gateway: GatewayProcess, door: Door
) -> None:
    message = {"role": "user", "content": "@script: input_tokens=1000 output_tokens=100"}
    claude = {"model": CLAUDE, "max_tokens": 100, "messages": [message]}
    async with door.client() as http:
        answers = [
            await http.post(
                URL, json=body(f"@script: output_tokens=100 text={n}"), headers={"user-agent": name}
            )
            for n, name in enumerate(["writer/1", "writer/1", "reader/2"])
        ]
        answers.append(await http.post(ANTHROPIC, json=claude, headers=LOGIN))
    assert [answer.status_code for answer in answers] == [200] * 4
    traces = gateway.traces(count=4)
    said = told(gateway, "costs")
    rows = {row["agent"]: row for row in said["costs"]}
    assert {name: row["calls"] for name, row in rows.items()} == {
        "writer": 2,
        "reader": 1,
        "claude-code": 1,
    }
    assert rows["writer"]["cost_usd"] == 0.002
    assert rows["claude-code"]["cost_usd"] == 0
    assert rows["claude-code"]["plan_cost_usd"] > 0
    assert {trace["plan"] for trace in traces} == {"", "claude-subscription"}
    total = said["total"]["cost_usd"] + said["total"]["plan_cost_usd"]
    assert total == pytest.approx(sum(trace["cost_usd"] for trace in traces), abs=1e-12)
    spent = {row["name"]: row["spent_usd"] for row in said["budgets"]}
    assert spent["writer"] == 0.002
    assert spent["claude-code"] == rows["claude-code"]["plan_cost_usd"]
    assert all(row["limit_usd"] == 20 and row["reserved_usd"] == 0 for row in said["budgets"])
    assert all(row["remaining_usd"] < 20 and row["resets_at"] for row in said["budgets"])


@pytest.mark.slow
async def test_after_a_restart_all_sums_are_still_those_of_the_traces(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    with GatewayProcess(tmp_path, provider, ("api.openai.com",), settings=SETTINGS) as gateway:
        way = gateway.way()
        trusts = ssl.create_default_context(cadata=way.ca_pem)
        door = Door(proxy_url=way.proxy_url, context=trusts)
        for calls in (3, 2):
            await rush([door], calls, text="@script: output_tokens=100")
            gateway.stop()
            gateway.start()
        traces = gateway.traces(count=5)
        said = told(gateway, "costs")
    (budget,) = said["budgets"]
    sums = sum(trace["cost_usd"] for trace in traces)
    assert sums == pytest.approx(5 * COST / 1e9, abs=1e-12)
    assert said["total"]["cost_usd"] == budget["spent_usd"] == pytest.approx(sums, abs=1e-12)
    assert (said["total"]["calls"], budget["reserved_usd"]) == (5, 0)


@pytest.mark.parametrize("by", ["agent", "day"])
def test_the_command_and_the_api_say_the_same(gateway: GatewayProcess, by: str) -> None:
    since = "2020-01-01T00:00:00Z"
    one = told(gateway, "costs", "--by", by, "--since", since)
    other = served(gateway, f"?by={by}&since={since}")
    assert one.pop("at") <= other.pop("at")
    assert one == other


@pytest.mark.slow
async def test_an_agent_that_runs_in_circles_is_stopped_until_a_person_releases_it(
    gateway: GatewayProcess, door: Door, provider: ScriptedProvider
) -> None:
    provider.clear()
    call = body("@script: input_tokens=5000 output_tokens=10")
    refused = await _until_refused(door, call)
    error = refused.json()["error"]
    assert refused.status_code == 429
    assert error["code"] == "agent_on_hold"
    assert "llmtrace agents release crowd" in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert 5 <= len(provider.model_calls) <= 8

    gateway.stop()
    gateway.start()
    provider.clear()
    async with door.client() as http:
        answer = await http.post(URL, json=body("something else"))
    assert answer.status_code == 429
    assert provider.model_calls == []

    (stopped,) = told(gateway, "agents", "list")
    assert stopped["agent"] == "crowd"
    assert stopped["reason"].startswith("it made the same call ")
    assert len(told(gateway, "agents", "release", "crowd")) == 1
    await asyncio.sleep(HELD_SECONDS)
    async with door.client() as http:
        answer = await http.post(URL, json=call)
    assert answer.status_code == 200
    found = told(gateway, "findings", "list", "--kind", "runaway.*")
    assert {finding["kind"] for finding in found} == {"runaway.repeated_call"}


async def _until_refused(door: Door, call: dict[str, Any]) -> httpx2.Response:
    async with door.client() as http:
        for _ in range(20):
            answer = await http.post(URL, json=call)
            if answer.status_code != 200:
                return answer
            await asyncio.sleep(0.1)
    raise AssertionError("nobody was stopped")
