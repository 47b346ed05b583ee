"""Makes the runaway guard that a configuration asks for."""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

from llmtrace.config.limits import RunawayConfig
from llmtrace.limits.runaway import GuardSettings, OnEvent, RunawayGuard, Work
from llmtrace.limits.tally import MemoryTally, Tally
from llmtrace.providers.money import NANO

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
"""Calls that wait to be counted; those beyond are not."""


def needs_ledger(config: RunawayConfig) -> bool:
    """Whether the guard stops agents: then all workers must know, and a person must release."""
    return config.enabled and config.action == "stop"


def guard_of(
    config: RunawayConfig,
    ledger: Tally | None,
    *,
    on_event: OnEvent,
    later: Callable[[Work], None] | None = None,
) -> RunawayGuard | None:
    """Return the guard of one worker, None where agents are not watched.

    Args:
        config: The section ``runaway``.
        ledger: Where all workers count together; None counts in this process, and stops nobody.
        on_event: Told of what is to be counted, in any thread.
        later: Runs what asks the ledger, such as ``Background.put``; None runs it at once.
    """
    if not config.enabled:
        return None
    shared = ledger if needs_ledger(config) else None
    settings = settings_of(config, stops=shared is not None)
    if shared is None:
        return RunawayGuard(settings, MemoryTally(), on_event=on_event)
    return RunawayGuard(settings, shared, on_event=on_event, later=later)


def settings_of(config: RunawayConfig, *, stops: bool) -> GuardSettings:
    """Return the guard's settings."""
    return GuardSettings(
        stops=stops,
        repeats_soft=config.repeats_soft,
        repeats_hard=config.repeats_hard,
        loop_hard=config.tool_loop_hard,
        velocity_factor=config.velocity_factor,
        velocity_least=max(1, int(config.velocity_least_usd * NANO)),
        window_seconds=config.window_minutes * 60,
        hold_seconds=config.hold_minutes * 60,
    )


class Background:
    """One thread that does things one after the other, so that the event loop need not wait."""

    def __init__(self, name: str = "guard") -> None:
        self._works: queue.Queue[Work | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Have something done, soon. What is too much is left undone."""
        try:
            self._works.put_nowait(work)
        except queue.Full:
            logger.warning("too much waits to be counted; some calls are not")

    def close(self, seconds: float = 2.0) -> None:
        """Do what waits, for so long at most, and end."""
        try:
            self._works.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        while (work := self._works.get()) is not None:
            try:
                work()
            except Exception:
                logger.exception("a call was not counted")
