"""The doctor's checks of this machine: versions, ports, disk, what is kept, variables."""

import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from llmtrace.config.section import parse_address
from llmtrace.environment.block import upstream_proxy
from llmtrace.environment.checks import Check, fail, ok, warn
from llmtrace.environment.gateway import Asked, degraded, health, reachable
from llmtrace.environment.installation import Installation
from llmtrace.environment.report import bypassed

LOW_DISK_BYTES: Final = 1 << 30
_LOOPBACK: Final = ("127.", "::1", "localhost")


def check_versions() -> Iterator[Check]:
    """Python, and mitmproxy as the gateway needs it."""
    yield ok("versions", "python", ".".join(map(str, sys.version_info[:3])))
    try:
        proxy = version("mitmproxy")
    except PackageNotFoundError:
        yield fail("versions", "mitmproxy", "not installed", "run ./scripts/llmtrace once")
        return
    numbers = tuple(int(part) for part in proxy.split(".")[:3] if part.isdigit())
    if (12, 2, 2) <= numbers < (13,):
        yield ok("versions", "mitmproxy", proxy)
    else:
        yield fail("versions", "mitmproxy", proxy, "install mitmproxy>=12.2.2,<13")


def check_ports(place: Installation) -> Iterator[Check]:
    """Whether a gateway answers, or its ports are free; and who can reach them."""
    config = place.config
    said = health(config.api.listen)
    running = said is not None
    if running:
        yield ok("gateway", "running", f"answers at http://{reachable(config.api.listen)}/health")
    for reason in degraded(said):
        yield warn(
            *("gateway", "degraded", f"less is looked for than is configured: {reason}"),
            fix="see 'llmtrace models list', then restart the gateway or send it SIGHUP",
        )
    addresses = {"listen": config.listen, "api.listen": config.api.listen}
    if config.reverse.listen:
        addresses["reverse.listen"] = config.reverse.listen
    for key, address in addresses.items():
        host = parse_address(address).host
        if not host.startswith(_LOOPBACK):
            yield warn(
                *("gateway", key, f"{address}: anyone who reaches this machine can use it"),
                fix=f"set {key} to 127.0.0.1:{parse_address(address).port}, or guard the port",
            )
        elif running or (problem := _taken(address)) is None:
            yield ok("gateway", key, f"{address}, loopback only{'' if running else ', free'}")
        else:
            yield fail(
                *("gateway", key, f"{address}: {problem}, and no gateway answers"),
                fix=f"end the program that has the port, or set {key}",
            )


def check_configuration(asked: Asked, said: Mapping[str, object] | None) -> Iterator[Check]:
    """Whether a gateway that says this of itself does what was asked for."""
    if said is not None and (other := asked.is_other(said)):
        yield warn(
            *("gateway", "configuration", f"the running gateway {other}"),
            fix=asked.way_out(said),
        )


def _taken(address: str) -> str | None:
    """Try to listen; return why it does not work, None if it does."""
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def check_variables(place: Installation, environ: Mapping[str, str]) -> Iterator[Check]:
    """Variables of the user's that work against the block, or through it."""
    area = "variables"
    upstream = upstream_proxy(environ, listen=str(reachable(place.config.listen)))
    if upstream:
        host = upstream.rpartition("@")[2].rpartition("://")[2]
        yield ok(area, "HTTPS_PROXY", f"{host}: 'llmtrace run' goes out through it")
    if entries := bypassed(environ.get("NO_PROXY") or environ.get("no_proxy") or "", place.governs):
        yield fail(
            *(area, "NO_PROXY", f"keeps providers from the gateway: {', '.join(entries)}"),
            fix="take these entries out of NO_PROXY",
        )
    if environ.get("NODE_TLS_REJECT_UNAUTHORIZED") == "0":
        yield warn(
            *(area, "NODE_TLS_REJECT_UNAUTHORIZED", "is 0: Node accepts any certificate"),
            fix="unset it; the CA makes it needless",
        )
    if environ.get("PYTHONHTTPSVERIFY") == "0":
        yield warn(
            *(area, "PYTHONHTTPSVERIFY", "is 0: Python accepts any certificate"),
            fix="unset it; the CA makes it needless",
        )
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        if environ.get(name, "").startswith("http://"):
            yield warn(
                *(area, name, "points at plain HTTP, past the forward proxy if it is local"),
                fix=f"unset {name}, or point it at reverse.listen",
            )
    if not upstream and not entries:
        yield ok(area, "proxy", "nothing keeps a provider from the gateway")


def check_storage(place: Installation, readable: Callable[[], bool]) -> Iterator[Check]:
    """Room on the disk, and whether what is kept can be read (``readable`` opens it and looks)."""
    folder = next(p for p in (place.home.path, *place.home.path.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free at {place.home.path}"
    need = max(LOW_DISK_BYTES, 2 * place.config.spool.min_free_bytes)
    if free < need:
        yield warn("storage", "disk", text, "make room: calls are refused when the journal is full")
    else:
        yield ok("storage", "disk", text)
    path = place.config.storage.database_path or place.home.database
    if place.config.storage.profile == "memory":
        yield ok("storage", "database", "none: storage.profile is 'memory'")
    elif path.exists():
        yield _database(path, readable)
    else:
        yield ok("storage", "database", f"{path}: none yet, made by the first call")


def _database(path: Path, readable: Callable[[], bool]) -> Check:
    fix = "stop the gateway, move the file away and start again; the journal is kept"
    try:
        if readable():
            size = path.stat().st_size / 2**20
            return ok("storage", "database", f"{path}: can be read ({size:.1f} MiB)")
    except (OSError, RuntimeError) as error:
        return fail("storage", "database", str(error), fix)
    return fail("storage", "database", f"{path}: does not answer", fix)
