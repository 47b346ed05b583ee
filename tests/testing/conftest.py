"""One provider for the tests of each module of the kit, and a client that trusts it."""

import ssl
from collections.abc import Iterator

import httpx2
import pytest

from llmtrace.testing.provider import ScriptedProvider


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as provider:
        yield provider


@pytest.fixture
def provider(running: ScriptedProvider) -> ScriptedProvider:
    running.clear()
    return running


@pytest.fixture(scope="module")
def trust(running: ScriptedProvider) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=running.ca_pem.decode())


@pytest.fixture
def http1(provider: ScriptedProvider, trust: ssl.SSLContext) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=provider.url, verify=trust, trust_env=False) as client:
        yield client


@pytest.fixture
def http2(provider: ScriptedProvider, trust: ssl.SSLContext) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=provider.url, verify=trust, trust_env=False, http2=True, http1=False
    ) as client:
        yield client
