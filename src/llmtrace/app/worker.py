"""A worker process: the data plane on the shared ports, with everything behind it."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable

from llmtrace import logs
from llmtrace.addons.destination import Destinations
from llmtrace.addons.gateway import Gateway
from llmtrace.addons.limits import Limits
from llmtrace.addons.websockets import WebSockets
from llmtrace.app.settings import Settings
from llmtrace.pipeline import Bounds, Pipeline
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.identity import Identifier
from llmtrace.pipeline.journal import DirectJournal, Journal, SpoolJournal
from llmtrace.providers.jsongate import JsonLimits
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.spool import SpoolWriter

logger = logging.getLogger(__name__)


def journal_of(settings: Settings, name: str) -> Journal:
    """Return where this worker's records go."""
    if settings.config.storage.profile == "memory":
        return DirectJournal(MemoryTraceRepository())
    spool = settings.config.spool
    writer = SpoolWriter(
        settings.spool,
        name,
        segment_bytes=spool.segment_bytes,
        max_bytes=spool.max_bytes,
        min_free_bytes=spool.min_free_bytes,
        fsync_interval_ms=spool.fsync_interval_ms,
        durability=spool.durability,
        on_full=spool.on_full,
    )
    return SpoolJournal(writer)


def pipeline_of(
    settings: Settings,
    *,
    journal: Journal,
    counters: Counters,
    prices: Callable[[], PriceBook | None],
) -> Pipeline:
    """Return the pipeline of one worker."""
    config = settings.config
    limits = config.limits
    return Pipeline(
        hosts=settings.hosts(),
        identifier=Identifier(secret=settings.secret(), trusted=config.identity.trusted_proxies),
        prices=prices,
        journal=journal,
        bounds=Bounds(
            decoded_bytes=limits.decoded_bytes,
            decoded_ratio=limits.decoded_ratio,
            answer_bytes=limits.answer_bytes,
            frame_bytes=limits.frame_bytes,
            json=JsonLimits(
                depth=limits.json_depth,
                nodes=limits.json_nodes,
                string_length=limits.json_string_length,
                number_length=limits.json_number_length,
            ),
        ),
        counters=counters,
        refuse_unrecorded=config.audit.mode == "block",
        keep_bodies=config.storage.bodies,
    )
