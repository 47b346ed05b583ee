"""Every ledger by name, for suites that run over all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    Denied,
    Ledger,
    Node,
    Pace,
    Settled,
    Settlement,
    SettlementKind,
)
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.redis import shared_server

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class SetClock:
    """A clock that stands where it is set, in microseconds since 1970."""

    now: int = int(NOON.timestamp()) * 1_000_000

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def step(self, seconds: float) -> None:
        """Go on, or back."""
        self.now += round(seconds * 1_000_000)


ENDS: Final = NOON + timedelta(hours=12)
DAY: Final = Node(key="budget|agent|a|day|2026-03-01", unit="usd", limit=1000, ends=ENDS)
TOTAL: Final = Node(key="budget|tenant|acme|total", unit="usd", limit=700, ends=None)
CALLS: Final = Node(key="budget|agent|a|calls", unit="calls", limit=3, ends=ENDS)
RATE: Final = Pace(key="rps", unit="calls", emission_ns=100_000_000, burst=2)
TOKENS: Final = Pace(key="tpm", unit="tokens", emission_ns=1_000_000, burst=1000)

type OpenLedger = Callable[[Path, SetClock], Ledger]


def _redis(folder: Path, clock: SetClock, *, cluster: bool = False) -> Ledger:
    server = shared_server(cluster=cluster)
    return RedisLedger.at(server.url, prefix=str(folder), timeout=1.0, clock=clock)


LEDGERS: Final[Mapping[str, OpenLedger]] = {
    "sqlite": lambda folder, clock: SqliteLedger.at(folder / "limits.sqlite", clock=clock),
    "redis": _redis,
    "redis-cluster": partial(_redis, cluster=True),
}
"""Opens the ledger that a folder stands for; opened again, it is the same one."""

NEED_REDIS: Final = frozenset({"redis", "redis-cluster"})
"""Those that are left out where ``redis.installed`` says no."""


def call(
    id: str, usd: int, *nodes: Node, paces: Sequence[Pace] = (), tokens: int = 0, **rest: Any
) -> Admission:
    """Return what a call of the tenant ``acme`` asks for."""
    return Admission(
        id=id,
        tenant="acme",
        amounts={"usd": usd, "tokens": tokens, "calls": 1},
        nodes=nodes,
        paces=tuple(paces),
        **rest,
    )


def admit(ledger: Ledger, admission: Admission) -> Admitted:
    """Return the answer to a call that is let through."""
    answer = ledger.admit(admission)
    assert isinstance(answer, Admitted), answer  # noqa: S101 - for tests
    return answer


def deny(ledger: Ledger, admission: Admission) -> Denied:
    """Return the answer to a call that is not let through."""
    answer = ledger.admit(admission)
    assert isinstance(answer, Denied), answer  # noqa: S101 - for tests
    return answer


def settle(ledger: Ledger, id: str, kind: SettlementKind = "settle", **used: int) -> Settled:
    """End a call of the tenant ``acme``."""
    (settled,) = ledger.settle([Settlement(id=id, tenant="acme", kind=kind, amounts=used)])
    assert settled.id == id  # noqa: S101 - for tests
    return settled


def sums(ledger: Ledger, *nodes: Node) -> list[tuple[int, int]]:
    """Return what is spent and reserved of nodes of the tenant ``acme``."""
    found = ledger.standings("acme", [node.key for node in nodes])
    return [(found[node.key].spent, found[node.key].reserved) for node in nodes]
