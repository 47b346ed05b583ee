"""Wires budgets, rates and the ledger that keeps them."""

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llmtrace.app.settings import Settings
from llmtrace.config import Config
from llmtrace.limits.bounds import Bounder
from llmtrace.limits.budgets import Budgets
from llmtrace.limits.desk import LedgerDesk
from llmtrace.limits.limiter import Limiter
from llmtrace.limits.rates import Rates
from llmtrace.limits.recovery import Recovery
from llmtrace.limits.replay import SUFFIX, ReplayFile
from llmtrace.pipeline.admission import Admissions
from llmtrace.pipeline.counters import Counters
from llmtrace.providers.ceilings import canonical
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.ledger import Ledger
from llmtrace.storage.sqlite_ledger import SqliteLedger

LEASE_SECONDS: Final = 900.0
"""How long a reservation counts without a sign of life."""
UNBOOKED: Final = "unbooked"
"""Folder of the installation in which workers note what no ledger knows yet."""


def is_limited(settings: Settings) -> bool:
    """Whether calls are held to anything that needs a ledger."""
    config = settings.config
    return config.cost_caps.enabled or config.rate_limiting.enabled or config.runaway.enabled


def ledger_of(settings: Settings) -> Ledger:
    """Open the ledger. Raises: LedgerUnavailable."""
    return SqliteLedger.at(settings.shared_database)


def admissions_of(
    settings: Settings,
    desk: LedgerDesk,
    counters: Counters,
    *,
    owner: str,
    prices: PriceBook | None,
) -> Admissions:
    """Return what holds a worker's calls to their limits."""
    return Admissions(
        limiter_of(settings.config, owner=owner, prices=prices),
        desk,
        counters,
        asks_for_usage=settings.config.cost_caps.include_usage,
    )


def limiter_of(config: Config, *, owner: str = "", prices: PriceBook | None = None) -> Limiter:
    """Return what a configuration holds calls to."""
    caps = config.cost_caps
    if not caps.enabled:  # what calls may cost is of no interest, and how many tokens, roughly
        caps = caps.model_copy(update={"mode": "estimate"})
    return Limiter(
        Bounder(caps, prices or PriceBook()),
        budgets=Budgets(caps, canonical) if caps.enabled else None,
        rates=Rates(config.rate_limiting) if config.rate_limiting.enabled else None,
        owner=owner,
        lease_seconds=LEASE_SECONDS,
        counts_plans=caps.plan_traffic == "count",
        most_wait=caps.retry_after_seconds,
    )


def desk_of(settings: Settings, ledger: Ledger, counters: Counters, owner: str) -> LedgerDesk:
    """Return where a worker's event loop brings what the ledger is to do."""
    replay = None
    if settings.config.storage.profile != "memory":
        folder = settings.home.path / UNBOOKED
        folder.mkdir(mode=0o700, exist_ok=True)
        replay = ReplayFile(folder / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}")
    return LedgerDesk(ledger, lease_seconds=LEASE_SECONDS, replay=replay, on_event=counters.count)


def owner_of(spool_directory: Path | None) -> str:
    """Return a worker's name in the ledger: its host, and its directory in the spool.

    Of a worker without such a directory nobody can tell whether it is gone.
    """
    name = spool_directory.name if spool_directory else ""
    return f"{socket.gethostname()[:64]}:{name}"


def recovery_of(settings: Settings, ledger: Ledger) -> Recovery:
    """Return what settles the reservations that dead workers left."""
    return Recovery(
        ledger,
        is_gone=gone_from(settings.spool),
        unbooked=settings.home.path / UNBOOKED,
        lease_seconds=LEASE_SECONDS,
    )


def gone_from(spool: Path) -> Callable[[str], bool]:
    """Return what tells whether a worker of this host is gone and all it recorded is shipped.

    Then the recorder has removed its directory.
    """
    here = socket.gethostname()[:64]

    def is_gone(owner: str) -> bool:
        host, _, name = owner.partition(":")
        return host == here and bool(name) and not (spool / name).exists()

    return is_gone
