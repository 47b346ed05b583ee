"""Wires detection into a worker: detectors, policy, and what hides values."""

import logging
import threading
from typing import Final

from llmtrace.analyzers.actions import ToolWatch
from llmtrace.analyzers.cache import CachedAnalyzer
from llmtrace.analyzers.combined import CombinedAnalyzer
from llmtrace.app.detection import build_actions, build_analyzer, build_policy
from llmtrace.app.models import Models, load_models
from llmtrace.app.settings import Settings
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.detection import Detection
from llmtrace.pipeline.enforcement import Enforcement
from llmtrace.pipeline.judging_requests import Masks
from llmtrace.pipeline.streaming import GateBounds
from llmtrace.pipeline.tools import SharedTools
from llmtrace.pipeline.verdicts import SharedVerdicts
from llmtrace.policy.vault import OneWay, Vault
from llmtrace.storage.base import StorageError
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.storage.sqlite_tools import SqliteTools
from llmtrace.storage.sqlite_vault import SqliteVault

logger = logging.getLogger(__name__)

HOUR: Final = 3600.0
WAIT_SECONDS: Final = 0.5
"""Longest wait for what was offered to other workers, when another program holds the file."""


def enforcement_of(
    settings: Settings,
    counters: Counters,
    models: Models | None = None,
    verdicts: SharedVerdicts | None = None,
    tools: SharedTools | None = None,
) -> Enforcement | None:
    """Return what judges a worker's calls, None where nothing is to be looked for.

    ``models`` are those that read beside the rules; by default they are loaded. ``verdicts`` are
    those of other workers, ``tools`` what they were offered.

    Raises:
        BadDetection: The configuration cannot be used.
    """
    config = settings.config
    analysis = config.security_analysis
    if not analysis.enabled:
        return None
    patterns = build_analyzer(config, cached=False)
    if isinstance(patterns, CombinedAnalyzer):  # so that no call waits for it
        threading.Thread(target=patterns.prepare, name="prepare-detection", daemon=True).start()
    if models is None:
        models = load_models(config, at=settings.home.path, seconds=analysis.timeout_ms / 1000)
    for one in models.missing:
        counters.count("model_unavailable", one.name)
    detection = Detection(
        analyzer=CachedAnalyzer(
            models.beside(patterns), max_entries=analysis.cache_entries, shelf=verdicts
        ),
        growing=patterns,
        actions=build_actions(config),
        policy=build_policy(config),
        masks=masks_of(settings),
        watch=ToolWatch(shelf=tools),
        enforce=config.mode == "enforce",
        seconds=analysis.timeout_ms / 1000,
    )
    streaming = config.streaming_analysis
    return Enforcement(
        detection,
        counters,
        bounds=GateBounds(
            text=streaming.max_hold_chars,
            tool_call=streaming.tool_call_bytes,
            frames=streaming.held_bytes,
        ),
        block_style=config.policy.block_style,
        block_status=config.policy.block_status,
        fail_open=config.on_error == "allow",
    )


def tools_of(settings: Settings) -> SharedTools | None:
    """Return what all workers know of tools, None where there is one, or nothing is looked for."""
    config = settings.config
    looks = config.security_analysis.enabled
    if not looks or not settings.run or config.storage.profile == "memory":
        return None

    def opened() -> SqliteTools:
        file = SharedSqliteFile(settings.shared_database, timeout=WAIT_SECONDS)
        return SqliteTools(file, run=bytes.fromhex(settings.run))

    return SharedTools(opened, secret=settings.secret())


def masks_of(settings: Settings) -> Masks:
    """Return what hides values, for good or so that they come back."""
    config = settings.config
    if not config.pii.reversible:
        return OneWay()
    store = None
    if config.mode == "enforce" and config.storage.profile != "memory":
        try:
            store = SqliteVault(settings.home.path / "vault.db")
        except StorageError as error:  # calls go on: values come back as long as this process lives
            logger.error("hidden values will not outlive this process: %s", error)
    return Vault(settings.secret(), store=store, ttl_seconds=config.pii.ttl_hours * HOUR)
