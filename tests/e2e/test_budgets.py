"""A hundred calls at once, and room for ten: the provider is asked ten times, whoever counts."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.testing.budgets import Door, room_for, rush
from llmtrace.testing.processes import GatewayProcess
from llmtrace.testing.provider import ScriptedProvider

PROMPT = "@script: output_tokens=100 input_tokens=9"
"""As much as is set aside: what a call gives back makes room for no other."""
HOSTS = ("api.openai.com",)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("workers", [1, 4], ids=["one-worker", "four-workers"])
async def test_of_a_hundred_calls_at_once_those_go_that_there_is_room_for(
    provider: ScriptedProvider, tmp_path: Path, workers: int, http2: bool
) -> None:
    provider.clear()
    settings = {"workers": workers, **room_for(10)}
    with GatewayProcess(tmp_path, provider, HOSTS, settings=settings) as gateway:
        way = gateway.way()
        door = Door(proxy_url=way.proxy_url, context=ssl.create_default_context(cadata=way.ca_pem))
        crowd = await rush([door], 100, http2=http2, text=PROMPT)
        later = await rush([door], 1, text=PROMPT)
    assert crowd.statuses == {200: 10, 429: 90}
    assert crowd.codes == {"cost_cap_exceeded": 90}
    assert later.statuses == {429: 1}
    assert len(provider.model_calls) == 10
