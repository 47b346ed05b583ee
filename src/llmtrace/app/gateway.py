"""The supervisor process: a gateway as a whole, in the foreground or for one command."""

import asyncio
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Final

from pydantic import SecretStr

from llmtrace import logs
from llmtrace.api.health import HealthServer
from llmtrace.app import health as health_of
from llmtrace.app.api import routes_of
from llmtrace.app.detection import BadDetection, build_analyzer, build_policy
from llmtrace.app.memory import ALLOCATION
from llmtrace.app.models import check_models, fetch_missing, wanted
from llmtrace.app.prices import price_book
from llmtrace.app.resigning import check_resigning
from llmtrace.app.settings import Settings
from llmtrace.app.state import Addresses, announce, await_turn, withdraw
from llmtrace.app.trial import try_models
from llmtrace.certs.authority import CaUnusable, CertificateAuthority, Made
from llmtrace.certs.issue import CaPolicy
from llmtrace.config import Config, ConfigError, load
from llmtrace.config.digest import digests
from llmtrace.config.section import Address, parse_address
from llmtrace.environment.gateway import degraded, health
from llmtrace.environment.home import Home, home
from llmtrace.environment.sharing import await_users
from llmtrace.ports import Ports
from llmtrace.storage.base import StorageError
from llmtrace.storage.recorder import RecorderRunning, read_status
from llmtrace.supervisor import Child, Supervisor, own_module

logger = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
FAILED_TO_START: Final = 1
OK: Final = 200
ANY_PORT: Final = "127.0.0.1:0"
RUN_BYTES: Final = 16
AT_START: Final = ("listen", "reverse", "api", "workers", "storage", "spool", "ca", "logging")
"""Keys and sections that the processes which stay have read, or that hold the ports."""


class Gateway:
    """One gateway: its folders, its CA, its ports and its processes."""

    def __init__(self, settings: Settings, *, config_path: Path | None = None) -> None:
        self._settings = settings
        self._config_path = config_path
        self._addresses: Addresses | None = None
        self._supervisor: Supervisor | None = None
        self._fingerprint = ""

    def prepare(self) -> None:
        """Make what is not there yet, and say what was made and where.

        Raises:
            OSError, CaUnusable, TimeoutError: It cannot be made; the message says what to do.
            RecorderRunning: Another gateway has this installation.
        """
        settings = self._settings
        settings.prepare()
        if settings.config.storage.profile != "memory":
            await_turn(settings.spool)
        for name, value in ALLOCATION.items():
            os.environ.setdefault(name, value)  # for the processes to come
        policy = CaPolicy(intermediate_days=settings.config.ca.validity_days)
        authority, made = CertificateAuthority.ensure(
            settings.home.ca, settings.permitted_names(), policy=policy
        )
        self._fingerprint = authority.fingerprint
        if made is not Made.FOUND:
            logger.info("made a certificate authority in %s", settings.home.ca)
        fetch_missing(settings.config, at=settings.home.path)
        missing = authority.difference(settings.permitted_names()).missing
        if missing:
            logger.warning(
                "the certificate authority does not cover %s; clients will refuse these hosts "
                "until you run 'llmtrace ca rotate' and trust the new one",
                ", ".join(missing),
            )

    async def run(self) -> int:
        """Serve until SIGTERM, and return the exit code. Raises: OSError."""
        config = self._settings.config
        api = parse_address(config.api.listen)
        wanted = [parse_address(config.listen)]
        if config.reverse.listen:
            wanted.append(parse_address(config.reverse.listen))
        routes = routes_of(self._settings)
        health = HealthServer(health=self.health, host=api.host, port=api.port, routes=routes)
        try:
            ports = Ports(wanted)
        except OSError:
            await health.stop()
            raise
        reserved = [str(Address(item.host, item.port)) for item in ports.reserved]
        self._addresses = Addresses(
            forward=reserved[0],
            reverse=reserved[1] if len(reserved) > 1 else None,
            api=str(Address(api.host, health.port)),
        )
        self._supervisor = Supervisor(
            children=self._children(ports, health.port),
            shutdown_seconds=config.shutdown.timeout_seconds,
            reload=self._reload,
            started=self._announce,
        )
        try:
            return await self._supervisor.run()
        finally:
            withdraw(self._settings.state)
            ports.close()
            await health.stop()

    def health(self) -> tuple[int, Mapping[str, object]]:
        """Return what ``GET /health`` says."""
        if self._supervisor is None or self._addresses is None:
            return 503, {"status": "starting"}
        status, said = self._supervisor.health()
        recorder = read_status(self._settings.spool)
        workers = self._said()
        return status, {
            **said,
            **(health_of.degraded(workers) if status == OK else {}),
            "listen": asdict(self._addresses),
            "pid": os.getpid(),
            "ca_fingerprint": self._fingerprint,
            "auth": self._settings.config.auth.enabled,
            "configuration": digests(self._settings.config),
            "recorder": asdict(recorder) if recorder else None,
            **health_of.summed(workers),
        }

    def _said(self) -> Sequence[Mapping[str, object]]:
        """Return what each process last said of itself."""
        return [one.said for one in self._supervisor.status().values()] if self._supervisor else []

    def _children(self, ports: Ports, api_port: int) -> list[Child]:
        numbers = [item.port for item in ports.reserved]
        told = json.dumps(
            {
                "forward": numbers[0],
                "reverse": numbers[1] if len(numbers) > 1 else None,
                "api": api_port,
            }
        )
        fds = tuple(item.fd for item in ports.reserved if item.fd is not None)
        stdin = self._line()
        count = self._settings.config.workers or os.cpu_count() or 1
        if self._settings.config.storage.profile == "memory":
            count = 1  # what is kept is in the worker itself
        children = [
            Child(
                name=f"worker-{number}",
                argv=own_module("llmtrace.app.worker", told, f"worker-{number}"),
                stdin=stdin,
                pass_fds=fds,
                rolls=True,
            )
            for number in range(count)
        ]
        if self._settings.config.storage.profile != "memory":
            argv = own_module("llmtrace.app.recorder")
            children.append(Child(name="recorder", argv=argv, stdin=stdin, stage=1))
        return children

    def _line(self) -> bytes:
        """Return what workers are told, all of those that take over together the same."""
        return replace(self._settings, run=secrets.token_hex(RUN_BYTES)).dump().encode() + b"\n"

    def _reload(self) -> bytes:
        """Read the configuration anew; new workers take over with it, one after the other."""
        if self._config_path is not None:
            try:
                config = load(self._config_path)
                price_book(config)
                build_policy(config)
                build_analyzer(config, cached=False)
                check_models(config)
                check_resigning(config)
            except (ConfigError, OSError) as error:
                raise ValueError(str(error)) from error
            config = _keep(self._settings.config, config)
            settings = Settings(config=config, home=self._settings.home)
        else:
            settings = self._settings
        self._try(settings)
        self._settings = settings
        return self._line()

    def _try(self, settings: Settings) -> None:
        """Raise ValueError if new workers would lack a model where those that run lack none."""
        missing = try_models(settings)
        if missing and not any(health_of.missing(self._said())):
            raise BadDetection("; ".join(f"{one.name}: {one.reason}" for one in missing))

    def _announce(self) -> None:
        if self._addresses is None:
            return
        announce(self._settings.state, self._addresses)
        logger.info(
            "ready: forward proxy %s, base-URL mode %s, health %s",
            self._addresses.forward,
            self._addresses.reverse or "off",
            self._addresses.api,
        )
        sys.stdout.write(json.dumps({"ready": asdict(self._addresses)}) + "\n")
        sys.stdout.flush()


def _keep(old: Config, new: Config) -> Config:
    """Return the new configuration, with the old values of what only a start can change."""
    kept = {key: getattr(old, key) for key in AT_START if getattr(old, key) != getattr(new, key)}
    if kept:
        logger.warning("%s: takes effect at the next start", ", ".join(kept))
    return new.model_copy(update=kept)


def run_gateway(config: Config, *, config_path: Path | None = None) -> int:
    """Run a gateway in the foreground; return the program's exit code."""
    settings = Settings(config=config, home=Home(home()))
    return _run(Gateway(settings, config_path=config_path), config)


def _run(gateway: Gateway, config: Config) -> int:
    logs.configure(level=config.logging.level, form=config.logging.format, process="supervisor")
    try:
        gateway.prepare()
        return asyncio.run(gateway.run())
    except (OSError, CaUnusable, RecorderRunning, StorageError) as error:
        logger.critical("the gateway did not start: %s", error)
        return FAILED_TO_START


class StartedGateway:
    """A gateway that was started for one command, in processes of its own session."""

    def __init__(self, process: subprocess.Popen[bytes], addresses: Addresses, wait: float) -> None:
        self._process = process
        self._wait = wait
        self.addresses = addresses

    @property
    def proxy_url(self) -> str:
        """``http://host:port`` for ``HTTPS_PROXY``, without user name."""
        return f"http://{self.addresses.forward}"

    def degraded(self) -> Sequence[str]:
        """Why it looks for less than is configured; empty where it does not."""
        return degraded(health(self.addresses.api))

    def stop(self) -> None:
        """End it; return when what was under way is finished and all of it is in the store."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(self._wait)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.leave()

    def leave(self) -> None:
        """Leave it to those who use it too; it ends by itself when none does any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def start_gateway(
    config: Config,
    *,
    upstream_proxy: str | None = None,
    at: Home | None = None,
    log: IO[bytes] | None = None,
) -> StartedGateway:
    """Start a gateway for one command and return when it answers.

    Addresses that are taken are replaced by free ones.

    Args:
        upstream_proxy: The proxy that it has to go through itself.
        at: The installation, the user's own unless given.
        log: Where its log goes; by default to a file in the installation.

    Raises:
        OSError: It did not start; the message says why and what to do.
    """
    settings = Settings(config=_free(config, upstream_proxy), home=at or Home(home()))
    settings.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_path = settings.home.path / "gateway.log"
    sink = log or log_path.open("ab")
    try:
        process = subprocess.Popen(  # noqa: S603  # our own module
            own_module("llmtrace.app.gateway"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            start_new_session=True,
        )
    finally:
        if sink is not log:
            sink.close()
    addresses = _await_ready(process, settings)
    if addresses is None:
        process.kill()
        process.wait()
        raise OSError(f"the gateway did not start; {log_path} says why")
    wait = 2 * settings.config.shutdown.timeout_seconds + 10
    return StartedGateway(process, addresses, wait)


def _await_ready(process: subprocess.Popen[bytes], settings: Settings) -> Addresses | None:
    """Tell the process its settings, and wait for the line that says it is ready."""
    if process.stdin is None or process.stdout is None:
        return None
    timer = threading.Timer(_start_seconds(settings.config), process.kill)
    timer.start()
    try:
        process.stdin.write(settings.dump().encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        return None
    finally:
        timer.cancel()
    return Addresses(**json.loads(line)["ready"]) if line else None


def _start_seconds(config: Config) -> float:
    """Return how long a start may take: longer where models may have to be fetched first."""
    hubs = 0 if config.ml.offline else sum(one.hub is not None for one in wanted(config))
    return START_SECONDS + hubs * config.ml.download_timeout_seconds


def _free(config: Config, upstream_proxy: str | None) -> Config:
    """Return the configuration with free ports for those that are taken."""
    reverse = config.reverse.listen
    update: dict[str, object] = {
        "listen": _or_any(config.listen),
        "api": config.api.model_copy(update={"listen": _or_any(config.api.listen)}),
        "reverse": config.reverse.model_copy(
            update={"listen": _or_any(reverse) if reverse else None}
        ),
    }
    if upstream_proxy and config.upstream_proxy is None:
        update["upstream_proxy"] = SecretStr(upstream_proxy)
    return config.model_copy(update=update)


def _or_any(text: str) -> str:
    address = parse_address(text)
    try:
        Ports([address]).close()
    except OSError:
        return ANY_PORT
    return text


def _end_with_parent(at: Home) -> None:
    """Stop when standard input ends, as who started this gateway is gone, and no run uses it."""
    with suppress(OSError, ValueError):
        while sys.stdin.readline():
            pass
    with suppress(OSError):
        await_users(at)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run a gateway for the process that started this one; its settings come on stdin."""
    settings = Settings.parse(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=[settings.home], daemon=True).start()
    sys.exit(_run(Gateway(settings), settings.config))


if __name__ == "__main__":
    main()
