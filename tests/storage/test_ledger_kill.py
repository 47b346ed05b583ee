"""A worker is killed before each step of its life, and another goes on where it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmtrace.testing import redis
from llmtrace.testing.ledgers import NEED_REDIS

LIVES = r"""
import json, os, signal, sys
from pathlib import Path
from llmtrace.storage.ledger import *
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.redis_link import RedisLink
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.storage.sqlite_shared import SharedSqliteFile

place, every = sys.argv[1], int(sys.argv[2])
NODES = tuple(Node(key=key, unit=unit, limit=limit, ends=None)
              for key, unit, limit in (("a", "usd", 1000), ("b", "usd", 700), ("c", "calls", 9)))
PACES = (Pace(key="p", unit="tokens", emission_ns=1000, burst=10_000),)

def call(id, usd):
    return Admission(id=id, tenant="acme", amounts={"usd": usd, "tokens": 100, "calls": 1},
                     nodes=NODES, paces=PACES, owner="w")

def end(id, kind, **used):
    return Settlement(id=id, tenant="acme", kind=kind, amounts=used)

LIFE = (
    lambda ledger: ledger.admit(call("1", 100)),
    lambda ledger: ledger.admit(call("2", 200)),
    lambda ledger: ledger.settle([end("1", "settle", usd=30, tokens=7)]),
    lambda ledger: ledger.extend([("acme", "2")], lease_seconds=2000),
    lambda ledger: ledger.admit(call("3", 300)),
    lambda ledger: ledger.settle([end("2", "release"), end("3", "expire_charge")]),
    lambda ledger: ledger.settle([end("3", "settle", usd=50)]),
)
IN_THE_END = {"a": (80, 0), "b": (80, 0), "c": (2, 0)}
STATES = {3: ("1", "settled"), 6: ("2", "released"), 7: ("3", "settled")}

def opened(number):
    if place.startswith("redis:"):
        return RedisLedger.at(place, prefix=f"{sys.argv[3]}{number}", timeout=5.0)
    return SqliteLedger.at(Path(place) / str(number) / "limits.sqlite")

def dying(number, at):
    left = at
    def step(*_):
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    configured = SharedSqliteFile._configured
    def traced(self, *pragmas):
        connection = configured(self, *pragmas)
        connection.set_trace_callback(step)
        return connection
    def both_sides(method):
        def stepping(self, *args, **more):
            step()
            answer = method(self, *args, **more)
            step()
            return answer
        return stepping
    SharedSqliteFile._configured = traced
    for name in ("run", "run_all", "ask"):
        setattr(RedisLink, name, both_sides(getattr(RedisLink, name)))
    ledger = opened(number)
    for done, act in enumerate(LIFE, 1):
        act(ledger)
        os.write(1, f"{number} did {done}\n".encode())
    ledger.close()

def check(number, did):
    ledger = opened(number)
    sums = {key: (s.spent, s.reserved) for key, s in ledger.standings("acme", "abc").items()}
    open_calls = {entry.id: entry.amounts for entry in ledger.open()}
    for node in NODES:
        reserved = sum(amounts[node.unit] for amounts in open_calls.values())
        assert sums[node.key][1] == reserved, ("reserved", sums, open_calls)
        assert sum(sums[node.key]) <= node.limit
    ended = [ledger.settle([end(id, "expire_release")])[0]
             for id in "123" if id not in open_calls]
    charged = [settled.charged for settled in ended]
    for node in NODES:
        spent = sum(each.get(node.unit, 0) for each in charged)
        assert sums[node.key][0] == spent, ("spent", sums, charged)
    for step, (id, state) in STATES.items():
        if step <= did:  # it was told that this was done
            assert state in [settled.state for settled in ended if settled.id == id]
    for act in LIFE:  # who is in doubt calls again
        act(ledger)
    sums = {key: (s.spent, s.reserved) for key, s in ledger.standings("acme", "abc").items()}
    assert sums == IN_THE_END, sums
    assert ledger.open() == []
    ledger.close()

def forked(act, *args):
    pid = os.fork()
    if pid == 0:
        try:
            act(*args)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

for number in range(1, 2000, every):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        try:
            dying(f"n{number}", number)
        finally:
            os._exit(0)
    os.close(writer)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    told = os.read(reader, 65536).decode().splitlines()
    os.close(reader)
    assert code in (0, -9), code
    checked = forked(check, f"n{number}", len(told))
    print(json.dumps([number, code, len(told), checked]), flush=True)
    if code == 0 or checked:
        break
"""


@pytest.mark.parametrize(
    ("name", "every", "least"),
    [
        pytest.param("sqlite", 9, 10, id="sqlite-some-steps"),
        pytest.param("sqlite", 1, 90, id="sqlite-every-step", marks=pytest.mark.slow),
        pytest.param("redis", 1, 14, id="redis-every-step"),
    ],
)
def test_who_is_killed_leaves_sums_that_are_right(
    name: str, every: int, least: int, tmp_path: Path
) -> None:
    """Steps are SQL statements, or the time before and after each script."""
    if name in NEED_REDIS and not redis.installed():
        pytest.skip(redis.MISSING)
    place = str(tmp_path) if name == "sqlite" else redis.shared_server().url
    command = [sys.executable, "-c", LIVES, place, str(every), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)  # noqa: S603
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.stderr == ""
    assert [checked for *_, checked in lives] == [0] * len(lives)
    assert [code for _, code, *_ in lives] == [-9] * (len(lives) - 1) + [0]
    assert len(lives) >= least
