"""Where a call is really sent: mirrors, base-URL mode, and the proxy that we must use ourselves.

The destination is rewritten on the request, before a connection is chosen for it. Changing a
connection's address when it is opened would keep it from ever being used again, and mitmproxy
hangs a client after five such connections.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from mitmproxy import http
from mitmproxy.net.http.url import hostport
from mitmproxy.proxy.mode_specs import ReverseMode, UpstreamMode

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
NOWHERE: Final = "llmtrace.invalid"
"""The target of the reverse listener: each request is sent elsewhere, or refused (RFC 6761)."""


class Target(Protocol):
    """Where a request goes by itself, before any mirror: ``target`` is path and query."""

    @property
    def host(self) -> str:
        """The canonical host."""
        ...

    @property
    def port(self) -> int:
        """The port."""
        ...

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        ...

    @property
    def target(self) -> str:
        """Path and query as they are to be sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseUrl:
    """A URL that stands in for a host: scheme, host, port, and a prefix of the path."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> "BaseUrl":
        """Read ``http[s]://host[:port][/prefix]``.

        Raises:
            ValueError: It is something else.
        """
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.query:
            raise ValueError(f"{url!r} is no base URL; expected https://host[:port][/path]")
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=parts.port or DEFAULT_PORTS[parts.scheme],
            prefix=parts.path.rstrip("/"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyUrl:
    """A proxy between the gateway and the world. Its credentials are never printed."""

    scheme: str
    host: str
    port: int
    authorization: bytes = b""

    @classmethod
    def parse(cls, url: str) -> "ProxyUrl":
        """Read ``http[s]://[user:password@]host[:port]``.

        Raises:
            ValueError: It is something else. The message does not quote it.
        """
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("upstream_proxy is no proxy URL; expected http://host:port")
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = b"Basic " + base64.b64encode(user.encode()) if user != ":" else b""
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=parts.port or DEFAULT_PORTS[parts.scheme],
            authorization=basic,
        )

    def __repr__(self) -> str:
        return f"ProxyUrl({self.scheme}://{self.host}:{self.port})"

    @property
    def mode(self) -> str:
        """The mode of a forward listener that passes everything on to this proxy."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"upstream:{self.scheme}://{host}:{self.port}"


class Upstreams:
    """Sends requests to where their host is really reached. Also an addon, for its proxy.

    Args:
        bases: Canonical host → base URL that stands in for it.
        proxy: The proxy that every provider connection goes through, if any.
    """

    name = "llmtrace_upstreams"

    def __init__(
        self, *, bases: Mapping[str, str] | None = None, proxy: ProxyUrl | None = None
    ) -> None:
        self._bases = {host: BaseUrl.parse(url) for host, url in (bases or {}).items()}
        self._proxy = proxy

    def trusted(self, host: str, port: int) -> bool:
        """Whether the configuration itself names this destination."""
        proxy = self._proxy
        return any((base.host, base.port) == (host, port) for base in self._bases.values()) or (
            proxy is not None and (proxy.host, proxy.port) == (host, port)
        )

    def reach(self, flow: http.HTTPFlow, where: Target) -> None:
        """Point a flow's request at its destination; to be called in ``requestheaders``.

        A request that goes where it says is left as it is, to the byte.
        """
        base = self._bases.get(where.host)
        reverse = isinstance(flow.client_conn.proxy_mode, ReverseMode)
        if base:
            _send(flow.request, base.scheme, base.host, base.port, base.prefix + where.target)
        elif reverse:
            _send(flow.request, where.scheme, where.host, where.port, where.target)
        proxy = self._proxy
        if proxy and reverse:
            flow.server_conn.via = (proxy.scheme, (proxy.host, proxy.port))  # type: ignore[assignment]  # a ServerSpec
        self._authorize(flow)

    def _authorize(self, flow: http.HTTPFlow) -> None:
        """Present the proxy's credentials where no CONNECT does."""
        plain = flow.request.scheme == "http" and isinstance(
            flow.client_conn.proxy_mode, UpstreamMode
        )
        if self._proxy and self._proxy.authorization and plain:
            flow.request.headers["proxy-authorization"] = self._proxy.authorization

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """Present the proxy's credentials on the way out."""
        if self._proxy and self._proxy.authorization:
            flow.request.headers["proxy-authorization"] = self._proxy.authorization


def _send(request: http.Request, scheme: str, host: str, port: int, path: str) -> None:
    request.scheme = scheme
    request.data.host = host  # not by its setter, which writes the header that is written below
    request.data.port = port
    request.path = path
    if request.data.authority:
        request.authority = hostport(scheme, host, port)
    if "host" in request.headers:
        shown = f"[{host}]" if ":" in host else host
        request.headers["host"] = shown if DEFAULT_PORTS[scheme] == port else f"{shown}:{port}"
