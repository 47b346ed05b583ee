import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.redis_link import RedisLink, Unsuitable, remedy_of
from llmtrace.testing import redis
from llmtrace.testing.background import free_port
from llmtrace.testing.ledgers import SetClock
from llmtrace.testing.redis import RedisServer

pytestmark = pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)

WRITES = "redis.call('SET', KEYS[1], ARGV[3]) return {'0', redis.call('GET', KEYS[1])}"
TELLS = "local time = redis.call('TIME') return {time[1] .. '000000', ARGV[1], ARGV[2]}"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer({"appendonly": "yes"}) as running:
        yield running


@pytest.fixture
def link(server: RedisServer) -> Iterator[RedisLink]:
    opened = RedisLink(server.url)
    yield opened
    opened.close()


def write(link: RedisLink) -> object:
    (one,) = link.run_all([(WRITES, ["key"], ["value"])])
    assert link.run(WRITES, ["key"], "value")[1] == one[1]
    return one[1]


def test_a_script_runs_whether_it_is_known_or_not(link: RedisLink, server: RedisServer) -> None:
    assert write(link) == ["value"]
    with server.client() as client:
        client.script_flush()
    assert write(link) == ["value"]


def test_scripts_run_in_one_trip_and_in_their_order(link: RedisLink, server: RedisServer) -> None:
    jobs = [(WRITES, ["key"], [value]) for value in "abc"]
    with server.client() as client:
        for _ in range(2):
            assert [rest for _, rest in link.run_all(jobs)] == [["a"], ["b"], ["c"]]
            client.script_flush()
    assert link.run_all([]) == []


def test_a_script_that_fails_among_others_fails_them_all(link: RedisLink) -> None:
    bad = "return redis.call('INCRBY', KEYS[1], ARGV[3])"
    jobs = [(WRITES, ["key"], ["a"]), (bad, ["secret-key"], ["secret-value"])]
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="the script failed") as raised:
            link.run_all(jobs)
        assert "secret" not in str(raised.value)


def test_the_time_is_the_servers(link: RedisLink) -> None:
    assert abs(link.now() - time.time_ns() // 1000) < 2_000_000
    now, (given, seen) = link.run(TELLS, [])
    assert given == ""
    assert int(seen) <= now + 1_000_000
    assert link.now() >= now


def test_a_given_clock_takes_its_place(server: RedisServer) -> None:
    clock = SetClock()
    link = RedisLink(server.url, clock=clock)
    clock.step(1)
    assert link.run(TELLS, [])[1][0] == str(clock.now)
    assert link.now() == clock.now
    link.close()


def test_a_restart_goes_unnoticed(link: RedisLink, server: RedisServer) -> None:
    write(link)
    server.kill()
    server.start()
    assert write(link) == ["value"]


def test_a_server_that_is_down_is_named_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    link = RedisLink(f"redis://someone:secret-word@127.0.0.1:{port}/3")
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable) as raised:
        write(link)
    assert time.monotonic() - began < 1
    assert str(raised.value) == (
        f"redis at 127.0.0.1:{port}, database 3: it cannot be reached; start it, or check the "
        "address (ConnectionError)"
    )
    assert abs(link.now() - time.time_ns() // 1000) < 2_000_000
    assert "it is asked again" in caplog.text
    assert "secret-word" not in caplog.text
    link.close()


def test_a_server_that_starts_after_the_gateway_is_used(server: RedisServer) -> None:
    server.kill()
    link = RedisLink(server.url)
    server.start()
    assert write(link) == ["value"]
    link.close()


def test_a_server_that_hangs_is_not_waited_for(link: RedisLink, server: RedisServer) -> None:
    write(link)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(LedgerUnavailable, match="takes too long"):
                write(link)
            assert time.monotonic() - began < 0.5
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert write(link) == ["value"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_forgets_is_refused(policy: str) -> None:
    with RedisServer({"maxmemory-policy": policy}) as server:
        with pytest.raises(Unsuitable, match=f"maxmemory-policy is '{policy}', expected 'noev"):
            RedisLink(server.url)
        with server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
        RedisLink(server.url).close()


def test_a_server_that_came_back_is_looked_at_again(link: RedisLink, server: RedisServer) -> None:
    write(link)
    server.kill()
    with pytest.raises(LedgerUnavailable):
        write(link)
    server._options["maxmemory-policy"] = "allkeys-lru"
    server.start()
    with pytest.raises(LedgerUnavailable, match="maxmemory-policy is 'allkeys-lru'"):
        write(link)


def test_a_server_that_keeps_nothing_on_disk_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), RedisServer({"appendonly": "no"}) as server:
        RedisLink(server.url).close()
    assert "appendonly is off" in caplog.text


def test_a_replica_is_named(link: RedisLink, server: RedisServer) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", free_port())
        with pytest.raises(LedgerUnavailable, match="it is a replica"):
            write(link)
        client.replicaof("NO", "ONE")
    assert write(link) == ["value"]


def test_full_memory_is_named(link: RedisLink, server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(LedgerUnavailable, match="its memory is full"):
            write(link)
        client.config_set("maxmemory", "0")
        assert client.get("key") is None
    assert write(link) == ["value"]


def test_a_password_is_asked_for(server: RedisServer) -> None:
    with RedisServer({"requirepass": "secret-word", "appendonly": "yes"}) as locked:
        for url in (locked.url, locked.url.replace("//", "//:wrong-word@")):
            link = RedisLink(url)
            with pytest.raises(LedgerUnavailable, match="check the name and password") as raised:
                write(link)
            assert "word@" not in str(raised.value)
            link.close()
        link = RedisLink(locked.url.replace("//", "//:secret-word@"))
        assert write(link) == ["value"]
        link.close()


def test_a_script_that_fails_tells_nothing_of_what_it_was_given(link: RedisLink) -> None:
    with pytest.raises(LedgerUnavailable, match="the script failed") as raised:
        link.run("return redis.call('INCRBY', KEYS[1], ARGV[3])", ["secret-key"], "secret-value")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:6379", "http://secret-word@h", "redis://h:secret-word/0", "redis://h?a=b"],
)
def test_what_is_no_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="no URL of a Redis") as refused:
        RedisLink(url)
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BusyLoadingError("LOADING"), "still reading its file"),
        (TimeoutError(), "takes too long"),
        (ConnectionError(), "cannot be reached"),
        (OSError(), "cannot be reached"),
        (AuthenticationError(), "name and password"),
        (OutOfMemoryError(), "maxmemory"),
        (ReadOnlyError(), "replica"),
        (NoPermissionError(), "may not do this"),
        (MovedError("1 127.0.0.1:1"), "part of a cluster"),
        (ResponseError("BUSY Redis is busy"), "someone else"),
        (ResponseError("MISCONF errors writing"), "its disk"),
        (ResponseError("secret"), "script failed"),
        (RedisError("secret"), "script failed"),
    ],
)
def test_each_failure_says_what_to_do(error: Exception, said: str) -> None:
    assert said in remedy_of(error)
    assert "secret" not in remedy_of(error)


def test_a_closed_link_is_of_no_use(link: RedisLink) -> None:
    link.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        write(link)
