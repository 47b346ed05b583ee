import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.redis_cache import RedisCache
from llmtrace.testing import redis
from llmtrace.testing.background import LOOPBACK, free_port
from llmtrace.testing.redis import RedisServer, shared_server

needs_redis = pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)


@pytest.fixture
def server() -> RedisServer:
    return shared_server()


@pytest.fixture
def cache(server: RedisServer, tmp_path: Path) -> Iterator[RedisCache]:
    opened = RedisCache(server.url, prefix=f"{tmp_path}:", timeout=5.0, max_value=100)
    yield opened
    opened.close()


@needs_redis
def test_a_value_goes_when_its_time_is_over(
    cache: RedisCache, server: RedisServer, tmp_path: Path
) -> None:
    cache.set("a", b"1", ttl_seconds=90)
    client = server.client()
    left = client.pttl(f"{tmp_path}:a")
    client.close()
    assert isinstance(left, int)
    assert 60_000 < left <= 90_000


@needs_redis
def test_what_is_too_large_is_neither_kept_nor_read(
    cache: RedisCache, server: RedisServer, tmp_path: Path
) -> None:
    cache.set("a", b"x" * 100, ttl_seconds=60)
    assert cache.get("a") == b"x" * 100
    cache.set("a", b"x" * 101, ttl_seconds=60)
    assert cache.get("a") is None
    client = server.client()
    client.set(f"{tmp_path}:b", "x" * 10_000_000)
    client.rpush(f"{tmp_path}:c", "no text")
    client.close()
    assert cache.get("b") is None
    with pytest.raises(StorageUnavailable, match=r"\(ResponseError\)"):
        cache.get("c")


def test_a_server_that_is_down_is_named_without_its_password() -> None:
    cache = RedisCache(f"redis://:hunter2@{LOOPBACK}:{free_port()}/3")
    with pytest.raises(StorageUnavailable, match="cannot be reached") as told:
        cache.get("a")
    assert "hunter2" not in str(told.value)
    assert "database 3" in str(told.value)
    assert not cache.healthy()
    cache.close()


def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        cache = RedisCache(f"redis://{LOOPBACK}:{silent.getsockname()[1]}", timeout=0.05)
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match="takes too long"):
            cache.set("a", b"1", ttl_seconds=60)
        assert time.monotonic() - began < 5
        cache.close()


def test_what_is_no_url_is_said() -> None:
    with pytest.raises(ValueError, match="no URL of a Redis"):
        RedisCache("http://localhost")
