"""The recorder process: moves the journal to the store."""

import logging
import os
import signal
import sys
import threading

from llmtrace import logs
from llmtrace.app.limits import is_limited, ledger_of, recovery_of
from llmtrace.app.settings import Settings
from llmtrace.limits.recovery import Recovery
from llmtrace.storage.base import Storage
from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.recorder import Recorder, run_until_signal
from llmtrace.storage.registry import build

logger = logging.getLogger(__name__)


def open_storage(settings: Settings, *, read_only: bool = False) -> Storage:
    """Open the stores of the configured profile. Raises: StorageError."""
    return build(
        settings.config.storage.profile, database_path=settings.database, read_only=read_only
    )


class Recoveries:
    """Settles what dead workers left, as long as calls are held to limits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._recovery: Recovery | None = None

    def take(self, settings: Settings) -> None:
        """From now on go by other settings."""
        self._settings = settings

    def __call__(self, storage: Storage) -> None:
        """Settle what can be settled now; a ledger that cannot be opened is tried again."""
        if not is_limited(self._settings.config):
            return
        try:
            if self._recovery is None:
                self._recovery = recovery_of(self._settings, ledger_of(self._settings))
        except LedgerUnavailable as error:
            logger.warning("budgets: %s; trying again", error)
            return
        self._recovery.run(storage.traces)


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
    run_until_signal(recorder)


if __name__ == "__main__":
    main()
