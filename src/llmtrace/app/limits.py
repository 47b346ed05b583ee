"""Wires budgets, rates and the ledger that keeps them."""

import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrace.app.ledgers import ledger_in_time
from llmtrace.app.recoveries import LEASE_SECONDS, UNBOOKED, is_limited, stops
from llmtrace.app.settings import Settings
from llmtrace.config import Config
from llmtrace.limits.bounds import Bounder
from llmtrace.limits.budgets import Budgets
from llmtrace.limits.desk import LedgerDesk
from llmtrace.limits.limiter import Limiter
from llmtrace.limits.rates import Rates
from llmtrace.limits.recovery import Recovery
from llmtrace.limits.replay import SUFFIX, ReplayFile
from llmtrace.limits.runaway import GuardSettings, RunawayGuard
from llmtrace.limits.tally import MemoryTally
from llmtrace.pipeline.admission import Admissions
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.identity import Identifier
from llmtrace.pipeline.watching import Watch
from llmtrace.providers.ceilings import canonical
from llmtrace.providers.money import nano_usd
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.deferred import Deferred, DeferredFiles, MemoryDeferred
from llmtrace.storage.ledger import Ledger
from llmtrace.storage.memory import MemoryTraceRepository

logger = logging.getLogger(__name__)

DEFERRED: Final = "deferred"
"""Folder of the installation in which workers note the answers that are still to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What holds a worker's calls to their limits, as far as they have any."""

    desk: LedgerDesk | None = None
    admissions: Admissions | None = None
    watch: Watch | None = None

    async def close(self, seconds: float = 5.0) -> None:
        """Settle what is left, for so long at most: then it is the recorder's."""
        if self.desk is not None and not await self.desk.close(seconds):
            logger.warning("budgets: what is not settled yet, the recorder settles")


UNLIMITED: Final = WorkerLimits()


def worker_limits(
    settings: Settings,
    counters: Counters,
    *,
    prices: PriceBook | None,
    spool: Path | None = None,
    ledger: Ledger | None = None,
) -> WorkerLimits:
    """Return what holds a worker's calls to their limits.

    Args:
        settings: What the limits are.
        counters: Where is counted what becomes of calls.
        prices: What calls cost.
        spool: The worker's own directory in the spool.
        ledger: Stands in the place of its own.

    Raises:
        StorageError: The ledger may forget what was spent.
    """
    config = settings.config
    if not is_limited(config):
        return WorkerLimits(watch=watch_of(config, counters))
    ledger = ledger or ledger_in_time(settings)
    desk = desk_of(settings, ledger, counters)
    admissions = None
    if config.cost_caps.enabled or config.rate_limiting.enabled:
        admissions = Admissions(
            limiter_of(config, owner=owner_of(spool), prices=prices),
            desk,
            counters,
            trusts=_trusts(config),
            asks_for_usage=config.cost_caps.enabled and config.cost_caps.include_usage,
        )
    return WorkerLimits(
        desk=desk, admissions=admissions, watch=watch_of(config, counters, desk, ledger)
    )


def _trusts(config: Config) -> Callable[[str], bool]:
    """Return whose headers are looked at: nobody's, where no rate goes by one."""
    if not (config.rate_limiting.enabled and config.rate_limiting.headers):
        return lambda _peer: False
    return Identifier(secret=b"", trusted=config.identity.trusted_proxies).trusts


def watch_of(
    config: Config,
    counters: Counters,
    desk: LedgerDesk | None = None,
    ledger: Ledger | None = None,
) -> Watch | None:
    """Return what watches for agents that run in circles; None where nobody is to be watched."""
    runaway = config.runaway
    if not runaway.enabled:
        return None
    settings = GuardSettings(
        stops=stops(runaway),
        repeats_soft=runaway.repeats_soft,
        repeats_hard=runaway.repeats_hard,
        loop_hard=runaway.tool_loop_hard,
        velocity_factor=runaway.velocity_factor,
        velocity_least=nano_usd(runaway.velocity_least_usd),
        window_seconds=runaway.window_minutes * 60,
        hold_seconds=runaway.hold_minutes * 60,
    )
    if desk is None or ledger is None or not settings.stops:  # for warnings no call waits
        return Watch(RunawayGuard(settings, MemoryTally(), on_event=counters.count), None)
    return Watch(RunawayGuard(settings, ledger, on_event=desk.count), desk, now=desk.now)


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


def desk_of(settings: Settings, ledger: Ledger, counters: Counters) -> LedgerDesk:
    """Return where a worker's event loop brings what the ledger is to do."""
    if settings.config.storage.profile == "memory":  # no recorder looks after what is left open
        recovery = Recovery(ledger, is_gone=lambda _owner: False, lease_seconds=LEASE_SECONDS)
        return LedgerDesk(
            ledger,
            lease_seconds=LEASE_SECONDS,
            on_event=counters.count,
            on_beat=lambda: recovery.run(MemoryTraceRepository()),
        )
    folder = settings.home.path / UNBOOKED
    folder.mkdir(mode=0o700, exist_ok=True)
    replay = ReplayFile(folder / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}")
    return LedgerDesk(ledger, lease_seconds=LEASE_SECONDS, replay=replay, on_event=counters.count)


def deferred_of(settings: Settings) -> Deferred:
    """Return what remembers the answers that are still to come: where the ledger is shared.

    Raises:
        StorageError: It may forget them.
        ValueError: Its URL is none.
    """
    memory = settings.config.storage.profile == "memory"
    local = MemoryDeferred() if memory else DeferredFiles(settings.home.path / DEFERRED)
    url = settings.config.storage.redis_url
    if url is None or not is_limited(settings.config):
        return local
    from llmtrace.storage.redis_deferred import RedisDeferred  # takes a moment: not for others
    from llmtrace.storage.redis_link import RedisLink

    return RedisDeferred(RedisLink(url.get_secret_value()), local)


def owner_of(spool_directory: Path | None) -> str:
    """Return a worker's name in the ledger: its host, and its directory in the spool.

    Of a worker without such a directory nobody can tell whether it is gone.
    """
    name = spool_directory.name if spool_directory else ""
    return f"{socket.gethostname()[:64]}:{name}"
