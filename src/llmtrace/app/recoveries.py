"""Wires what settles reservations that dead workers left. Knows no more than the recorder needs."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llmtrace.app.settings import Settings
from llmtrace.config import Config
from llmtrace.config.limits import RunawayConfig
from llmtrace.limits.recovery import Recovery
from llmtrace.storage.ledger import Ledger

LEASE_SECONDS: Final = 900.0
"""How long a reservation counts without a sign of life."""
UNBOOKED: Final = "unbooked"
"""Folder of the installation in which workers note what no ledger knows yet."""


def is_limited(config: Config) -> bool:
    """Whether calls are held to anything that needs a ledger."""
    return config.cost_caps.enabled or config.rate_limiting.enabled or stops(config.runaway)


def stops(runaway: RunawayConfig) -> bool:
    """Whether agents that run in circles are stopped, rather than only told of."""
    return runaway.enabled and runaway.action == "stop"


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
