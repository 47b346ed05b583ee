"""A hundred calls at once, and room for ten: the provider is asked ten times, whoever counts."""

import asyncio
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmtrace.storage.ledger import Admission, Admitted, Denied, Ledger, Settlement
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing import redis
from llmtrace.testing.budgets import COST, Crowd, Door, room_for, rush, totals
from llmtrace.testing.inprocess import running_worker
from llmtrace.testing.processes import GatewayProcess
from llmtrace.testing.provider import ScriptedProvider

PROMPT = "@script: output_tokens=100 input_tokens=9"
"""As much as is set aside: what a call gives back makes room for no other."""
HOSTS = ("api.openai.com",)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    if request.param == "sqlite":
        yield {}
        return
    if not redis.installed():
        pytest.skip(redis.MISSING)
    with redis.RedisServer() as server:
        yield {"redis_url": server.url}


def door_of(gateway: GatewayProcess) -> Door:
    way = gateway.way()
    return Door(proxy_url=way.proxy_url, context=ssl.create_default_context(cadata=way.ca_pem))


def assert_ten(crowd: Crowd, provider: ScriptedProvider) -> None:
    assert crowd.statuses == {200: 10, 429: 90}
    assert crowd.codes == {"cost_cap_exceeded": 90}
    assert len(provider.model_calls) == 10


@pytest.mark.parametrize(
    ("store", "workers", "http2"),
    [
        pytest.param("sqlite", 4, True, id="sqlite-four-workers-http2", marks=pytest.mark.slow),
        pytest.param("sqlite", 1, False, id="sqlite-one-worker-http1", marks=pytest.mark.slow),
        pytest.param("redis", 1, True, id="redis-one-worker-http2", marks=pytest.mark.slow),
        pytest.param("redis", 4, False, id="redis-four-workers-http1", marks=pytest.mark.slow),
        pytest.param("sqlite", 1, True, id="sqlite-one-worker-http2", marks=pytest.mark.slow),
        pytest.param("sqlite", 4, False, id="sqlite-four-workers-http1", marks=pytest.mark.slow),
        pytest.param("redis", 1, False, id="redis-one-worker-http1", marks=pytest.mark.slow),
        pytest.param("redis", 4, True, id="redis-four-workers-http2", marks=pytest.mark.slow),
    ],
    indirect=["store"],
)
async def test_of_a_hundred_calls_at_once_those_go_that_there_is_room_for(
    provider: ScriptedProvider, tmp_path: Path, store: dict[str, Any], workers: int, http2: bool
) -> None:
    provider.clear()
    kept = {"database_path": str(tmp_path / "home" / "llmtrace.db"), **store}
    settings = {"workers": workers, "storage": kept, **room_for(10)}
    with GatewayProcess(tmp_path, provider, HOSTS, settings=settings) as gateway:
        door = door_of(gateway)
        crowd = await rush([door], 100, http2=http2, text=PROMPT)
        later = await rush([door], 1, text=PROMPT)
        refused = gateway.traces(count=101, seconds=15)
    assert_ten(crowd, provider)
    assert later.statuses == {429: 1}
    assert [row["outcome"] for row in refused].count("refused") == 91


@pytest.mark.slow
async def test_a_restart_loses_nothing_that_was_spent(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    with GatewayProcess(tmp_path, provider, HOSTS, settings=room_for(3)) as gateway:
        crowd = await rush([door_of(gateway)], 2, text=PROMPT)
        assert crowd.statuses == {200: 2}
        gateway.stop()
        gateway.start()
        crowd = await rush([door_of(gateway)], 3, text=PROMPT)
    assert crowd.statuses == {200: 1, 429: 2}


class CheckThenAdd:
    """A ledger that looks first and reserves then: two may look before either reserves."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def exchange(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied]:
        self._ledger.exchange(settlements, [])
        return [self._admit(one) for one in admissions]

    def exchange_now(self, settlements: object, admissions: object) -> None:
        """Whoever looks first and reserves then does not do it at once."""

    def _admit(self, asked: Admission) -> Admitted | Denied:
        (node,) = asked.nodes
        found = self._ledger.standings(asked.tenant, [node.key])[node.key]
        limit = node.limit or 0
        time.sleep(0.01)  # what lies between looking and reserving
        if found.spent + found.reserved + asked.amounts["usd"] > limit:
            return Denied(reason="exhausted", requested=asked.amounts["usd"], node=node)
        unlimited = type(node)(key=node.key, unit=node.unit, limit=None, ends=node.ends)
        return self._ledger.admit(
            Admission(id=asked.id, tenant=asked.tenant, amounts=asked.amounts, nodes=(unlimited,))
        )

    def close(self) -> None:
        """The other workers have it still."""


class Shared(SqliteLedger):
    """A ledger that several workers of one process have."""

    def close(self) -> None:
        """The other workers have it still."""


@asynccontextmanager
async def four_workers(
    folder: Path, provider: ScriptedProvider, ledger: Ledger
) -> AsyncIterator[list[Door]]:
    async with AsyncExitStack() as stack:
        doors = []
        for number in range(4):
            home = folder / str(number)
            home.mkdir()
            worker = await stack.enter_async_context(
                running_worker(home, provider, ledger, **room_for(10))
            )
            doors.append(Door(proxy_url=worker.proxy_url, context=worker.client_context()))
        yield doors


async def test_it_holds_for_four_workers_that_share_a_ledger(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    ledger = Shared.at(tmp_path / "limits.sqlite")
    async with four_workers(tmp_path, provider, ledger) as doors:
        crowd = await rush(doors, 100, text=PROMPT)
    SqliteLedger.close(ledger)
    assert_ten(crowd, provider)


async def test_this_test_would_see_a_ledger_that_looks_first_and_reserves_then(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    ledger = SqliteLedger.at(tmp_path / "limits.sqlite")
    broken: Any = CheckThenAdd(ledger)
    async with four_workers(tmp_path, provider, broken) as doors:
        await rush(doors, 100, text=PROMPT)
    ledger.close()
    assert len(provider.model_calls) > 10


@pytest.mark.slow
@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
async def test_a_redis_that_lost_everything_learns_what_was_spent_from_the_traces(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    with redis.RedisServer() as server:
        kept = {"database_path": str(tmp_path / "home" / "llmtrace.db"), "redis_url": server.url}
        settings = {"storage": kept, **room_for(3)}
        with GatewayProcess(tmp_path, provider, HOSTS, settings=settings) as gateway:
            crowd = await rush([door_of(gateway)], 3, text=PROMPT)
            assert crowd.statuses == {200: 3}
            await asyncio.sleep(32)  # calls that have just ended are not counted yet
            with server.client() as client:
                client.flushall()
            ledger = RedisLedger.at(server.url)
            async with asyncio.timeout(20):
                while True:
                    if totals(ledger)[0] >= 3 * COST:
                        break
                    await asyncio.sleep(0.2)
            ledger.close()
            crowd = await rush([door_of(gateway)], 3, text=PROMPT)
    assert crowd.statuses == {429: 3}


@pytest.mark.slow
async def test_a_signal_changes_the_limits_and_a_bad_file_changes_nothing(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    async def until_statuses(expected: dict[int, int]) -> None:
        async with asyncio.timeout(20):
            while True:
                if (await rush([door], 1, text=PROMPT)).statuses == expected:
                    return
                await asyncio.sleep(0.3)

    async def until_said(words: str) -> None:
        async with asyncio.timeout(90):  # a new worker may take a minute to serve
            while True:
                if words in gateway.log:
                    return
                await asyncio.sleep(0.1)

    provider.clear()
    with GatewayProcess(tmp_path, provider, HOSTS, settings=room_for(1)) as gateway:
        door = door_of(gateway)
        await until_statuses({200: 1})
        await until_statuses({429: 1})
        written = gateway.config.read_text()
        raised = yaml.safe_load(written) | room_for(2)
        gateway.config.write_text(yaml.safe_dump(raised))
        os.kill(gateway.pid, signal.SIGHUP)
        await until_said("all workers run with what was read")
        await until_statuses({200: 1})
        await until_statuses({429: 1})
        caps = raised["cost_caps"]["default_budget_caps"]
        caps[0]["hard_limit_usd"] = "-5"
        gateway.config.write_text(yaml.safe_dump(raised))
        os.kill(gateway.pid, signal.SIGHUP)
        await until_said("the configuration stays as it was")
        await until_statuses({429: 1})
    assert len(provider.model_calls) == 2
