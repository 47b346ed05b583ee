from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError, ResponseError

from llmtrace.testing import redis
from llmtrace.testing.redis import RedisServer, shared_server

pytestmark = pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as running:
        yield running


def test_what_was_kept_is_found_after_it_was_killed(server: RedisServer) -> None:
    with server.client() as client:
        client.set("key", "value")
        before = server.pid
        server.kill()
        assert server.pid == 0
        with pytest.raises(ConnectionError):
            client.get("key")
        server.start()
        assert server.pid != before
        assert client.get("key") == "value"


def test_nothing_is_left_behind() -> None:
    server = RedisServer()
    server.start()
    server.stop()
    assert not server.folder.exists()
    assert server.pid == 0


def test_a_server_that_cannot_start_says_why() -> None:
    server = RedisServer({"maxmemory-policy": "nonsense"})
    with pytest.raises(RuntimeError, match="maxmemory-policy"):
        server.start()
    server.stop()


def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    server = RedisServer()
    assert not redis.installed()
    with pytest.raises(RuntimeError, match="apt-get install redis-server"):
        server.start()
    server.stop()


def test_a_cluster_of_one_refuses_what_crosses_slots() -> None:
    server = shared_server(cluster=True)
    assert shared_server(cluster=True) is server
    with server.client() as client:
        client.mset({"{a}1": "1", "{a}2": "2"})
        with pytest.raises(ResponseError, match="slot"):
            client.mset({"{a}1": "1", "{b}2": "2"})
