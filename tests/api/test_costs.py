import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping

import pytest

from llmtrace.api import costs as module
from llmtrace.api.access import Access
from llmtrace.api.costs import PATH, costs_route
from llmtrace.api.health import HealthServer
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.keys import Key, KeyNotFound, Role, digest_of, new_token
from llmtrace.testing.records import NOON

KEY_ID, TOKEN = new_token()
SECRET = b"s" * 32


class Costs:
    """Says what it was asked; or fails, or waits."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def report(self, asked: Mapping[str, str]) -> Mapping[str, object]:
        self.asked.append(asked)
        assert self.go.wait(5)
        if self.error:
            raise self.error
        return {"asked": dict(asked)}


def lookup(key_id: str) -> Key:
    if key_id != KEY_ID:
        raise KeyNotFound(key_id)
    return Key(
        id=KEY_ID,
        tenant="acme",
        role=Role.VIEWER,
        created_at=NOON,
        digest=digest_of(TOKEN, SECRET),
    )


@pytest.fixture
def costs() -> Costs:
    return Costs()


@pytest.fixture
async def server(costs: Costs) -> AsyncIterator[HealthServer]:
    route = costs_route(costs.report, Access(lookup, secret=SECRET, required=False))
    started = HealthServer(health=lambda: (200, {}), host="127.0.0.1", port=0, routes=[route])
    yield started
    costs.go.set()
    await started.stop()


async def ask(
    server: HealthServer, query: str = "", *, method: str = "GET", **headers: str
) -> tuple[int, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = {"Host": "127.0.0.1", "Connection": "close"} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {PATH}{query} HTTP/1.1\r\n{head}\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    head_, _, body = answer.partition(b"\r\n\r\n")
    status = int(head_.split()[1])
    return status, json.loads(body) if body.startswith(b"{") else {}


async def test_what_is_asked_is_handed_on(server: HealthServer, costs: Costs) -> None:
    status, said = await ask(server, "?by=model&since=24h&agent=claude%20code")
    assert status == 200
    assert said == {"asked": {"by": "model", "since": "24h", "agent": "claude code"}}


@pytest.mark.parametrize(
    "query",
    ["?limit=5", "?by=a&by=b", "?agent=" + "x" * 600, "?agent=%ff", "?drop%20table=1"],
    ids=["unknown", "twice", "long", "no-text", "odd"],
)
async def test_what_cannot_be_asked_is_refused(
    server: HealthServer, costs: Costs, query: str
) -> None:
    status, said = await ask(server, query)
    assert status == 400
    assert isinstance(said["error"], dict)
    assert not costs.asked


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("by is 'x'"), 400), (StorageUnavailable("path is locked"), 503)],
    ids=["word", "store"],
)
async def test_what_fails_is_told(
    server: HealthServer, costs: Costs, error: Exception, status: int
) -> None:
    costs.error = error
    found, said = await ask(server)
    assert found == status
    assert "path is locked" not in json.dumps(said)


async def test_a_key_sees_its_own_tenant_alone(server: HealthServer, costs: Costs) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert (await ask(server, **bearer))[1] == {"asked": {"tenant": "acme"}}
    assert (await ask(server, "?tenant=acme", **bearer))[0] == 200
    assert (await ask(server, "?tenant=other", **bearer))[0] == 403


async def test_a_wrong_key_is_refused(server: HealthServer, costs: Costs) -> None:
    assert (await ask(server, Authorization="Bearer llmt_x"))[0] == 401
    assert not costs.asked


async def test_a_page_with_another_name_is_refused(server: HealthServer, costs: Costs) -> None:
    assert (await ask(server, Host="evil.test"))[0] == 403
    assert not costs.asked


async def test_it_is_only_read(server: HealthServer) -> None:
    assert (await ask(server, method="POST", **{"Content-Length": "0"}))[0] == 405


async def test_few_at_once_and_no_long_queue(
    server: HealthServer, costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    costs.go.clear()
    asked = [asyncio.create_task(ask(server)) for _ in range(module.MOST_AT_ONCE + 3)]
    for _ in range(500):
        if sum(task.done() for task in asked) == 2 and len(costs.asked) == module.MOST_AT_ONCE:
            break
        await asyncio.sleep(0.01)
    costs.go.set()
    statuses = sorted([(await task)[0] for task in asked])
    assert statuses == [200, 200, 200, 503, 503]
