"""Every ledger by name, for suites that run over all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from llmtrace.storage.ledger import Ledger
from llmtrace.storage.sqlite_ledger import SqliteLedger

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

LEDGERS: Final[Mapping[str, OpenLedger]] = {
    "sqlite": lambda folder, clock: SqliteLedger.at(folder / "limits.sqlite", clock=clock),
}
"""Opens the ledger that a folder stands for; opened again, it is the same one."""
