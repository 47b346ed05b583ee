"""The one gateway of an installation: that there is no other, and where it says that it runs."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from llmtrace.storage.recorder import RecorderRunning, sole_recorder

PATIENCE_STEPS: Final = 20
STEP_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a gateway really listens, as ``host:port``."""

    forward: str
    reverse: str | None
    api: str


def announce(path: Path, addresses: Addresses) -> None:
    """Write that this process runs a gateway, and where. Raises: OSError."""
    now = datetime.now(UTC).isoformat()
    state = {**asdict(addresses), "pid": os.getpid(), "started_at": now}
    path.write_text(json.dumps(state) + "\n")


def withdraw(path: Path) -> None:
    """Delete what this process announced; what another gateway wrote there stays."""
    with suppress(OSError, ValueError):
        state = json.loads(path.read_text())
        if isinstance(state, dict) and state.get("pid") == os.getpid():
            path.unlink()


def await_turn(spool: Path, *, sleep: Callable[[float], object] = time.sleep) -> None:
    """Wait a little for another gateway's recorder to end: one that stops is still shipping.

    Raises:
        RecorderRunning: It goes on; the message names its process and says what to do.
        OSError: The spool cannot be used.
    """
    for _ in range(PATIENCE_STEPS):
        with suppress(RecorderRunning), sole_recorder(spool):
            return
        sleep(STEP_SECONDS)
    with sole_recorder(spool):
        return
