"""A worker process: the data plane on the shared ports, with everything behind it."""

import llmtrace.addons.slim  # noqa: F401  # before anything of mitmproxy: see there

# isort: split
import asyncio
import gc
import json
import logging
import math
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from llmtrace import logs
from llmtrace.addons.destination import Destinations
from llmtrace.addons.dialing import Dialer
from llmtrace.addons.door import Door
from llmtrace.addons.evictions import Evictions
from llmtrace.addons.gateway import Gateway
from llmtrace.addons.limits import Count, Limits
from llmtrace.addons.listening import Bound, Listen
from llmtrace.addons.master import GatewayMaster, MasterOptions, build_master
from llmtrace.addons.tls import GatewayTls, MayMint
from llmtrace.addons.tunnels import HostPolicy
from llmtrace.addons.upstreams import NOWHERE, ProxyUrl, Upstreams
from llmtrace.addons.websockets import WebSockets
from llmtrace.app.detection import BadDetection
from llmtrace.app.enforcement import enforcement_of, tools_of
from llmtrace.app.identity import Identity
from llmtrace.app.limits import UNLIMITED, WorkerLimits, deferred_of, worker_limits
from llmtrace.app.memory import give_back, trimmer
from llmtrace.app.models import Models, load_models
from llmtrace.app.prices import LAST_GOOD, price_book, watch_prices
from llmtrace.app.resigning import resigner_of
from llmtrace.app.settings import Settings
from llmtrace.app.telling import status_of, tell
from llmtrace.app.verdicts import verdicts_of
from llmtrace.config import Config
from llmtrace.config.section import parse_address
from llmtrace.environment.tlsfailures import TlsFailures
from llmtrace.pipeline import Bounds, Pipeline
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.identity import Identifier
from llmtrace.pipeline.journal import DirectJournal, Journal, SpoolJournal
from llmtrace.pipeline.threads import share_the_interpreter
from llmtrace.pipeline.tools import SharedTools
from llmtrace.pipeline.verdicts import SharedVerdicts
from llmtrace.providers.addresses import is_loopback
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.jsongate import JsonLimits
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.base import StorageUnfit
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.spool import SpoolWriter
from llmtrace.supervisor import UNUSABLE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where this gateway really listens, once the system has chosen what was left to it."""

    forward: int
    reverse: int | None
    api: int

    @property
    def own(self) -> frozenset[int]:
        """All of them: none may be reached through the gateway."""
        return frozenset(port for port in (self.forward, self.reverse, self.api) if port)


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
    journal: Journal,
    counters: Counters,
    prices: PriceBook | None,
    identifier: Identifier,
    held_to: WorkerLimits = UNLIMITED,
    models: Models | None = None,
    verdicts: SharedVerdicts | None = None,
    tools: SharedTools | None = None,
) -> Pipeline:
    """Return the pipeline of one worker."""
    config, hosts = settings.config, settings.hosts()
    limits = config.limits
    return Pipeline(
        hosts=hosts,
        identifier=identifier,
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
        enforcement=enforcement_of(settings, counters, models, verdicts, tools),
        admissions=held_to.admissions,
        watch=held_to.watch,
        resigner=resigner_of(config, hosts, counters),
        deferred=deferred_of(settings),
        refuse_unrecorded=config.audit.mode == "block",
        keep_bodies=config.storage.bodies,
    )


def data_limits(settings: Settings) -> Limits:
    """Return the data plane's bounds."""
    limits = settings.config.limits
    return Limits(
        connections_total=limits.connections,
        connections_per_ip=limits.connections_per_client,
        head_bytes=limits.head_bytes,
        header_count=limits.header_count,
        head_seconds=limits.head_seconds,
        body_seconds=limits.body_seconds,
        body_bytes_per_second=limits.body_bytes_per_second,
        body_bytes=limits.body_bytes,
        pipelined_bytes=limits.pipelined_bytes,
        h2_streams=limits.h2_streams,
        h2_resets_per_minute=limits.h2_resets_per_minute,
        answer_bytes=limits.answer_bytes,
        idle_seconds=math.ceil(limits.upstream_idle_seconds),
    )


class Trusted:
    """Which destinations the configuration itself names: they may be anywhere.

    Where only this machine can reach the gateway, so may what the shipped list has on this
    machine: Ollama's port.
    """

    def __init__(self, settings: Settings, hosts: HostTable, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._hosts = hosts
        self._named = set(settings.config.intercept.hosts)
        self._local = hosts.local_bases() if _for_this_machine(settings.config) else frozenset()

    def __call__(self, host: str, port: int) -> bool:
        """Whether this one is named."""
        if self._upstreams.trusted(host, port) or (host, port) in self._local:
            return True
        own = {host, f"{host}:{port}", f"[{host}]:{port}"} & self._named
        return bool(own) and self._hosts.provider_of(host, port) is not None


def _for_this_machine(config: Config) -> bool:
    listens = filter(None, (config.listen, config.reverse.listen))
    hosts = [parse_address(listen).host for listen in listens]
    return all(host == "localhost" or is_loopback(host) for host in hosts)


def bases_of(settings: Settings) -> Mapping[str, str]:
    """Return provider → base URL for self-hosted providers that the configuration names."""
    bases: dict[str, str] = {}
    for pattern, provider in settings.config.intercept.hosts.items():
        if not pattern.startswith("*."):
            port = parse_address(pattern).port if ":" in pattern else 443
            scheme = "https" if port == 443 else "http"
            bases.setdefault(provider, f"{scheme}://{pattern}")
    return bases


def listens_of(settings: Settings, ports: Ports, proxy: ProxyUrl | None) -> list[Listen]:
    """Return what this worker listens on."""
    forward = parse_address(settings.config.listen)
    mode = proxy.mode if proxy else "regular"
    listens = [Listen(mode=mode, host=forward.host, port=ports.forward)]
    if settings.config.reverse.listen and ports.reverse is not None:
        host = parse_address(settings.config.reverse.listen).host
        listens.append(Listen(mode=f"reverse:http://{NOWHERE}", host=host, port=ports.reverse))
    return listens


def _tls_of(settings: Settings, *, may_mint: MayMint, count: Count) -> GatewayTls:
    extra = settings.config.upstream_ca
    return GatewayTls(
        ca_dir=settings.home.ca,
        may_mint=may_mint,
        upstream_ca=[extra] if extra else [],
        client_failed=TlsFailures(settings.home.tls_failures).note,
        count=count,
    )


def _policy_of(
    settings: Settings, ports: Ports, hosts: HostTable, upstreams: Upstreams, counters: Counters
) -> HostPolicy:
    return HostPolicy(
        hosts=hosts,
        egress=settings.config.egress,
        trusted=Trusted(settings, hosts, upstreams),
        own_ports=lambda: ports.own,
        count=lambda reason: counters.count("policy", reason),
    )


def master_of(
    settings: Settings,
    ports: Ports,
    *,
    journal: Journal,
    counters: Counters,
    prices: PriceBook | None,
    held_to: WorkerLimits = UNLIMITED,
    models: Models | None = None,
    verdicts: SharedVerdicts | None = None,
    tools: SharedTools | None = None,
) -> tuple[GatewayMaster, HostPolicy]:
    """Wire one worker. To be called inside the running event loop."""
    config, hosts = settings.config, settings.hosts()
    proxy = ProxyUrl.parse(url) if (url := settings.proxy_url()) else None
    upstreams = Upstreams(bases=config.upstreams, proxy=proxy)
    fail_open = config.on_error == "allow"
    limit_met = partial(counters.count, "limit_exceeded")
    policy = _policy_of(settings, ports, hosts, upstreams, counters)
    identity = Identity(settings, counters)
    door = Door(identity.ring)
    evictions = Evictions(
        door, policy.unread, lambda client: master.hang_up(client), count=counters.count
    )
    pipeline = pipeline_of(
        settings, journal, counters, prices, identity.identifier, held_to, models, verdicts, tools
    )
    gateway = Gateway(
        pipeline=pipeline,
        destination=Destinations(hosts=hosts, bases=bases_of(settings)).of,
        reach=upstreams.reach,
        counters=counters,
        door=door,
        body_bytes=config.limits.body_bytes,
        upload_bytes=config.limits.upload_bytes,
        answer_bytes=config.limits.answer_bytes,
        fail_open=fail_open,
    )
    websockets = WebSockets(
        pipeline=pipeline,
        counters=counters,
        max_message=config.limits.websocket_message_bytes,
        evictions=evictions,
        fail_open=fail_open,
    )
    tls = _tls_of(settings, may_mint=policy.may_mint, count=limit_met)
    master = build_master(
        options=MasterOptions(
            listens=listens_of(settings, ports, proxy),
            ca_dir=settings.home.ca,
            limits=data_limits(settings),
            reuse_port=True,
        ),
        addons=[policy, gateway, websockets, upstreams, tls, identity, evictions],
        dial=Dialer(refuses=policy.refuses, count=limit_met),
        count=limit_met,
        body_limit=gateway.body_limit,
        relayed=policy.ledger.relayed,
    )
    return master, policy


async def serve(settings: Settings, ports: Ports, name: str) -> None:
    """Serve until SIGTERM or SIGINT, then let calls end."""
    share_the_interpreter()
    last_good = settings.home.path / LAST_GOOD
    counters, prices = Counters(), price_book(settings.config, last_good=last_good)
    journal = journal_of(settings, name)
    held_to = worker_limits(settings, counters, prices=prices, spool=journal.directory)
    seconds = settings.config.security_analysis.timeout_ms / 1000
    models = load_models(settings.config, at=settings.home.path, seconds=seconds)
    verdicts, tools = verdicts_of(settings), tools_of(settings)
    master, policy = master_of(
        settings,
        ports,
        journal=journal,
        counters=counters,
        prices=prices,
        held_to=held_to,
        models=models,
        verdicts=verdicts,
        tools=tools,
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the supervisor reloads, by a new worker
    _when_orphaned(lambda: loop.call_soon_threadsafe(stop.set))
    running = asyncio.create_task(master.run())
    bound = await _ready(master, running)
    gc.collect()
    gc.freeze()  # what is here by now stays; to walk it again and again would hold the loop 40 ms
    status = partial(status_of, counters, policy.ledger, models, verdicts, tools)
    ready = {"ready": [f"{b.host}:{b.port}" for b in bound], "status": status()}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    watching = watch_prices(settings.config, prices, last_good=last_good)
    beside = [*map(asyncio.create_task, (tell(status), watching, give_back(trimmer())))]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        clean = await master.drain(settings.config.shutdown.timeout_seconds)
        logger.info("drained" if clean else "cut what did not end in time")
    for task in (stopping, *beside):
        task.cancel()
    await running
    await held_to.close()
    journal.close()
    for shared in (verdicts, tools):
        if shared is not None:
            shared.close()


def _when_orphaned(stop: Callable[[], object]) -> None:
    """Call ``stop`` when standard input ends: the supervisor is gone."""

    def listen() -> None:
        for _line in sys.stdin:
            pass
        with suppress(RuntimeError):  # the loop has ended already
            stop()

    threading.Thread(target=listen, name="orphaned", daemon=True).start()


async def _ready(master: GatewayMaster, running: asyncio.Task[None]) -> tuple[Bound, ...]:
    """Wait until it listens; what keeps it from that is raised."""
    ready = asyncio.create_task(master.ready())
    await asyncio.wait({ready, running}, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        await running
    return await ready


def main() -> None:
    """Run until SIGTERM; the settings come on standard input, the ports and name as arguments."""
    settings = Settings.parse(sys.stdin.readline())
    ports, name = Ports(**json.loads(sys.argv[1])), sys.argv[2]
    logging_ = settings.config.logging
    logs.configure(level=logging_.level, form=logging_.format, process=name)
    try:
        asyncio.run(serve(settings, ports, name))
    except (BadDetection, StorageUnfit) as error:
        logger.critical("%s", error)
        sys.exit(UNUSABLE)


if __name__ == "__main__":
    main()
