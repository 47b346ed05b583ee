"""What passes unread ends with the key that let it in; what is kept open by another goes on."""

import asyncio
import base64
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wsproto.events as ws

from llmtrace.app.accounts import Accounts, accounts
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.pipeline.keyring import FRESH_SECONDS
from llmtrace.testing.dataplane import read_all
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket, connect
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.relay import Relay

OTHER = "code.example"
UNREAD_SOCKET = "/v1/assistants/live/responses"
type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Accounts]:
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    tmp_path.chmod(0o700)
    with accounts(settings) as opened:
        yield opened


async def tunnel(worker: Worker, host: str, token: str, trusts: ssl.SSLContext) -> Streams:
    _, (reader, writer) = await connect(worker.forward)
    login = base64.b64encode(f"bot:{token}".encode()).decode()
    lines = (
        f"CONNECT {host}:443 HTTP/1.1",
        f"Host: {host}:443",
        f"Proxy-Authorization: Basic {login}",
    )
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    trusts.check_hostname = False
    await writer.start_tls(trusts, server_hostname=host)
    return reader, writer


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether somebody answers at the other end of a tunnel still."""
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: code.example\r\n\r\n")
    try:
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return b" 200 " in head


async def test_a_tunnel_that_is_not_read_ends_with_its_key(
    provider: ScriptedProvider, tmp_path: Path, found: Accounts
) -> None:
    revoked, token = found.create_key()
    _, other_token = found.create_key()
    with Relay(provider) as relay:
        async with running_worker(
            tmp_path, provider, upstream_proxy=relay.url, upstreams={}, auth__enabled=True
        ) as worker:
            trusts = ssl.create_default_context(cadata=provider.ca.pem.decode())
            ends = await tunnel(worker, OTHER, token, trusts)
            stays = await tunnel(worker, OTHER, other_token, trusts)
            assert await answers(*ends)
            assert await answers(*stays)
            found.revoke_key(revoked.id)
            began = time.monotonic()
            async with asyncio.timeout(5):
                await read_all(ends[0])
            assert time.monotonic() - began < 2 * FRESH_SECONDS + 1
            assert await answers(*stays)
            assert worker.counters.get("evicted") == 1
            assert worker.journal.ended == []
            for _, writer in (ends, stays):
                writer.transport.abort()


async def test_a_websocket_that_is_not_read_ends_with_its_key(
    provider: ScriptedProvider, tmp_path: Path, found: Accounts
) -> None:
    key, token = found.create_key()
    async with running_worker(tmp_path, provider) as worker:
        reader, writer = await tunnel(worker, "api.openai.com", token, worker.client_context())
        socket = Socket(reader, writer)
        request = ws.Request(host="api.openai.com", target=UNREAD_SOCKET)
        socket.writer.write(socket.conn.send(request))
        await socket.accepted()
        assert worker.counters.get("unread_websockets") == 1
        found.revoke_key(key.id)
        async with asyncio.timeout(5):
            await read_all(reader)
        assert worker.counters.get("evicted") == 1
        writer.transport.abort()
