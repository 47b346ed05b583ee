"""Many processes ask at once, with room for ten."""

import subprocess
import sys
from pathlib import Path

import pytest

from llmtrace.storage.ledger import Admission, Admitted, Node
from llmtrace.testing import redis
from llmtrace.testing.ledgers import LEDGERS, NEED_REDIS, SetClock

PROCESSES = 10
TRIES = 10
ROOM = 10

ASKS = f"""
import os, sys, time
from dataclasses import replace
from pathlib import Path
from llmtrace.storage.ledger import Admission, Admitted, Node
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.sqlite_ledger import SqliteLedger

place, prefix, way = sys.argv[1:]
NODES = tuple(Node(key=key, unit="usd", limit=limit, ends=None)
              for key, limit in (("tenant", {ROOM} * 100), ("key", 10_000)))

def check_then_add(ledger, asked):
    standings = ledger.standings("acme", [node.key for node in asked.nodes])
    for node in asked.nodes:
        standing = standings[node.key]
        if standing.spent + standing.reserved + asked.amounts["usd"] > node.limit:
            return None
    time.sleep(0.01)
    free = tuple(replace(node, limit=None) for node in asked.nodes)
    return ledger.admit(replace(asked, nodes=free))

def worker(name):
    ledger = (RedisLedger.at(place, prefix=prefix, timeout=5.0) if place.startswith("redis:")
              else SqliteLedger.at(Path(place), timeout=30.0))
    ask = ledger.admit if way == "atomic" else lambda asked: check_then_add(ledger, asked)
    os.read(begin, 1)  # answers when the last holder of the other end has closed it
    admitted = 0
    for number in range({TRIES}):
        asked = Admission(id=f"{{name}}-{{number}}", tenant="acme", amounts={{"usd": 100}},
                          nodes=NODES)
        admitted += isinstance(ask(asked), Admitted)
    ledger.close()
    return admitted

begin, hold = os.pipe()
workers = []
for name in range({PROCESSES}):
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        os._exit(worker(name))
    workers.append(pid)
time.sleep(0.1)
os.close(hold)
print(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers))
"""


def race(*arguments: str) -> int:
    """Return how many of all tries were admitted; a worker that failed counts as no number."""
    command = [sys.executable, "-c", ASKS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    assert done.stderr == ""
    return int(done.stdout)


@pytest.mark.parametrize("way", ["atomic", "check-then-add"])
@pytest.mark.parametrize("name", ["sqlite", "redis"])
def test_processes_that_ask_at_once_get_what_there_is(name: str, way: str, tmp_path: Path) -> None:
    """The same race with a check before the reservation shows that it would be noticed."""
    if name in NEED_REDIS and not redis.installed():
        pytest.skip(redis.MISSING)
    ledger = LEDGERS[name](tmp_path, SetClock())
    place = redis.shared_server().url if name == "redis" else str(tmp_path / "limits.sqlite")
    admitted = race(place, str(tmp_path), way)
    standing = ledger.standings("acme", ["tenant"])["tenant"]
    assert (standing.spent, standing.reserved) == (0, 100 * admitted)
    if way == "atomic":
        assert admitted == ROOM
        node = Node(key="tenant", unit="usd", limit=ROOM * 100, ends=None)
        more = Admission(id="more", tenant="acme", amounts={"usd": 1}, nodes=(node,))
        assert not isinstance(ledger.admit(more), Admitted)
    else:
        assert admitted > ROOM
    ledger.close()
