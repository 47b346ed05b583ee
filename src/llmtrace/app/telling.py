"""What a worker tells the supervisor of itself, on standard output."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

from llmtrace.addons.tunnels import TunnelLedger
from llmtrace.app.models import Models
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.tools import SharedTools
from llmtrace.pipeline.verdicts import SharedVerdicts

STATUS_SECONDS: Final = 2.0
MOST_TOLD: Final = 200
"""Hosts of tunnels that the supervisor is told of, those first to which most was sent."""


def status_of(
    counters: Counters,
    ledger: TunnelLedger,
    models: Models,
    verdicts: SharedVerdicts | None = None,
    tools: SharedTools | None = None,
) -> Mapping[str, object]:
    """Return what the supervisor is told of this worker."""
    busiest = sorted(ledger.snapshot().items(), key=lambda item: -item[1].up)[:MOST_TOLD]
    return {
        "counters": {
            **counters.snapshot(),
            **(verdicts.counts if verdicts else {}),
            **(tools.counts if tools else {}),
        },
        "tunnels": {host: asdict(traffic) for host, traffic in busiest},
        "models": models.status(),
        "caches": [verdicts.status] if verdicts else [],
    }


async def tell(status: Callable[[], Mapping[str, object]]) -> None:
    """Tell the supervisor, every few seconds, how this worker is and what was counted."""
    told: Mapping[str, object] = {}
    while True:
        await asyncio.sleep(STATUS_SECONDS)
        if (now := status()) != told:
            told = now
            sys.stdout.write(json.dumps({"status": now}) + "\n")
            sys.stdout.flush()
