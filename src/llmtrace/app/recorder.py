"""The recorder process: moves the journal to the store."""

import logging
import os
import signal
import sys
import threading
import time
from typing import Final

from llmtrace import logs
from llmtrace.app.ledgers import ledger_of
from llmtrace.app.recoveries import LEASE_SECONDS, is_limited, recovery_of
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.limits.recovery import Recovery
from llmtrace.storage.base import Storage
from llmtrace.storage.ledger import Ledger, LedgerUnavailable
from llmtrace.storage.recorder import Recorder, RecorderRunning, run_until_signal

logger = logging.getLogger(__name__)

RECONCILE_SECONDS: Final = 30.0
"""How often a ledger that has lost what was spent is told again."""


class Recoveries:
    """Settles what dead workers left, as long as calls are held to limits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger: Ledger | None = None
        self._recovery: Recovery | None = None
        self._reconcile_until = self._next_reconcile = 0.0

    def take(self, settings: Settings) -> None:
        """From now on go by other settings."""
        self._settings = settings

    def __call__(self, storage: Storage) -> None:
        """Settle what can be settled now; a ledger that cannot be opened is tried again."""
        if not is_limited(self._settings.config):
            return
        try:
            if self._recovery is None:
                self._ledger = ledger_of(self._settings)
                self._recovery = recovery_of(self._settings, self._ledger)
        except LedgerUnavailable as error:
            logger.warning("budgets: %s; trying again", error)
            return
        self._recovery.run(storage.traces)
        self._reconcile(storage)

    def _reconcile(self, storage: Storage) -> None:
        """Tell a Redis that has lost what was spent; again while calls of before it still end."""
        config, ledger, now = self._settings.config, self._ledger, time.monotonic()
        if ledger is None or config.storage.redis_url is None or not config.cost_caps.enabled:
            return
        from llmtrace.limits.budgets import Budgets  # these two read the list of prices: 4 MB
        from llmtrace.limits.reconcile import has_lost, mark, reconcile

        try:
            if has_lost(ledger):
                self._reconcile_until, self._next_reconcile = now + LEASE_SECONDS, now
            if now >= self._reconcile_until or now < self._next_reconcile:
                return
            self._next_reconcile = now + RECONCILE_SECONDS
            budgets = Budgets(config.cost_caps)
            count = reconcile(ledger, storage.traces, config.cost_caps, budgets)
            mark(ledger)
        except LedgerUnavailable as error:
            logger.warning("budgets: %s; trying again", error)
            return
        logger.info("budgets: %d were compared with the traces", count)


def _listen(recorder: Recorder, recoveries: Recoveries) -> None:
    """Take new settings from standard input; stop when it ends: the supervisor is gone."""
    for line in sys.stdin:
        settings = Settings.parse(line)
        recorder.keep_days(settings.config.storage.retention_days)
        recoveries.take(settings)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run until SIGTERM; the settings come on standard input."""
    settings = Settings.parse(sys.stdin.readline())
    said = settings.config.logging
    logs.configure(level=said.level, form=said.format, process="recorder")
    recoveries = Recoveries(settings)
    recorder = Recorder(
        settings.spool,
        lambda: open_storage(settings),
        retention_days=settings.config.storage.retention_days,
        each_second=recoveries,
    )
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it goes with new settings, on standard input
    threading.Thread(
        target=_listen, args=[recorder, recoveries], name="orders", daemon=True
    ).start()
    try:
        run_until_signal(recorder)
    except RecorderRunning as error:
        logger.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
