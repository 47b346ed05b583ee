"""Real stores in real trouble: no call goes unpaid, none waits for long, and all is well after."""

import asyncio
import contextlib
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from redis.exceptions import RedisError

from llmtrace.storage.ledger import Ledger
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.testing import redis
from llmtrace.testing.budgets import COST, RESERVED, URL, Door, body, room_for, rush, totals
from llmtrace.testing.inprocess import running_worker
from llmtrace.testing.processes import GatewayProcess, kill_everything
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.redis import RedisServer
from llmtrace.testing.script import Script

PROMPT = "@script: output_tokens=100"
MOST_SECONDS = 3.5
"""Longest that a call waits for an answer: the patience of the desk, and a little."""
type Fault = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


async def through(
    provider: ScriptedProvider, folder: Path, ledger: Ledger, fault: Fault, *, allow: bool
) -> None:
    """One call is under way when the store fails, others are made meanwhile, and one after."""
    provider.clear()
    cap = {"on_store_unavailable": "allow" if allow else "deny"}
    async with running_worker(folder, provider, ledger, **room_for(10, cap=cap)) as worker:
        door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
        provider.enqueue(Script(hold=True, output_tokens=100))
        under_way = asyncio.create_task(_ask(door))
        await asyncio.to_thread(provider.wait_for, lambda calls: len(calls) == 1)
        with fault():
            began = time.monotonic()
            crowd = await rush([door], 3, text=PROMPT)
            assert time.monotonic() - began < MOST_SECONDS
            provider.release()
            assert (await under_way).status_code == 200
        assert crowd.statuses == {200 if allow else 503: 3}
        assert allow or crowd.codes == {"budget_store_unavailable": 3}
        async with asyncio.timeout(15):
            while (await rush([door], 1, text=PROMPT)).statuses != {200: 1}:
                continue
            await _until(ledger, (5 if allow else 2) * COST)
        assert len(provider.model_calls) == (5 if allow else 2)


async def _until(ledger: Ledger, spent: int) -> None:
    """Wait until so much is spent, and nothing is reserved."""
    while True:
        if totals(ledger) == (spent, 0):
            return
        await asyncio.sleep(0.02)


async def _ask(door: Door) -> httpx2.Response:
    async with door.client() as http:
        return await http.post(URL, json=body(stream=True))


# --- Redis ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _killed(server: RedisServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def _hanging(server: RedisServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    yield
    os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def _replica(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(server.port))
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def _full(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        yield
        client.config_set("maxmemory", "0")


@contextlib.contextmanager
def _locked_out(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        client.config_set("requirepass", "changed")
        client.client_kill_filter(_type="normal", skipme=True)
        yield
        client.config_set("requirepass", "")


@contextlib.contextmanager
def _loading(server: RedisServer) -> Iterator[None]:
    """Start it anew with a file that takes it long to read: it answers ``-LOADING`` meanwhile."""
    with server.client() as client:
        with client.pipeline(transaction=False) as pipeline:
            for number in range(2_000):
                pipeline.set(f"filling:{number}", "x" * 1_000)
            pipeline.execute()
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
    server.kill()
    server.begin({"key-load-delay": "20000", "loading-process-events-interval-bytes": "1024"})
    with server.client() as client:
        _wait_for(lambda: _answer_of(client.ping).startswith("Redis is loading"))
        yield
        client.config_set("key-load-delay", "0")
    server.wait()


@contextlib.contextmanager
def _busy(server: RedisServer) -> Iterator[None]:
    """Have somebody else's script run without end: it answers ``-BUSY``."""
    with server.client() as client, server.client() as other:
        client.config_set("busy-reply-threshold", "10")
        thread = threading.Thread(
            target=_answer_of, args=(lambda: other.eval("while true do end", 0),)
        )
        thread.start()
        _wait_for(lambda: _answer_of(client.ping).startswith("BUSY"))
        yield
        client.script_kill()
        thread.join()


@contextlib.contextmanager
def _cannot_save(server: RedisServer) -> Iterator[None]:
    """Let nothing be written where its snapshot is to be: it answers ``-MISCONF``."""
    (server.folder / "dump.rdb").mkdir()
    with server.client() as client:
        client.config_set("save", "3600 1000000")
        client.bgsave()
        _wait_for(lambda: _answer_of(lambda: client.set("a", "b")).startswith("MISCONF"))
        yield
        (server.folder / "dump.rdb").rmdir()
        client.bgsave()
        _wait_for(lambda: not _answer_of(lambda: client.set("a", "b")))


@contextlib.contextmanager
def _paused(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        client.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        yield
        client.execute_command("CLIENT", "UNPAUSE")


def _answer_of(command: Callable[[], object]) -> str:
    """Return what Redis says is wrong, empty if nothing is."""
    try:
        command()
    except RedisError as error:
        return str(error)
    return ""


def _wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


REDIS_FAULTS = {
    "loading": _loading,
    "busy": _busy,
    "cannot-save": _cannot_save,
    "paused": _paused,
    "killed": _killed,
    "hangs": _hanging,
    "read-only-replica": _replica,
    "out-of-memory": _full,
    "wrong-password": _locked_out,
}


@pytest.mark.slow
@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
@pytest.mark.parametrize("allow", [False, True], ids=["deny", "allow"])
@pytest.mark.parametrize("fault", REDIS_FAULTS.values(), ids=REDIS_FAULTS)
async def test_a_redis_in_trouble(
    provider: ScriptedProvider,
    tmp_path: Path,
    fault: Callable[[RedisServer], contextlib.AbstractContextManager[None]],
    allow: bool,
) -> None:
    with RedisServer({"appendfsync": "always"}) as server:
        ledger = RedisLedger.at(server.url)
        await through(provider, tmp_path, ledger, lambda: fault(server), allow=allow)


@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
async def test_a_redis_that_has_forgotten_the_scripts_is_told_them_again(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    with RedisServer() as server, server.client() as client:
        ledger = RedisLedger.at(server.url)
        async with running_worker(tmp_path, provider, ledger, **room_for(10)) as worker:
            door = Door(proxy_url=worker.proxy_url, context=worker.client_context())
            for _ in range(2):
                assert (await rush([door], 1, text=PROMPT)).statuses == {200: 1}
                client.script_flush()


# --- SQLite --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _set(ledger: SqliteLedger, during: str, after: str) -> Iterator[None]:
    file = ledger._file
    assert isinstance(file, SharedSqliteFile)
    with file._locked():
        file._connection().execute(during)
    yield
    with file._locked():
        file._connection().execute(after)


@contextlib.contextmanager
def _held_by_another(ledger: SqliteLedger) -> Iterator[None]:
    with contextlib.closing(SqliteLedger.at(ledger._file.path)) as other, other._file.writing():
        yield


SQLITE_FAULTS: dict[str, Callable[[SqliteLedger], contextlib.AbstractContextManager[None]]] = {
    "locked": _held_by_another,
    "read-only": lambda ledger: _set(ledger, "PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
}


@pytest.mark.slow
@pytest.mark.parametrize("allow", [False, True], ids=["deny", "allow"])
@pytest.mark.parametrize("fault", SQLITE_FAULTS.values(), ids=SQLITE_FAULTS)
async def test_a_file_in_trouble(
    provider: ScriptedProvider,
    tmp_path: Path,
    fault: Callable[[SqliteLedger], contextlib.AbstractContextManager[None]],
    allow: bool,
) -> None:
    ledger = SqliteLedger.at(tmp_path / "limits.sqlite")
    await through(provider, tmp_path, ledger, lambda: fault(ledger), allow=allow)


# --- and then everything is killed ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
async def test_calls_that_passed_without_a_store_are_booked_after_a_kill(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    """Two have ended and one has not, when Redis is away and the gateway is killed."""
    provider.clear()
    with RedisServer({"appendfsync": "always"}) as server:
        kept = {"database_path": str(tmp_path / "home" / "llmtrace.db"), "redis_url": server.url}
        settings = {"storage": kept, **room_for(10, cap={"on_store_unavailable": "allow"})}
        hosts = ("api.openai.com",)
        with GatewayProcess(tmp_path, provider, hosts, settings=settings) as gateway:
            way = gateway.way()
            trusts = ssl.create_default_context(cadata=way.ca_pem)
            door = Door(proxy_url=way.proxy_url, context=trusts)
            server.kill()
            assert (await rush([door], 2, text=PROMPT)).statuses == {200: 2}
            provider.enqueue(Script(hold=True, output_tokens=100))
            under_way = asyncio.create_task(_ask(door))
            await asyncio.to_thread(provider.wait_for, lambda calls: len(calls) == 3)
            await asyncio.sleep(0.5)
            kill_everything(gateway)
            await asyncio.gather(under_way, return_exceptions=True)
            notes = [path.read_bytes() for path in (gateway.home / "unbooked").iterdir()]
            assert b"".join(notes).count(b'"admitted"') == 3
            server.start()
            gateway.start()
            ledger = RedisLedger.at(server.url)
            async with asyncio.timeout(40):
                await _until(ledger, 2 * COST + RESERVED)  # strict: what was sent may be billed
            ledger.close()
            assert list((gateway.home / "unbooked").iterdir()) == []
