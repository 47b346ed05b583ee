import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from llmtrace.storage import redis_ledger
from llmtrace.storage.ledger import (
    KEEP_EXPIRED,
    KEEP_SETTLED,
    Admission,
    Admitted,
    Ledger,
    LedgerFull,
    LedgerUnavailable,
    Node,
    Pace,
    Settlement,
    State,
)
from llmtrace.storage.redis_ledger import BATCH, RedisLedger
from llmtrace.testing import redis
from llmtrace.testing.background import free_port
from llmtrace.testing.ledgers import NOON, SetClock
from llmtrace.testing.redis import RedisServer

pytestmark = pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)

NODE = Node(key="total", unit="usd", limit=10_000, ends=None)
PACE = Pace(key="tpm", unit="tokens", emission_ns=1_000_000, burst=1000)
ASKED = Admission(
    id="1", tenant="acme", amounts={"usd": 10, "tokens": 1}, nodes=(NODE,), paces=(PACE,)
)
CALLS: dict[str, Callable[[Ledger], Any]] = {
    "admit": lambda ledger: ledger.admit(ASKED),
    "settle": lambda ledger: ledger.settle([Settlement(id="1", tenant="acme", kind="release")]),
    "extend": lambda ledger: ledger.extend([("acme", "1")], lease_seconds=60),
    "raise-spent": lambda ledger: ledger.raise_spent("acme", NODE, 5),
    "once": lambda ledger: ledger.once("key", ends=None),
    "bump": lambda ledger: ledger.bump("key", window_seconds=60),
    "hold": lambda ledger: ledger.hold("key", "reason"),
    "release": lambda ledger: ledger.release("key"),
    "open": lambda ledger: ledger.open(),
    "expired": lambda ledger: ledger.expired(),
    "standings": lambda ledger: ledger.standings("acme", ["total"]),
    "current": lambda ledger: ledger.current(),
    "held": lambda ledger: ledger.held(["key"]),
    "holds": lambda ledger: ledger.holds(),
}
FAST = ("admit", "settle", "extend", "bump", "once", "held", "release")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator["Redis"]:
    with server.client() as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def ledger(server: RedisServer, client: "Redis", clock: SetClock) -> Iterator[RedisLedger]:
    opened = RedisLedger.at(server.url, clock=clock)
    yield opened
    opened.close()


def settle(ledger: Ledger, id: str = "1", **used: int) -> State:
    answers = ledger.settle([Settlement(id=id, tenant="acme", kind="settle", amounts=used)])
    return answers[0].state


def spent(ledger: Ledger) -> int:
    return ledger.standings("acme", ["total"])["total"].spent


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_redis_that_is_down_is_unavailable(call: Callable[[Ledger], Any]) -> None:
    ledger = RedisLedger.at(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(LedgerUnavailable, match="cannot be reached"):
        call(ledger)
    assert not ledger.healthy()
    ledger.close()


@pytest.mark.parametrize("name", FAST)
def test_a_redis_that_hangs_is_unavailable(
    name: str, ledger: RedisLedger, server: RedisServer
) -> None:
    CALLS["admit"](ledger)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(LedgerUnavailable, match="takes too long"):
                CALLS[name](ledger)
            assert time.monotonic() - began < 0.5
        assert not ledger.healthy()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    CALLS[name](ledger)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_ledger_is_unavailable(ledger: RedisLedger, call: Callable[[Ledger], Any]) -> None:
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        call(ledger)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_scripts_that_redis_has_forgotten_run_all_the_same(
    ledger: RedisLedger, client: "Redis", call: Callable[[Ledger], Any]
) -> None:
    client.script_flush()
    call(ledger)


def test_a_full_redis_reserves_nothing(ledger: RedisLedger, client: "Redis") -> None:
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(LedgerUnavailable, match="its memory is full"):
            ledger.admit(ASKED)
    finally:
        client.config_set("maxmemory", "0")
    assert ledger.open() == []
    assert not ledger.standings("acme", ["total"])["total"].reserved


def test_a_redis_that_lost_everything_is_reconciled(
    ledger: RedisLedger, client: "Redis", clock: SetClock
) -> None:
    ledger.admit(ASKED)
    settle(ledger, usd=9_000)
    client.flushall()
    assert spent(ledger) == 0
    clock.step(61)
    ledger.raise_spent("acme", NODE, 9_000)
    assert spent(ledger) == 9_000
    assert [row.key for row in ledger.current()] == ["total"]
    assert not isinstance(
        ledger.admit(replace(ASKED, amounts={"usd": 1001, "tokens": 1})), Admitted
    )


def test_a_redis_that_was_killed_knows_what_it_answered(
    ledger: RedisLedger, server: RedisServer
) -> None:
    for number in range(20):
        ledger.admit(replace(ASKED, id=str(number)))
        if number % 2:
            settle(ledger, str(number), usd=number)
    server.kill()
    with pytest.raises(LedgerUnavailable):
        ledger.admit(replace(ASKED, id="lost"))
    server.start()
    standing = ledger.standings("acme", ["total"])["total"]
    assert (standing.spent, standing.reserved) == (100, 100)
    assert len(ledger.open()) == 10


def test_an_admission_that_was_given_up_is_released(
    ledger: RedisLedger, server: RedisServer
) -> None:
    """It ran after all, when Redis went on."""
    CALLS["release"](ledger)
    ledger.admit(replace(ASKED, id="warm"))
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LedgerUnavailable):
            ledger.admit(ASKED)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    ledger.settle([Settlement(id="1", tenant="acme", kind="release")])
    assert {entry.id for entry in ledger.open()} == {"warm"}
    answer = ledger.admit(ASKED)
    assert isinstance(answer, Admitted)
    assert answer.state is State.RELEASED


def test_batches_of_any_size_are_settled(ledger: RedisLedger) -> None:
    count = 2 * BATCH + 1
    for number in range(count):
        ledger.admit(replace(ASKED, id=str(number), paces=()))
    ledger.extend([("acme", str(number)) for number in range(count)], lease_seconds=60)
    assert len(ledger.open()) == count
    ends = [
        Settlement(id=str(number), tenant="acme", kind="settle", amounts={"usd": 1})
        for number in range(count)
    ]
    assert [settled.first for settled in ledger.settle(ends)] == [True] * count
    assert spent(ledger) == count


def test_memory_is_given_back(ledger: RedisLedger, client: "Redis", clock: SetClock) -> None:
    call = "{llmtrace:acme}:call:1"
    ledger.admit(ASKED)
    assert client.ttl(call) == -1
    assert client.zcard("{llmtrace:acme}:open") == 1
    settle(ledger)
    assert client.zcard("{llmtrace:acme}:open") == 0
    assert 0 < client.ttl(call) <= KEEP_SETTLED.total_seconds()
    ledger.admit(replace(ASKED, id="2"))
    ledger.settle([Settlement(id="2", tenant="acme", kind="expire_charge")])
    assert client.ttl("{llmtrace:acme}:call:2") > KEEP_EXPIRED.total_seconds() - 10
    ledger.bump("key", window_seconds=60)
    ledger.once("key", ends=NOON.replace(hour=13))
    assert 0 < client.ttl("{llmtrace}:count:key") <= 60
    assert 0 < client.ttl("{llmtrace}:mark:key") <= 3600
    assert client.hlen("{llmtrace:acme}:paces") == 1
    clock.step(60)
    ledger.settle([])
    settle(ledger, "unheard")
    assert client.hlen("{llmtrace:acme}:paces") == 0


def test_tenants_are_listed_again_soon_after_a_loss(
    ledger: RedisLedger, client: "Redis", clock: SetClock
) -> None:
    ledger.admit(ASKED)
    client.flushall()
    ledger.admit(replace(ASKED, id="2"))
    assert ledger.open() == []
    clock.step(61)
    ledger.admit(replace(ASKED, id="3"))
    assert {entry.id for entry in ledger.open()} == {"2", "3"}


def test_lists_are_bounded(ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        ledger.admit(replace(ASKED, tenant=f"t{number % 2}", id=str(number)))
    monkeypatch.setattr(redis_ledger, "MAX_LISTED", 1)
    assert len(ledger.open()) == 1
    assert len(ledger.current()) == 1


def test_holds_are_bounded(ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_ledger, "MAX_HOLDS", 2)
    ledger.hold("a", "reason", until=NOON.replace(minute=1))
    ledger.hold("b", "reason")
    ledger.hold("b", "another")
    with pytest.raises(LedgerFull, match="2 are on hold"):
        ledger.hold("c", "reason")


def test_a_hold_that_has_ended_makes_room(
    ledger: RedisLedger, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_ledger, "MAX_HOLDS", 2)
    ledger.hold("a", "reason", until=NOON.replace(minute=1))
    ledger.hold("b", "reason")
    clock.step(61)
    ledger.hold("c", "reason")
    assert [hold.key for hold in ledger.holds()] == ["b", "c"]


def test_gateways_whose_clocks_differ_share_the_time_of_redis(
    server: RedisServer, client: "Redis"
) -> None:
    first, second = (RedisLedger.at(server.url, prefix="clocks") for _ in range(2))
    assert abs((first.now() - second.now()).total_seconds()) < 0.5
    first.admit(ASKED)
    seconds, _ = client.time()
    assert abs(first.now().timestamp() - seconds) < 2
    assert first.open()[0].lease_ends > first.now()
    for ledger in (first, second):
        ledger.close()
