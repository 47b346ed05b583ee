import ssl

import httpx2

from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.relay import Relay, Tunnel


def test_every_host_ends_at_the_provider(provider: ScriptedProvider, trust: ssl.SSLContext) -> None:
    with (
        Relay(provider) as relay,
        httpx2.Client(proxy=relay.url, verify=trust, trust_env=False) as client,
    ):
        assert client.get("https://api.openai.com/v1/models").status_code == 200
        assert client.get("http://ollama.internal:11434/api/version").status_code == 200
    assert [call.sni for call in provider.calls] == ["api.openai.com", ""]
    assert relay.tunnels == [
        Tunnel(method="CONNECT", target="api.openai.com:443", userinfo="run:token"),
        Tunnel(
            method="GET", target="http://ollama.internal:11434/api/version", userinfo="run:token"
        ),
    ]
