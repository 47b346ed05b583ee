"""The gateway as a command sees it: whether one runs, and how one is started."""

import http.client
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from llmtrace.config import Config
from llmtrace.config.digest import differing, digests
from llmtrace.config.section import Address, parse_address
from llmtrace.storage.base import Storage

MAX_HEALTH_BYTES: Final = 65_536
ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  an address is read, not bound


class GatewayHandle(Protocol):
    """A gateway that was started for one command.

    Its processes are in a session of their own, so that Ctrl-C at the terminal ends the
    command and not the gateway under it.
    """

    @property
    def proxy_url(self) -> str:
        """``http://host:port`` for ``HTTPS_PROXY``, without user name."""
        ...

    def degraded(self) -> Sequence[str]:
        """Why it looks for less than is configured; empty where it does not."""
        ...

    def stop(self) -> None:
        """End it; return when what was under way is finished and all of it is in the store."""
        ...

    def leave(self) -> None:
        """Leave it to those who use it too; it ends by itself when none does any more."""
        ...


class StartGateway(Protocol):
    """Starts a gateway and returns when it answers.

    The port is that of ``config.listen`` if it is free, else any. ``upstream_proxy`` is the
    proxy that it has to go through itself (it may have a password in it), None for none.

    Raises:
        OSError, RuntimeError: It did not start; the message says why and what to do.
    """

    def __call__(self, config: Config, *, upstream_proxy: str | None) -> GatewayHandle:
        """Start it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """The key of a run; ``revoke`` makes it useless. Raises: as ``RunServices.open_storage``."""

    token: str = field(repr=False)
    revoke: Callable[[], object] = lambda: None


def no_key(_config: Config, _run: str) -> RunKey:
    """Return what stands for a key where none is asked for: proxy credentials need a password."""
    return RunKey(token=secrets.token_urlsafe(12))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunServices:
    """What ``llmtrace run`` needs from the composition root; also the click context's ``obj``."""

    start_gateway: StartGateway
    open_storage: Callable[[Config], Storage]
    """Opens what is kept, for reading. Raises: OSError, ValueError, RuntimeError."""

    run_key: Callable[[Config, str], RunKey] = no_key
    """Makes an LLMTrace key for a run. Raises as ``open_storage``."""


def degraded(said: Mapping[str, object] | None) -> list[str]:
    """Return why a gateway that says this of its health looks for less than is configured."""
    reasons = (said or {}).get("degraded")
    return [str(one) for one in reasons] if isinstance(reasons, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The configuration that a person asked for, and where they said so.

    Attributes:
        path: The file they named, if they did.
    """

    config: Config
    path: Path | None = None

    def is_other(self, said: Mapping[str, object]) -> str:
        """Say in what a gateway that says this of itself does not do what was asked for.

        Empty where it does, and where nothing was asked for: then any gateway will do.
        """
        keys = differing(self.config, said.get("configuration"))
        if not keys or (self.path is None and not differing(self.config, digests(Config()))):
            return ""
        than = str(self.path) if self.path else "that of the LLMTRACE_* variables"
        return f"has another configuration than {than}: they differ in {', '.join(keys)}"

    def way_out(self, said: Mapping[str, object]) -> str:
        """Say what can be done then."""
        way = "leave --config (LLMTRACE_CONFIG) out" if self.path else "unset the variables"
        return f"stop it (process {said.get('pid', 'unknown')}), or {way} to use it as it is"


def reachable(text: str) -> Address:
    """Return a listen address as a client on this machine reaches it."""
    address = parse_address(text)
    return Address(ANY.get(address.host, address.host), address.port)


def proxy_url(listen: str) -> str:
    """Return what ``HTTPS_PROXY`` is for a gateway that listens there."""
    return f"http://{reachable(listen)}"


def health(listen: str, *, timeout_seconds: float = 1.0) -> Mapping[str, object] | None:
    """Ask ``GET /health`` of a gateway; None where none is ready.

    An answer that is no JSON object counts as an empty one. No proxy is used.
    """
    host, port = reachable(listen)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        body = answer.read(MAX_HEALTH_BYTES)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if answer.status != 200:
        return None
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
