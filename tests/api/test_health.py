import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import pytest

from llmtrace.api.health import HealthServer, JsonHandler, Route


class Gateway:
    def __init__(self) -> None:
        self.status = 200

    def health(self) -> tuple[int, Mapping[str, object]]:
        return self.status, {"status": "ok" if self.status == 200 else "unavailable"}


@pytest.fixture
def state() -> Gateway:
    return Gateway()


@pytest.fixture
async def server(state: Gateway) -> AsyncIterator[HealthServer]:
    started = HealthServer(health=state.health, host="127.0.0.1", port=0)
    yield started
    await started.stop()


async def ask(port: int, line: bytes = b"GET /health HTTP/1.1") -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("status", [200, 503])
async def test_answers_what_the_gateway_says(
    server: HealthServer, state: Gateway, status: int
) -> None:
    state.status = status
    head, body = await ask(server.port)
    assert int(head.split()[1]) == status
    assert json.loads(body) == dict(state.health()[1])
    assert b"cache-control: no-store" in head.lower()
    assert b"server:" not in head.lower()


async def test_head_is_answered_without_a_body(server: HealthServer) -> None:
    head, body = await ask(server.port, b"HEAD /health HTTP/1.1")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b""


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param(b"GET / HTTP/1.1", 404, id="other-path"),
        pytest.param(b"POST /health HTTP/1.1", 405, id="other-method"),
    ],
)
async def test_anything_else_is_refused(server: HealthServer, line: bytes, status: int) -> None:
    head, _ = await ask(server.port, line)
    assert int(head.split()[1]) == status


async def test_a_further_route_is_one_line(state: Gateway) -> None:
    class Hello(JsonHandler):
        def initialize(self, name: str) -> None:
            self._name = name

        def get(self) -> None:
            self.say(200, {"hello": self._name})

    server = HealthServer(
        health=state.health,
        host="127.0.0.1",
        port=0,
        routes=[Route(r"/hello", Hello, {"name": "you"})],
    )
    head, body = await ask(server.port, b"GET /hello HTTP/1.1")
    await server.stop()
    assert json.loads(body) == {"hello": "you"}
    assert b"cache-control: no-store" in head.lower()


async def test_address_in_use_is_told(server: HealthServer, state: Gateway) -> None:
    with pytest.raises(OSError, match=r"cannot listen on .*api\.listen"):
        HealthServer(health=state.health, host="127.0.0.1", port=server.port)
