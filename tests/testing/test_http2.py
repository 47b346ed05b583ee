import httpx2
import pytest

from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

CHAT = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def test_a_long_answer_passes_the_flow_control(
    provider: ScriptedProvider, http2: httpx2.Client
) -> None:
    provider.enqueue(Script(size=1_000_000, chunks=2))
    answer = http2.post("/v1/chat/completions", json=CHAT)
    assert answer.http_version == "HTTP/2"
    assert len(answer.content) > 1_000_000
    assert provider.calls[-1].protocol == "h2"


def test_a_long_request_arrives_whole(provider: ScriptedProvider, http2: httpx2.Client) -> None:
    body = b"x" * 500_000
    http2.post("/v1/chat/completions", content=body)
    assert provider.calls[-1].body == body


def test_streams_share_a_connection(provider: ScriptedProvider, http2: httpx2.Client) -> None:
    provider.enqueue(Script(hold=True))
    with http2.stream("POST", "/v1/chat/completions", json=CHAT) as held:
        chunks = held.iter_raw()
        next(chunks)
        assert http2.post("/v1/chat/completions", json=CHAT).status_code == 200
        provider.release()
        assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
    assert len({call.connection for call in provider.calls}) == 1


def test_a_scripted_fault_resets_the_stream(
    provider: ScriptedProvider, http2: httpx2.Client
) -> None:
    provider.enqueue(Script(misbehave="cut_mid_stream"))
    with pytest.raises(httpx2.RemoteProtocolError):
        http2.post("/v1/chat/completions", json=CHAT)


def test_a_client_that_leaves_is_noticed(provider: ScriptedProvider, http2: httpx2.Client) -> None:
    provider.enqueue(Script(hold=True))
    with http2.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
        next(answer.iter_raw())
        http2.close()
    provider.wait_for(lambda calls: calls[-1].outcome == "client_left")
