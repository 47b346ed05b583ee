"""The store of budgets fails at each step: every budget says what becomes of calls then."""

import asyncio
import contextlib
import resource
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmtrace.limits.recovery import Recovery
from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.testing import redis
from llmtrace.testing.budgets import COST, Door, room_for, rush, settled, totals
from llmtrace.testing.inprocess import running_worker
from llmtrace.testing.processes import GatewayProcess, children_of
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.redis import RedisServer

PROMPT = "@script: output_tokens=100"
ALLOW = {"cap": {"on_store_unavailable": "allow"}}


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


class Faulty(SqliteLedger):
    """A ledger some of whose methods fail, before they did anything or after."""

    fails: Sequence[str] = ()
    after = False

    def _do(self, name: str, real: Callable[[], Any]) -> Any:
        if name not in self.fails:
            return real()
        if self.after:
            real()
        raise LedgerUnavailable(f"{name} fails, says the test")

    def exchange(self, settlements: Any, admissions: Any) -> Any:
        name = "admit" if admissions else "settle"
        real = super().exchange
        return self._do(name, lambda: real(settlements, admissions))

    def exchange_now(self, settlements: Any, admissions: Any) -> Any:
        name = "admit" if admissions else "settle"
        real = super().exchange_now
        return self._do(name, lambda: real(settlements, admissions))

    def admit(self, admission: Any) -> Any:
        real = super().admit
        return self._do("admit", lambda: real(admission))

    def settle(self, settlements: Any) -> Any:
        real = super().settle
        return self._do("settle", lambda: real(settlements))

    def open(self, **more: Any) -> Any:
        real = super().open
        return self._do("open", lambda: real(**more))


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-and-not-told"])
@pytest.mark.parametrize(("allow", "status"), [(False, 503), (True, 200)], ids=["deny", "allow"])
async def test_no_call_can_be_admitted(
    provider: ScriptedProvider, tmp_path: Path, allow: bool, status: int, after: bool
) -> None:
    provider.clear()
    ledger = Faulty(SharedSqliteFile(tmp_path / "limits.sqlite"))
    watcher = SqliteLedger.at(tmp_path / "limits.sqlite")
    caps = room_for(10, **(ALLOW if allow else {}))
    async with running_worker(tmp_path, provider, ledger, **caps) as worker:
        door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
        ledger.fails, ledger.after = ["admit"], after
        crowd = await rush([door], 3, text=PROMPT)
        assert crowd.statuses == {status: 3}
        assert len(provider.model_calls) == (3 if allow else 0)
        if not allow:
            assert crowd.codes == {"budget_store_unavailable": 3}
            assert {headers["retry-after"] for headers in crowd.headers} == {"2"}
            assert not any("x-should-retry" in headers for headers in crowd.headers)
        ledger.fails = []
        await asyncio.sleep(0.4)
        crowd = await rush([door], 1, text=PROMPT)
        assert crowd.statuses == {200: 1}
        assert await settled(watcher) == COST * (4 if allow else 1)
        assert list((worker.home.path / "unbooked").glob("*")) == [] or allow
    watcher.close()
    assert list((tmp_path / "home" / "unbooked").glob("*")) == []


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-and-not-told"])
async def test_no_call_can_be_settled(
    provider: ScriptedProvider, tmp_path: Path, after: bool
) -> None:
    provider.clear()
    ledger = Faulty(SharedSqliteFile(tmp_path / "limits.sqlite"))
    watcher = SqliteLedger.at(tmp_path / "limits.sqlite")
    async with running_worker(tmp_path, provider, ledger, **room_for(10)) as worker:
        door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
        ledger.fails, ledger.after = ["settle"], after
        crowd = await rush([door], 2, text=PROMPT)
        assert crowd.statuses == {200: 2}
        async with asyncio.timeout(5):
            await worker.journal.traces(2)
        await asyncio.sleep(0.1)
        assert worker.counters.get("ledger_unavailable") >= 1
        ledger.fails = []
        assert await settled(watcher) == 2 * COST
    assert totals(watcher) == (2 * COST, 0)
    watcher.close()


async def test_a_locked_file_is_waited_for_and_then_given_up(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    ledger = SqliteLedger.at(tmp_path / "limits.sqlite", timeout=0.2)
    locker = SqliteLedger.at(tmp_path / "limits.sqlite")
    async with running_worker(tmp_path, provider, ledger, **room_for(10)) as worker:
        door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
        with locker._file.writing():  # as another worker would
            crowd = await rush([door], 2, text=PROMPT)
        assert crowd.statuses == {503: 2}
        await asyncio.sleep(0.4)
        assert (await rush([door], 1, text=PROMPT)).statuses == {200: 1}
        assert await settled(locker) == COST
    locker.close()


@pytest.mark.parametrize(("allow", "status"), [(False, 503), (True, 200)], ids=["deny", "allow"])
async def test_a_gateway_serves_although_its_ledger_cannot_be_opened(
    provider: ScriptedProvider, tmp_path: Path, allow: bool, status: int
) -> None:
    provider.clear()
    path = tmp_path / "home" / "limits.sqlite"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"no database at all, whatever it is" * 300)
    settings = room_for(10, **(ALLOW if allow else {}))
    with GatewayProcess(tmp_path, provider, ["api.openai.com"], settings=settings) as gateway:
        way = gateway.way()
        trusting = ssl.create_default_context(cadata=way.ca_pem)
        door = Door(proxy_url=way.proxy_url, context=trusting)
        assert (await rush([door], 2, text=PROMPT)).statuses == {status: 2}
        path.unlink()
        await asyncio.sleep(0.4)  # the ledger is left alone for a moment after a failure
        assert (await rush([door], 1, text=PROMPT)).statuses == {200: 1}
    ledger = SqliteLedger.at(path)
    assert totals(ledger) == ((3 if allow else 1) * COST, 0), "what went unbooked is booked"
    ledger.close()


@contextlib.contextmanager
def nothing_can_be_written(gateway: GatewayProcess) -> Iterator[None]:
    """As on a full disk, for all processes of a gateway (``RLIMIT_FSIZE``, setrlimit(2))."""
    processes = [gateway.pid, *children_of(gateway.pid)]
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in processes]
    for pid, (_, hard) in zip(processes, before, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    yield
    for pid, limits in zip(processes, before, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@pytest.mark.slow
@pytest.mark.parametrize("allow", [False, True], ids=["deny", "allow"])
async def test_a_full_disk_lets_nothing_pass_that_could_not_be_booked(
    provider: ScriptedProvider, tmp_path: Path, allow: bool
) -> None:
    provider.clear()
    settings = room_for(10, **(ALLOW if allow else {}))
    path = tmp_path / "home" / "limits.sqlite"
    with GatewayProcess(tmp_path, provider, ["api.openai.com"], settings=settings) as gateway:
        way = gateway.way()
        trusting = ssl.create_default_context(cadata=way.ca_pem)
        door = Door(proxy_url=way.proxy_url, context=trusting)
        assert (await rush([door], 1, text=PROMPT)).statuses == {200: 1}
        with nothing_can_be_written(gateway):
            crowd = await rush([door], 3, text=PROMPT)
        assert crowd.statuses == {503: 3}
        assert set(crowd.codes) <= {"budget_store_unavailable", "audit_unavailable"}
        assert len(provider.model_calls) == 1
        async with asyncio.timeout(10):
            while (await rush([door], 1, text=PROMPT)).statuses != {200: 1}:
                continue
        ledger = SqliteLedger.at(path)
        assert await settled(ledger) == 2 * COST
        ledger.close()


@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
def test_a_gateway_does_not_start_with_a_redis_that_may_forget(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    with RedisServer({"maxmemory-policy": "allkeys-lru"}) as server:
        kept = {"database_path": str(tmp_path / "home" / "llmtrace.db"), "redis_url": server.url}
        settings = {"storage": kept, **room_for(10)}
        gateway = GatewayProcess(tmp_path, provider, ["api.openai.com"], settings=settings)
        with pytest.raises(RuntimeError) as caught:
            gateway.start()
    said = str(caught.value)
    assert "expected 'noeviction', or it may forget what was spent; set it in redis.conf" in said
    assert "worker-0 cannot be used as configured; it says why above" in said
    assert "Traceback" not in said


def test_a_reaper_that_fails_is_tried_again(tmp_path: Path) -> None:
    ledger = Faulty(SharedSqliteFile(tmp_path / "limits.sqlite"))
    ledger.fails = ["open"]
    recovery = Recovery(ledger, is_gone=lambda _owner: True)
    assert recovery.run(MemoryTraceRepository()) == 0
    assert recovery.status.failures == 1
    ledger.fails = []
    assert recovery.run(MemoryTraceRepository()) == 0
    assert recovery.status.failures == 1
    ledger.close()
