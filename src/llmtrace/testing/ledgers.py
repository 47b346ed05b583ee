"""Every ledger by name, for suites that run over all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from llmtrace.storage.ledger import Ledger
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
