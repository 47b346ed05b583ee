"""One worker in the test's own event loop, with a journal that only remembers."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmtrace.addons.master import GatewayMaster
from llmtrace.app.limits import worker_limits
from llmtrace.app.prices import price_book
from llmtrace.app.settings import Settings
from llmtrace.app.verdicts import verdicts_of
from llmtrace.app.worker import Ports, master_of
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.config import load
from llmtrace.domain.traces import Body, Outcome, Record, Trace
from llmtrace.environment.home import Home
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.journal import JournalUnavailable
from llmtrace.pipeline.verdicts import SharedVerdicts
from llmtrace.storage.ledger import Ledger
from llmtrace.testing.provider import ScriptedProvider

MIRRORED = (
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "ollama.com",
    "chatgpt.com",
)
"""Hosts that the scripted provider stands in for."""

WITHOUT_MODEL: Final = {"LLMTRACE_SECURITY_ANALYSIS_ML_MODEL": "null"}
"""The environment of a worker of rules alone: what a model makes of a text is tested by itself."""


@dataclass
class RememberingJournal:
    """Keeps what it is given; refuses while ``broken`` is set."""

    begun: list[tuple[Trace, Body | None]] = field(default_factory=list)
    ended: list[Record] = field(default_factory=list)
    broken: bool = False
    directory: Path | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, trace: Trace, body: Body | None) -> None:
        """Keep a START."""
        if self.broken:
            raise JournalUnavailable("the disk is full, says the test")
        self.begun.append((trace, body))

    async def end(self, record: Record) -> None:
        """Keep an END."""
        if self.broken:
            raise JournalUnavailable("the disk is full, says the test")
        self.ended.append(record)
        self._changed.set()

    def close(self) -> None:
        """Nothing is held."""

    async def traces(self, count: int, *, seconds: float = 5.0) -> Sequence[Trace]:
        """Wait until so many calls have ended, and return them all."""
        async with asyncio.timeout(seconds):
            while len(self.ended) < count:
                self._changed.clear()
                await self._changed.wait()
        return [record.trace for record in self.ended]

    async def trace(self) -> Trace:
        """Wait for the first call's end."""
        return (await self.traces(1))[0]

    def outcomes(self) -> list[Outcome]:
        """Return how calls ended, in order."""
        return [record.trace.outcome for record in self.ended]


@dataclass
class Worker:
    """A running worker, and how to reach and look into it."""

    master: GatewayMaster
    provider: ScriptedProvider
    journal: RememberingJournal
    counters: Counters
    home: Home
    forward: int
    reverse: int
    ca_pem: str
    verdicts: SharedVerdicts | None = None

    def client_context(self) -> ssl.SSLContext:
        """Return what a client uses that trusts this gateway alone."""
        return ssl.create_default_context(cadata=self.ca_pem)

    @property
    def proxy_url(self) -> str:
        """What ``HTTPS_PROXY`` is."""
        return f"http://127.0.0.1:{self.forward}"

    @property
    def base_url(self) -> str:
        """Where base-URL clients connect."""
        return f"http://127.0.0.1:{self.reverse}"


@asynccontextmanager
async def running_worker(
    folder: Path, provider: ScriptedProvider, ledger: Ledger | None = None, /, **overrides: object
) -> AsyncIterator[Worker]:
    """Run one worker whose providers are all ``provider``.

    ``ledger`` stands in the place of its own. ``overrides`` are configuration keys, with ``__``
    for the dot.
    """
    os.chmod(folder, 0o700)
    config = load(
        environ=WITHOUT_MODEL,
        overrides={
            "upstreams": dict.fromkeys(MIRRORED, provider.url),
            "upstream_ca": str(provider.write_ca(folder)),
            **{key.replace("__", "."): value for key, value in overrides.items()},
        },
    )
    settings = Settings(config=config, home=Home(folder / "home"))
    settings.prepare()
    authority, _ = CertificateAuthority.ensure(settings.home.ca, settings.permitted_names())
    counters, journal = Counters(), RememberingJournal()
    prices = price_book(config)
    held_to = worker_limits(settings, counters, prices=prices, ledger=ledger)
    verdicts = verdicts_of(settings)
    master, _policy = master_of(
        settings,
        Ports(forward=0, reverse=0, api=1),
        journal=journal,
        counters=counters,
        prices=prices,
        held_to=held_to,
        verdicts=verdicts,
    )
    task = asyncio.create_task(master.run())
    bound = {b.mode.partition(":")[0]: b.port for b in await asyncio.wait_for(master.ready(), 10)}
    try:
        yield Worker(
            master=master,
            provider=provider,
            journal=journal,
            counters=counters,
            home=settings.home,
            forward=bound.get("regular") or bound["upstream"],
            reverse=bound.get("reverse", 0),
            ca_pem=authority.export_pem(),
            verdicts=verdicts,
        )
    finally:
        master.should_exit.set()
        await asyncio.wait_for(task, 10)
        await held_to.close(1.0)
        if verdicts is not None:
            verdicts.close()
