"""What many hosts know of answers to come: each is taken once, and Redis may be away."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmtrace.storage.deferred import KEEP_SECONDS, MemoryDeferred, Owed
from llmtrace.storage.redis_deferred import RedisDeferred
from llmtrace.storage.redis_link import RedisLink
from llmtrace.testing import redis
from llmtrace.testing.ledgers import SetClock
from llmtrace.testing.redis import RedisServer

pytestmark = pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
OWED = Owed(id="01", tenant="acme")


def on_a_host(folder: Path, clock: SetClock | None = None, url: str = "") -> RedisDeferred:
    link = RedisLink(url or redis.shared_server().url, timeout=1.0, clock=clock)
    return RedisDeferred(link, MemoryDeferred(), prefix=str(folder))


def test_of_many_hosts_one_is_told(tmp_path: Path) -> None:
    hosts = [on_a_host(tmp_path) for _ in range(4)]
    for number in range(20):
        name = f"openai:resp_{number}"
        hosts[0].begin(name, OWED)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda host, name=name: host.take(name), hosts))
        assert sorted(found, key=str) == [None, None, None, OWED]


def test_what_nobody_fetched_is_forgotten(tmp_path: Path) -> None:
    clock = SetClock()
    host = on_a_host(tmp_path, clock)
    host.begin("resp_1", OWED)
    clock.step(KEEP_SECONDS + 1)
    host.begin("resp_2", OWED)
    assert [host.take(name) for name in ("resp_1", "resp_2")] == [None, OWED]


def test_while_it_is_away_the_host_alone_knows_and_nothing_is_told_twice(tmp_path: Path) -> None:
    with RedisServer({"appendfsync": "always"}) as server:
        here, there = (on_a_host(tmp_path, url=server.url) for _ in range(2))
        here.begin("resp_1", OWED)
        server.kill()
        here.begin("resp_2", OWED)
        assert [there.take(name) for name in ("resp_1", "resp_2")] == [None, None]
        assert here.take("resp_2") == OWED
        server.start()
        assert [there.take("resp_1"), here.take("resp_1")] == [OWED, None]
