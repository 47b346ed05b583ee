"""The recorder process: moves the journal to the store."""

import os
import signal
import sys
import threading

from llmtrace import logs
from llmtrace.app.settings import Settings
from llmtrace.storage.base import Storage
from llmtrace.storage.recorder import Recorder, run_until_signal
from llmtrace.storage.registry import build


def open_storage(settings: Settings, *, read_only: bool = False) -> Storage:
    """Open the stores of the configured profile. Raises: StorageError."""
    return build(
        settings.config.storage.profile, database_path=settings.database, read_only=read_only
    )


def _listen(recorder: Recorder) -> None:
    """Take new settings from standard input; stop when it ends: the supervisor is gone."""
    for line in sys.stdin:
        recorder.keep_days(Settings.parse(line).config.storage.retention_days)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run until SIGTERM; the settings come on standard input."""
    settings = Settings.parse(sys.stdin.readline())
    logging = settings.config.logging
    logs.configure(level=logging.level, form=logging.format, process="recorder")
    recorder = Recorder(
        settings.spool,
        lambda: open_storage(settings),
        retention_days=settings.config.storage.retention_days,
    )
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it goes with new settings, on standard input
    threading.Thread(target=_listen, args=[recorder], name="orders", daemon=True).start()
    run_until_signal(recorder)


if __name__ == "__main__":
    main()
