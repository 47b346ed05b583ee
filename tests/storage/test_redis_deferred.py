"""What many hosts know of answers to come: each is taken once, and Redis may be away."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from llmtrace.storage.deferred import KEEP_SECONDS, MemoryDeferred, Owed
from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.redis_deferred import RedisDeferred
from llmtrace.storage.redis_ledger_rows import Keys
from llmtrace.storage.redis_link import Argument, RedisLink
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


type Fate = Literal["runs", "is-lost", "runs-unheard"]


class BadLink(RedisLink):
    """Each script that is sent meets the next of the fates; all others run."""

    def __init__(self) -> None:
        super().__init__(redis.shared_server().url, timeout=1.0)
        self.fates: list[Fate] = []

    def run(
        self, script: str, keys: Sequence[str], *args: Argument, slow: bool = False
    ) -> tuple[int, list[Any]]:
        fate = self.fates.pop(0) if self.fates else "runs"
        answer = None if fate == "is-lost" else super().run(script, keys, *args, slow=slow)
        if answer is None or fate == "runs-unheard":
            raise LedgerUnavailable("it takes too long to answer")
        return answer


@pytest.mark.parametrize("take", ["runs", "is-lost", "runs-unheard"])
@pytest.mark.parametrize("begin", ["runs", "is-lost", "runs-unheard"])
def test_whatever_becomes_of_questions_nothing_is_told_twice(
    begin: Fate, take: Fate, tmp_path: Path
) -> None:
    """One that was taken unheard is told by nobody, unless this host had noted it too."""
    link = BadLink()
    here = RedisDeferred(link, MemoryDeferred(), prefix=str(tmp_path))
    link.fates = [begin, take]
    here.begin("resp_1", OWED)
    found = [here.take("resp_1") for _ in range(3)]
    found += [on_a_host(tmp_path).take("resp_1")]
    assert found.count(OWED) == (0 if (begin, take) == ("runs", "runs-unheard") else 1)
    assert found.count(None) == 4 - found.count(OWED)


def test_what_another_host_was_told_is_not_told_again_by_the_note_of_this_one(
    tmp_path: Path,
) -> None:
    link = BadLink()
    here = RedisDeferred(link, MemoryDeferred(), prefix=str(tmp_path))
    link.fates = ["runs-unheard"]
    here.begin("resp_1", OWED)
    assert [on_a_host(tmp_path).take("resp_1"), here.take("resp_1")] == [OWED, None]


def test_what_begins_late_in_redis_was_taken_before(tmp_path: Path) -> None:
    link = BadLink()
    here, there = RedisDeferred(link, MemoryDeferred(), prefix=str(tmp_path)), on_a_host(tmp_path)
    link.fates = ["is-lost"]
    here.begin("resp_1", OWED)
    assert here.take("resp_1") == OWED
    there.begin("resp_1", OWED)
    assert link.ask(lambda client: client.exists(*Keys(str(tmp_path)).deferred[:2])) == 0
    assert [there.take("resp_1"), here.take("resp_1")] == [None, None]


def test_what_was_told_while_it_was_away_is_not_told_for_beginning_again(tmp_path: Path) -> None:
    link = BadLink()
    here = RedisDeferred(link, MemoryDeferred(), prefix=str(tmp_path))
    link.fates = ["is-lost"] * 4
    found = []
    for _ in range(2):
        here.begin("resp_1", OWED)
        found.append(here.take("resp_1"))
    assert [*found, here.take("resp_1")] == [OWED, None, None]


def test_what_was_taken_is_remembered_within_bounds(tmp_path: Path) -> None:
    clock = SetClock()
    link = RedisLink(redis.shared_server().url, timeout=1.0, clock=clock)
    host = RedisDeferred(link, MemoryDeferred(), prefix=str(tmp_path), size=2)
    taken = Keys(str(tmp_path)).deferred[-1]

    def take(name: str) -> int:
        host.begin(name, OWED)
        assert host.take(name) == OWED
        assert host.take("nobody-began-it") is None
        return int(link.ask(lambda client: client.zcard(taken)))

    assert [take(f"resp_{number}") for number in range(4)] == [1, 2, 2, 2]
    clock.step(KEEP_SECONDS + 1)
    assert take("resp_5") == 1
