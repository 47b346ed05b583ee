"""A bare data plane and a raw provider on loopback, stopped after each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from llmtrace.certs.authority import CertificateAuthority
from llmtrace.testing.dataplane import (
    Gateway,
    Script,
    Setup,
    Upstream,
    answer_ok,
    start_gateway,
)
from llmtrace.testing.tls import ThrowawayCa


class StartGateway(Protocol):
    async def __call__(self, **setup: Any) -> Gateway: ...


class StartUpstream(Protocol):
    async def __call__(self, script: Script = ..., *, tls: bool = False) -> Upstream: ...


@pytest.fixture(scope="session")
def provider_ca() -> ThrowawayCa:
    return ThrowawayCa()


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    directory = tmp_path_factory.mktemp("ca") / "ca"
    authority, _ = CertificateAuthority.ensure(directory, ["openai.com", "anthropic.com"])
    return authority


@pytest.fixture
async def upstream(provider_ca: ThrowawayCa) -> AsyncIterator[StartUpstream]:
    started: list[Upstream] = []

    async def start(script: Script = answer_ok, *, tls: bool = False) -> Upstream:
        server = Upstream(script)
        await server.start(provider_ca.server_context(alpn=["http/1.1"]) if tls else None)
        started.append(server)
        return server

    yield start
    for server in started:
        await server.stop()


@pytest.fixture
async def gateway(
    ca: CertificateAuthority, provider_ca: ThrowawayCa, tmp_path: Path
) -> AsyncIterator[StartGateway]:
    root, provider_root = tmp_path / "root.pem", tmp_path / "provider.pem"
    root.write_text(ca.export_pem())
    provider_root.write_bytes(provider_ca.pem)
    started: list[Gateway] = []

    async def start(**setup: Any) -> Gateway:
        files: dict[str, Any] = {
            "ca_dir": ca.directory,
            "ca_pem": root,
            "provider_ca": provider_root,
        }
        running = await start_gateway(Setup(**(files | setup)))
        started.append(running)
        return running

    yield start
    for running in started:
        await running.stop()
