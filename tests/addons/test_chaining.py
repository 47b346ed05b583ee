"""A gateway behind another proxy: forward calls and base-URL calls both go through it."""

from pathlib import Path

import httpx2
import pytest

from llmtrace.testing.inprocess import running_worker
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.relay import Relay

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("way", ["forward", "base-url"])
async def test_calls_go_through_the_users_own_proxy(tmp_path: Path, way: str) -> None:
    with ScriptedProvider() as provider, Relay(provider) as relay:
        port = relay.url.rpartition(":")[2]
        proxy = f"http://user:secret@127.0.0.1:{port}"
        async with running_worker(tmp_path, provider, upstreams={}, upstream_proxy=proxy) as worker:
            behind = worker.proxy_url if way == "forward" else None
            base = "https://api.openai.com" if behind else f"{worker.base_url}/openai"
            async with httpx2.AsyncClient(
                proxy=behind, verify=worker.client_context(), trust_env=False, timeout=10
            ) as http:
                for _ in range(7):  # more than mitmproxy keeps connections for
                    answer = await http.post(f"{base}/v1/chat/completions", json=CHAT)
                    assert answer.status_code == 200, answer.text
            assert len(worker.journal.ended) == 7
        assert {tunnel.target for tunnel in relay.tunnels} == {"api.openai.com:443"}
        assert {tunnel.userinfo for tunnel in relay.tunnels} == {"user:secret"}
