"""What is measured: the provider alone, stock mitmdump before it, and our gateway before it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from machine import LOAD_CORE, children, cpu_seconds

from llmtrace.app.gateway import StartedGateway, start_gateway
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.config import load
from llmtrace.environment.home import Home

HERE = Path(__file__).parent
PLAIN_HOST = "api.openai.com"
TLS_HOST = "eu.api.openai.com"
"""Governed like the first; the configuration sends it to the provider's TLS port."""
PATH = "/v1/chat/completions"
WAIT_SECONDS = 20.0
NOTHING: Mapping[str, object] = {}
UNLOOKED: Mapping[str, object] = {"security_analysis.enabled": False}
"""Nothing is looked for: what is left is the data plane, and what it records."""


@dataclass(frozen=True)
class Target:
    """Where a load goes, and whose processor time counts. ``plan`` is for ``load.Plan``."""

    name: str
    plan: Mapping[str, object]
    proxy: Sequence[int] = ()
    beside: Sequence[int] = ()
    """Processes of the same product that carry no traffic: supervisor and recorder."""

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        return [*self.proxy, *self.beside]


@dataclass(frozen=True)
class Provider:
    """The stand-in provider: plain and TLS, both on the load's core."""

    plain: int
    tls: int
    ca: Path
    pids: tuple[int, ...]


def certificate(path: Path) -> None:
    """Write a key and a certificate for loopback, its own anchor of trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark provider")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)
    path.with_suffix(".key").write_bytes(secret + made.public_bytes(pem))
    path.write_bytes(made.public_bytes(pem))


def _on_load_core() -> None:
    os.sched_setaffinity(0, LOAD_CORE)


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


@contextmanager
def provider(folder: Path) -> Iterator[Provider]:
    """Run the provider, on a plain port and on a TLS port."""
    ca = folder / "provider.pem"
    certificate(ca)
    with ExitStack() as stack:
        started = []
        for arguments in ([], ["--cert", str(ca.with_suffix(".key"))]):
            process = subprocess.Popen(
                [sys.executable, str(HERE / "provider.py"), *arguments],
                stdout=subprocess.PIPE,
                preexec_fn=_on_load_core,  # no threads yet
            )
            stack.callback(ended, process)
            started.append(process)
        ports = [int(p.stdout.readline()) for p in started if p.stdout]
        yield Provider(ports[0], ports[1], ca, tuple(p.pid for p in started))


def settle(pids: Sequence[int]) -> float:
    """Wait until processes have nothing left to do; return the seconds that it took them."""
    began = before = sum(map(cpu_seconds, pids))
    for _ in range(120 if pids else 0):
        time.sleep(0.25)
        now = sum(map(cpu_seconds, pids))
        if now - before <= 0.02:
            return now - began
        before = now
    return before - began


def direct(at: Provider) -> dict[str, Target]:
    """Return the provider itself as a target, in each mode."""
    plain = {"host": "127.0.0.1", "port": at.plain, "path": PATH}
    tls = {"host": "127.0.0.1", "port": at.tls, "path": PATH, "ca": str(at.ca)}
    return {
        "reverse": Target("direct", plain),
        "tls": Target("direct", {**tls, "authority": "localhost"}),
    }


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(port: int) -> None:
    """Wait until something listens. Raises: TimeoutError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {WAIT_SECONDS:.0f} s")


@contextmanager
def stock(at: Provider, folder: Path) -> Iterator[dict[str, Target]]:
    """Run ``mitmdump -q`` without addons, one process for each mode."""
    program = Path(sys.executable).with_name("mitmdump")
    modes = {"reverse": f"reverse:http://127.0.0.1:{at.plain}", "tls": "regular"}
    with ExitStack() as stack:
        targets = {}
        for mode, name in modes.items():
            port, home = free_port(), folder / f"stock-{mode}"
            options = [f"confdir={home}", f"ssl_verify_upstream_trusted_ca={at.ca}"]
            sets = [word for option in options for word in ("--set", option)]
            process = subprocess.Popen(
                [str(program), "-q", "--mode", f"{name}@127.0.0.1:{port}", *sets],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(ended, process)
            await_port(port)
            plan: dict[str, object] = {"host": "127.0.0.1", "port": port, "path": PATH}
            if mode == "tls":
                plan |= {
                    "connect": f"localhost:{at.tls}",
                    "authority": f"localhost:{at.tls}",
                    "ca": str(home / "mitmproxy-ca-cert.pem"),
                }
            targets[mode] = Target("mitmdump -q", plan, proxy=(process.pid,))
        yield targets


@dataclass
class Ours:
    """Our gateway in a home of its own; can be started again.

    Its configuration is the default one, without the model, but for ``more``.
    """

    at: Provider
    folder: Path
    workers: int
    more: Mapping[str, object] = field(default_factory=dict)
    gateway: StartedGateway | None = field(default=None, init=False)
    supervisor: int = field(default=0, init=False)
    ready_seconds: float = field(default=0.0, init=False)

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return Home(self.folder).database

    def start(self) -> None:
        """Start it and wait until it is ready."""
        config = load(
            None,
            environ={"LLMTRACE_SECURITY_ANALYSIS_ML_MODEL": "null"},  # has a benchmark of its own
            overrides={
                "listen": "127.0.0.1:0",
                "reverse.listen": "127.0.0.1:0",
                "api.listen": "127.0.0.1:0",
                "workers": self.workers,
                "upstreams": {
                    PLAIN_HOST: f"http://127.0.0.1:{self.at.plain}",
                    TLS_HOST: f"https://localhost:{self.at.tls}",
                },
                "upstream_ca": str(self.at.ca),
                **self.more,
            },
        )
        began = time.monotonic()
        self.gateway = start_gateway(config, at=Home(self.folder))
        self.ready_seconds = time.monotonic() - began
        self.supervisor = json.loads((self.folder / "gateway.json").read_text())["pid"]
        authority = CertificateAuthority.load(Home(self.folder).ca)
        (self.folder / "root.pem").write_text(authority.export_pem())

    def stop(self) -> None:
        """Stop it; all it recorded is in the store then."""
        if self.gateway:
            self.gateway.stop()
            self.gateway = None

    def healthy(self) -> bool:
        """Whether it says that all its processes are ready."""
        if self.gateway is None:
            return False
        url = f"http://{self.gateway.addresses.api}/health"
        try:
            with urlopen(url, timeout=2) as answer:  # our own
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    def processes(self) -> dict[str, int]:
        """Return its processes by name."""
        return {"supervisor": self.supervisor, **children(self.supervisor)}

    def settle(self) -> None:
        """Wait until the recorder has nothing left to do."""
        settle([children(self.supervisor).get("recorder", 0)])

    def targets(self, name: str) -> dict[str, Target]:
        """Return it as a target, in each mode."""
        if self.gateway is None or self.gateway.addresses.reverse is None:
            raise RuntimeError("the gateway is not started")
        pids = self.processes()
        workers = tuple(pid for name, pid in pids.items() if name.startswith("worker"))
        beside = tuple(pid for name, pid in pids.items() if not name.startswith("worker"))
        reverse = int(self.gateway.addresses.reverse.rpartition(":")[2])
        forward = int(self.gateway.addresses.forward.rpartition(":")[2])
        plain = {"host": "127.0.0.1", "port": reverse, "path": f"/openai{PATH}"}
        tls = {
            "host": "127.0.0.1",
            "port": forward,
            "path": PATH,
            "connect": f"{TLS_HOST}:443",
            "authority": TLS_HOST,
            "ca": str(self.folder / "root.pem"),
        }
        return {
            "reverse": Target(
                name, {**plain, "authority": f"127.0.0.1:{reverse}"}, workers, beside
            ),
            "tls": Target(name, tls, workers, beside),
        }


@contextmanager
def ours(
    at: Provider, folder: Path, workers: int, more: Mapping[str, object] = NOTHING
) -> Iterator[Ours]:
    """Run our gateway with everything on, and what the configuration says besides."""
    made = Ours(at, folder, workers, more)
    made.start()
    try:
        yield made
    finally:
        made.stop()
