"""The ways from a client to the scripted provider: without a gateway, and through a real one.

Both are reached by the same block of environment variables, so that a client differs in nothing
but the proxy's address and the CA.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]  # no stubs exist

from llmtrace.testing.background import LOOPBACK
from llmtrace.testing.planted import HOUSE
from llmtrace.testing.processes import GatewayProcess, Way
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.relay import Relay

HOSTS = (
    "aiplatform.googleapis.com",
    "api.anthropic.com",
    "api.groq.com",
    "api.mistral.ai",
    "api.openai.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "chatgpt.com",
    "example.openai.azure.com",
    "generativelanguage.googleapis.com",
    "ollama.com",
)


@pytest.fixture(scope="session")
def clients() -> Path:
    """Where ``scripts/realclients`` has put the clients."""
    folder = Path(__file__).parents[2] / ".realclients"
    if not (folder / "npm.installed").exists():
        pytest.fail("the clients are missing; run 'scripts/realclients install --agents' first")
    return folder


@pytest.fixture(scope="session")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture(scope="session")
def direct(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A proxy that reads nothing: what a client does behind it, it does without a gateway."""
    with Relay(provider) as relay:
        yield Way(
            proxy_url=f"http://{LOOPBACK}:{relay.port}",
            ca_pem=provider.ca_pem.decode(),
            folder=tmp_path_factory.mktemp("direct"),
        )


@pytest.fixture(scope="session")
def gateway(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), provider, HOSTS) as running:
        yield running


@pytest.fixture(scope="session")
def behind(gateway: GatewayProcess) -> Way:
    """The gateway, as clients know it."""
    return gateway.way()


@pytest.fixture(scope="module")
def enforcing(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that does what its policy says; 127.0.0.1 is where its Ollama is."""
    hosts = (*HOSTS, LOOPBACK)
    folder = tmp_path_factory.mktemp("enforcing")
    with GatewayProcess(folder, provider, hosts, settings=HOUSE) as running:
        yield running


@pytest.fixture(scope="session")
def spoken() -> Callable[[httpx2.Response], str]:
    """Return what reads all strings of an answer's events, the pieces of each place joined."""
    return _spoken


def _spoken(answer: httpx2.Response) -> str:
    """Return all strings of an answer's events, the pieces of each place joined."""
    joined: dict[str, str] = {}
    for document in _documents(answer):
        for path, text in _strings(document, ""):
            joined[path] = joined.get(path, "") + text
    return "\n".join(joined.values())


def _documents(answer: httpx2.Response) -> Iterator[Any]:
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == "text/event-stream":
        for line in answer.text.splitlines():
            if line.startswith("data:") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data:"))
    elif kind == "application/x-ndjson":
        yield from map(json.loads, answer.text.splitlines())
    elif kind == "application/vnd.amazon.eventstream":
        buffer = EventStreamBuffer()
        buffer.add_data(answer.content)
        yield from (json.loads(message.payload) for message in buffer if message.payload)
    else:
        yield json.loads(answer.text)


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, f"{path}[]")
