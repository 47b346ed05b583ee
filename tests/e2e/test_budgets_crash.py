"""``kill -9`` of everything, between every two steps of a call: what was set aside is settled."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.limits.charging import CHARGED
from llmtrace.storage.base import TraceQuery
from llmtrace.storage.registry import build, close
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.testing.budgets import (
    NANO_PER_TOKEN,
    RESERVED,
    URL,
    Door,
    body,
    reserving,
    room_for,
    settled,
    totals,
)
from llmtrace.testing.processes import GatewayProcess, kill_everything
from llmtrace.testing.provider import ScriptedProvider

HOSTS = ("api.openai.com", "api.groq.com")
SILENT_URL = "https://api.groq.com/openai/v1/chat/completions"
SECONDS = 60


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return where a connection is taken, and nothing is ever said on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"https://127.0.0.1:{server.getsockname()[1]}"


def traces_of(home: Path) -> list[Any]:
    storage = build("lite", database_path=home / "llmtrace.db", read_only=True)
    try:
        return list(storage.traces.query(TraceQuery(limit=100)))
    finally:
        close(storage)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "spent"),
    [
        pytest.param("strict", 3 * RESERVED + 40 * NANO_PER_TOKEN, id="strict"),
        pytest.param("estimate", 40 * NANO_PER_TOKEN, id="estimate"),
    ],
)
async def test_what_a_killed_gateway_left_open_is_settled_after_the_restart(
    provider: ScriptedProvider, nobody: str, tmp_path: Path, mode: str, spent: int
) -> None:
    upstreams = {"api.openai.com": provider.url, "api.groq.com": nobody}
    settings = {"upstreams": upstreams, "egress": "tunnel", **room_for(100, mode=mode)}
    with GatewayProcess(tmp_path, provider, HOSTS, settings=settings) as gateway:
        way = gateway.way()
        door = Door(proxy_url=way.proxy_url, context=ssl.create_default_context(cadata=way.ca_pem))
        path = gateway.home / "limits.sqlite"
        async with door.client(seconds=SECONDS) as http:

            async def ask(text: str, url: str = URL, *, stream: bool = False) -> httpx2.Response:
                return await http.post(url, json=body(text, stream=stream))

            under_way = [
                asyncio.create_task(ask("reserved and not sent yet", SILENT_URL)),
                asyncio.create_task(ask("@script: misbehave=silent")),
                asyncio.create_task(ask("@script: hold=1", stream=True)),
            ]
            ledger = SqliteLedger.at(path)
            await reserving(ledger, 3 * RESERVED)
            await asyncio.sleep(0.5)
            whole = asyncio.create_task(ask("@script: output_tokens=40 delay_ms=100", stream=True))
            await reserving(ledger, 4 * RESERVED)
            with contextlib.closing(SharedSqliteFile(path)) as file, file.writing():
                # nobody settles meanwhile
                assert (await whole).status_code == 200
                kill_everything(gateway)
            await asyncio.gather(*under_way, return_exceptions=True)
        assert totals(ledger) == (0, 4 * RESERVED)
        gateway.start()
        assert await settled(ledger, seconds=60) == spent
        again = await asyncio.to_thread(traces_of, gateway.home)
        charged = sum(
            int(trace.attributes.get(CHARGED, trace.cost_nano_usd or 0)) for trace in again
        )
        ledger.close()
    assert len(again) == 4
    assert charged == spent
