import socket

import httpx2
import pytest

from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import DEFAULT_TEXT, Script

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def test_a_connection_serves_many_requests(
    provider: ScriptedProvider, http1: httpx2.Client
) -> None:
    for _ in range(3):
        answer = http1.post("/v1/chat/completions", json=CHAT)
        assert answer.json()["choices"][0]["message"]["content"] == DEFAULT_TEXT
    assert len({call.connection for call in provider.calls}) == 1
    assert {call.protocol for call in provider.calls} == {"http/1.1"}


def test_who_asks_for_the_head_alone_gets_it(
    provider: ScriptedProvider, http1: httpx2.Client
) -> None:
    for _ in range(2):
        answer = http1.head("/api/hello")
        assert (answer.status_code, answer.content) == (404, b"")
    assert len({call.connection for call in provider.calls}) == 1


def test_what_was_received_is_kept_as_it_came(provider: ScriptedProvider) -> None:
    raw = (
        b"POST /a/v1/chat/completions?x=%20 HTTP/1.1\r\nHOST: any.example\r\nX-Odd:  1\r\n"
        b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", provider.plain_port), timeout=5) as client:
        client.sendall(raw)
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"2\r\n{}\r\n0\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    [call] = provider.calls
    assert call.target == "/a/v1/chat/completions?x=%20"
    assert call.headers[:2] == (("HOST", "any.example"), ("X-Odd", "1"))
    assert call.body == b"{}"


def test_what_is_no_request_is_refused(provider: ScriptedProvider) -> None:
    with socket.create_connection(("127.0.0.1", provider.plain_port), timeout=5) as client:
        client.sendall(b"this is no request\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "mode", ["reset_before_headers", "reset_mid_stream", "garbage", "length_too_long"]
)
def test_a_scripted_fault_reaches_the_client(
    provider: ScriptedProvider, http1: httpx2.Client, mode: str
) -> None:
    provider.enqueue(Script(misbehave=mode))
    with pytest.raises(httpx2.TransportError):
        http1.post("/v1/chat/completions", json=CHAT)
    assert provider.calls[-1].outcome == "misbehaved"


def test_a_client_that_leaves_is_noticed(provider: ScriptedProvider, http1: httpx2.Client) -> None:
    provider.enqueue(Script(hold=True))
    with http1.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        next(answer.iter_raw())
    provider.wait_for(lambda calls: calls[-1].outcome == "client_left")
