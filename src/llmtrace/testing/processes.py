"""Real processes in tests: a gateway as a user starts it, and clients as they are.

Nothing here leads off this machine: hosts that are not mapped to the scripted provider are
refused by the gateway that is started here.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from llmtrace.domain.traces import Outcome
from llmtrace.environment.block import environment_block
from llmtrace.environment.home import Home
from llmtrace.environment.trust import prepare_trust
from llmtrace.testing.background import LOOPBACK, free_port
from llmtrace.testing.provider import ScriptedProvider

_START_SECONDS: Final = 90.0
_CLI_SECONDS: Final = 90.0
_TAIL: Final = 3000


def llmtrace_command() -> list[str]:
    """Return the command line of ``llmtrace`` in this environment."""
    return [sys.executable, "-c", "from llmtrace.cli.main import main; main()"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A proxy in front of the scripted provider, as a client's environment knows it."""

    proxy_url: str
    ca_pem: str
    folder: Path

    def environment(self, run: str, base: Mapping[str, str]) -> dict[str, str]:
        """Return ``base`` behind this proxy, with ``run`` as the user whom calls belong to."""
        trust = prepare_trust(Home(self.folder), self.ca_pem, base)
        block = environment_block(
            proxy_url=self.proxy_url,
            trust=trust,
            existing=base,
            run_id=run,
            token=secrets.token_hex(8),
        )
        return {**base, **block}


class GatewayProcess:
    """``llmtrace proxy --config F`` with a home of its own, and the command line to ask it.

    Args:
        folder: Where home, configuration and log go.
        provider: Whom ``hosts`` are mapped to.
        hosts: The providers' hosts that clients will call.
        settings: More keys for the configuration, such as ``{"workers": 2}``.
        command: The command line of ``llmtrace``.
    """

    def __init__(
        self,
        folder: Path,
        provider: ScriptedProvider,
        hosts: Iterable[str],
        *,
        settings: Mapping[str, Any] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self._folder = folder
        self._command = [*(command or llmtrace_command())]
        self._process: subprocess.Popen[bytes] | None = None
        listen, reverse, api = (f"{LOOPBACK}:{free_port()}" for _ in range(3))
        self.home = folder / "home"
        self.config = folder / "config.yaml"
        self.proxy_url, self.reverse_url = f"http://{listen}", f"http://{reverse}"
        self.api_url = f"http://{api}"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            yaml.safe_dump(
                {
                    "listen": listen,
                    "reverse": {"listen": reverse},
                    "api": {"listen": api},
                    "workers": 1,
                    "egress": "deny",
                    "upstreams": dict.fromkeys(hosts, provider.url),
                    "upstream_ca": str(provider.write_ca(folder)),
                    "storage": {"database_path": str(self.home / "llmtrace.db")},
                    **(settings or {}),
                }
            )
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LLMTRACE_HOME": str(self.home)}

    @property
    def log(self) -> str:
        """What it has written to stdout and stderr, the end of it."""
        path = self._folder / "gateway.log"
        return path.read_text(errors="replace")[-_TAIL:] if path.exists() else ""

    @property
    def pid(self) -> int:
        """The supervisor's process id, 0 before the start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it and return once it is ready.

        Raises:
            RuntimeError: It ended, or was not ready in time; with the end of its log.
        """
        with (self._folder / "gateway.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [*self._command, "proxy", "--config", str(self.config)],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        ends = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > ends:
                self.stop()
                raise RuntimeError(f"llmtrace proxy did not get ready; its log ends: {self.log}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            address = f"{self.api_url}/health"
            with urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310 - http, ours
                return bool(answer.status == 200)
        return False

    def stop(self, seconds: float = 30) -> int | None:
        """Ask it to end, as a service manager does; return its exit code, None if never started.

        It is killed when it takes longer than ``seconds``.
        """
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(10)

    def cli(self, *arguments: str) -> str:
        """Run ``llmtrace ARGUMENTS…`` with this gateway's home and return its stdout.

        Raises:
            RuntimeError: Its exit code is not 0; with what it wrote to stderr.
        """
        done = subprocess.run(  # noqa: S603 - our own command
            [*self._command, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_CLI_SECONDS,
            check=False,
        )
        if done.returncode:
            said = done.stderr[-_TAIL:]
            raise RuntimeError(f"llmtrace {arguments[0]} ended with {done.returncode}: {said}")
        return done.stdout

    def way(self) -> Way:
        """Return this gateway as clients know it."""
        return Way(
            proxy_url=self.proxy_url,
            ca_pem=self.cli("ca", "export"),
            folder=self._folder / "clients",
        )

    def traces(self, *, count: int, seconds: float = 10, **filters: str) -> list[dict[str, Any]]:
        """Return finished traces once there are ``count``, or what there is in the end.

        ``filters`` are options of ``llmtrace traces list``: ``run="…"``, ``agent="…"``.
        """
        ends = time.monotonic() + seconds
        wanted = [word for key, value in filters.items() for word in (f"--{key}", value)]
        command = ("traces", "list", "--json", "--limit", "1000", *wanted)
        while True:
            rows = json.loads(self.cli(*command, "--config", str(self.config)))
            found = [row for row in rows if row["outcome"] != Outcome.PENDING]
            if len(found) >= count or time.monotonic() > ends:
                return found
            time.sleep(0.2)


def children_of(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = status.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append(int(status.parent.name))
    return found


def kill_everything(gateway: GatewayProcess) -> None:
    """Kill a gateway's supervisor and all its children at once, as ``kill -9`` does."""
    for pid in [gateway.pid, *children_of(gateway.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    gateway.stop()


class Program:
    """A client at work, whose lines of output are read as they come."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        folder: Path,
    ) -> None:
        self._errors = folder / "stderr.txt"
        with self._errors.open("wb") as sink:
            self._process = subprocess.Popen(  # noqa: S603 - a test's own command
                [*command],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                bufsize=0,
            )
        self._held = b""

    def line(self, seconds: float) -> str | None:
        """Return the next line of output, empty at its end, None where none came in time."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it was asked for
        ends = time.monotonic() + seconds
        while b"\n" not in self._held:
            left = max(0.0, ends - time.monotonic())
            if not select.select([output], [], [], left)[0]:
                return None
            data = output.read(65536)
            if not data:
                self._held, rest = b"", self._held
                return rest.decode(errors="replace")
            self._held += data
        found, _, self._held = self._held.partition(b"\n")
        return found.decode(errors="replace")

    def rest(self, seconds: float) -> str:
        """Return all output up to its end, or up to ``seconds`` from now."""
        lines, ends = [], time.monotonic() + seconds
        while line := self.line(max(0.0, ends - time.monotonic())):
            lines.append(line)
        return "\n".join(lines)

    @property
    def errors(self) -> str:
        """The end of what it wrote to stderr."""
        return self._errors.read_text(errors="replace")[-_TAIL:]

    def end(self, seconds: float = 30) -> int:
        """Wait for its end and return its exit code; it is killed when it takes longer."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(5)
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
