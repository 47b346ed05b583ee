import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import wsproto.events as ws
from wsproto import ConnectionType, WSConnection
from wsproto.extensions import PerMessageDeflate

from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import DEFAULT_TEXT, Script


class Client:
    """A WebSocket client as small as these tests need."""

    def __init__(self, sock: socket.socket, target: str) -> None:
        self._sock = sock
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._text = ""
        request = ws.Request(host="api", target=target, extensions=[PerMessageDeflate()])
        sock.sendall(self._ws.send(request))
        self.opened = self._next()

    def _next(self) -> ws.Event | None:
        while True:
            for event in self._ws.events():
                return event
            data = self._sock.recv(65536)
            if not data:
                return None
            self._ws.receive_data(data)

    def send(self, value: object) -> None:
        self._sock.sendall(self._ws.send(ws.TextMessage(data=json.dumps(value))))

    def close(self) -> ws.Event | None:
        self._sock.sendall(self._ws.send(ws.CloseConnection(code=1000)))
        return self._next()

    def receive(self) -> dict[str, Any]:
        while True:
            event = self._next()
            assert isinstance(event, ws.TextMessage)
            self._text += event.data
            if event.message_finished:
                text, self._text = self._text, ""
                value: dict[str, Any] = json.loads(text)
                return value

    def until(self, kind: str) -> list[dict[str, Any]]:
        found = [self.receive()]
        while found[-1]["type"] != kind:
            found.append(self.receive())
        return found


@contextmanager
def connect(
    provider: ScriptedProvider, trust: ssl.SSLContext, target: str = "/v1/responses"
) -> Iterator[Client]:
    with (
        socket.create_connection(("127.0.0.1", provider.port), timeout=5) as raw,
        trust.wrap_socket(raw, server_hostname="api.openai.com") as sock,
    ):
        yield Client(sock, target)


TURN = {"type": "response.create", "model": "gpt-5", "input": "hi"}


def test_many_calls_go_over_one_connection(
    provider: ScriptedProvider, trust: ssl.SSLContext
) -> None:
    with connect(provider, trust) as client:
        assert isinstance(client.opened, ws.AcceptConnection)
        assert [type(item) for item in client.opened.extensions] == [PerMessageDeflate]
        client.send(TURN | {"generate": False, "input": []})
        prewarm = client.until("response.completed")[-1]["response"]
        client.send(TURN | {"previous_response_id": prewarm["id"]})
        turn = client.until("response.completed")[-1]["response"]
        client.close()
    assert prewarm["output"] == []
    assert turn["previous_response_id"] == prewarm["id"]
    assert turn["output"][0]["content"][0]["text"] == DEFAULT_TEXT
    assert [(call.method, call.scripted) for call in provider.calls] == [
        ("GET", False),
        ("WS", False),
        ("WS", True),
    ]
    provider.wait_for(lambda calls: {call.outcome for call in calls} == {"done"})


def test_a_refused_turn_leaves_the_connection_open(
    provider: ScriptedProvider, trust: ssl.SSLContext
) -> None:
    provider.enqueue(Script(status=429))
    with connect(provider, trust) as client:
        client.send(TURN)
        assert client.receive()["status"] == 429
        client.send(TURN)
        assert client.until("response.completed")
        client.close()


def test_an_unknown_path_is_refused(provider: ScriptedProvider, trust: ssl.SSLContext) -> None:
    with connect(provider, trust, "/v1/unknown") as client:
        assert isinstance(client.opened, ws.RejectConnection)
        assert client.opened.status_code == 404


def test_a_realtime_session_opens_by_itself(
    provider: ScriptedProvider, trust: ssl.SSLContext
) -> None:
    with connect(provider, trust, "/v1/realtime?model=gpt-realtime") as client:
        assert client.receive()["session"]["model"] == "gpt-realtime"
        client.send({"type": "response.create"})
        done = client.until("response.done")[-1]
        client.close()
    assert done["response"]["usage"]["total_tokens"] == 21


def test_a_fault_resets_in_mid_answer(provider: ScriptedProvider, trust: ssl.SSLContext) -> None:
    provider.enqueue(Script(misbehave="reset_mid_stream"))
    with connect(provider, trust) as client:
        client.send(TURN)
        assert client.receive()["type"] == "response.created"
        provider.wait_for(lambda calls: calls[-1].outcome == "misbehaved")
