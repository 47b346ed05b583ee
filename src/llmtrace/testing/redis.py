"""A Redis of one's own: the real server, on a free port, with nothing left behind."""

import atexit
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from llmtrace.testing.background import LOOPBACK, free_port

MISSING: Final = "redis-server is not installed (Debian: apt-get install redis-server)"
"""Why a test that needs Redis is skipped."""

_START_SECONDS: Final = 10.0


def installed() -> bool:
    """Whether there is a Redis to start."""
    return shutil.which("redis-server") is not None


class RedisServer:
    """Runs from ``start`` to ``stop``; also a context manager. Started again, it has its port.

    ``options`` are lines of its configuration, such as ``{"appendonly": "yes"}``; ``cluster``
    makes it a cluster of one, which refuses what crosses slots.
    """

    def __init__(self, options: dict[str, str] | None = None, *, cluster: bool = False) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="llmtrace-redis-"))
        self._cluster = cluster
        self._options = {
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",
            "cluster-enabled": "no",
        } | (options or {})
        if cluster:
            self._options |= {"cluster-enabled": "yes", "cluster-port": str(free_port())}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id, 0 before the start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Return once it answers.

        Raises:
            RuntimeError: It is not installed, ended, or did not answer in time.
        """
        self.begin()
        self.wait()

    def begin(self, options: dict[str, str] | None = None) -> None:
        """Start it, with further options, and return at once. Raises: RuntimeError."""
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(MISSING)
        options = self._options | (options or {}) | {"port": str(self.port), "bind": LOOPBACK}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - found on the PATH
                [program, *words, "--dir", str(self.folder)], stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Return once it answers. Raises: RuntimeError: It ended, or did not in time."""
        ends = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process is None or self._process.poll() is not None or time.monotonic() > ends:
                self.kill()
                log_text = (self.folder / "redis.log").read_text(errors="replace")[-1000:]
                raise RuntimeError(f"redis-server did not get ready; its log ends: {log_text}")
            time.sleep(0.01)

    def client(self) -> "Redis":
        """Return a client of it; close it after use."""
        return Redis(
            host=LOOPBACK,
            port=self.port,
            password=self._options.get("requirepass"),
            decode_responses=True,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )

    def kill(self) -> None:
        """End it at once, as a power cut would; its folder stays for the next start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_START_SECONDS)
            self._process = None

    def stop(self) -> None:
        """End it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

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

    def _ready(self) -> bool:
        client = self.client()
        try:
            if self._cluster and not client.cluster("slots"):
                client.cluster("addslotsrange", 0, 16383)
                return False
            client.set("ready", "1", px=1)
        except RedisError:
            return False
        finally:
            client.close()
        return True


def shared_server(*, cluster: bool = False) -> RedisServer:
    """Return a server for all tests of this process, which ends with it."""
    return _shared(cluster)


@cache
def _shared(cluster: bool) -> RedisServer:
    server = RedisServer(cluster=cluster)
    atexit.register(server.stop)
    server.start()
    return server
