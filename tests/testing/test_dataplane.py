import asyncio
from pathlib import Path

import pytest

from llmtrace.certs.authority import CertificateAuthority
from llmtrace.testing.dataplane import (
    PROVIDER,
    H2Client,
    Setup,
    Upstream,
    read_answer,
    start_gateway,
)
from llmtrace.testing.tls import ThrowawayCa


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    authority, _ = CertificateAuthority.ensure(tmp_path / "ca", ["openai.com"])
    root, provider_root = tmp_path / "root.pem", tmp_path / "provider.pem"
    root.write_text(authority.export_pem())
    provider_root.write_bytes(ThrowawayCa().pem)
    return Setup(ca_dir=authority.directory, ca_pem=root, provider_ca=provider_root)


async def test_call_without_an_upstream_reaches_nobody(setup: Setup) -> None:
    gateway = await start_gateway(setup)
    client = H2Client(await gateway.tls("h2"))
    status, body = await client.answer(client.request())
    assert status == 502
    assert PROVIDER.encode() in body
    await gateway.stop()


async def test_upstream_notes_requests_and_that_its_client_left() -> None:
    async def echo(writer: asyncio.StreamWriter, _head: bytes, body: bytes) -> None:
        writer.write(body)

    upstream = Upstream(echo)
    await upstream.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
    assert await read_answer(reader) == answer
    assert upstream.requests[0][1] == answer
    writer.close()
    await asyncio.wait_for(upstream.closed.wait(), 5)
    await upstream.stop()
