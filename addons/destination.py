"""Tells where a request goes, by all that it says of it: CONNECT, SNI, Host, and its path."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import urlsplit

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode

from llmtrace.domain.values import dataclass
from llmtrace.providers.detect import BadPath, canonical_path, split_reverse
from llmtrace.providers.hosts import HostDecision, HostTable

MEMORY: Final = 1024
UTF8: Final = ("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Who is meant by a request, or why it is refused.

    ``host`` is canonical, ``path`` too; ``target`` is the path as it is to be sent, with its
    query. ``provider`` is set where the client named it by its base URL.
    """

    kind: Literal["governed", "other", "refused"]
    host: str = ""
    port: int = 443
    scheme: str = "https"
    target: str = "/"
    path: str = "/"
    provider: str = ""
    reason: str = ""


class Destinations:
    """Reads destinations off flows.

    Args:
        hosts: Who answers where.
        bases: Provider → base URL, for providers that have no host of their own: a path such
            as ``/vllm/v1/…`` leads there.
    """

    def __init__(self, *, hosts: HostTable, bases: Mapping[str, str] | None = None) -> None:
        self._hosts = hosts
        self._bases = dict(bases or {})
        # One connection asks the same with every call.
        self._classify = lru_cache(maxsize=MEMORY)(self._judge)

    def of(self, flow: http.HTTPFlow) -> Destination:
        """Return where the flow's request goes."""
        try:
            if isinstance(flow.client_conn.proxy_mode, ReverseMode):
                return self._reverse(flow.request)
            return self._forward(flow)
        except BadPath as error:
            return Destination(kind="refused", reason=f"bad path: {error}")

    def _judge(self, connect: str, sni: str | None, said: str | None) -> HostDecision:
        return self._hosts.classify(connect=connect, sni=sni, host_header=said)

    def _forward(self, flow: http.HTTPFlow) -> Destination:
        request = flow.request
        connect = f"{_bracketed(request.host)}:{request.port}"
        said = request.host_header or ""
        if said and ":" not in said.rpartition("]")[2]:
            said = f"{said}:{request.port}"  # a port that is left out is the one connected to
        decision = self._classify(connect, flow.client_conn.sni, said or None)
        if decision.kind != "governed":
            return Destination(kind=decision.kind, host=decision.host, reason=decision.reason)
        return Destination(
            kind="governed",
            host=decision.host,
            port=request.port,
            scheme=request.scheme,
            target=request.path,
            path=canonical_path(request.path),
        )

    def _reverse(self, request: http.Request) -> Destination:
        headers = folded(request.headers)
        provider, target = split_reverse(
            request.path, hosts=self._hosts, method=request.method, headers=headers
        )
        base = urlsplit(self._base(provider))
        if not base.hostname:
            return Destination(
                kind="refused",
                reason="no provider is known by this path; write /PROVIDER/v1/… "
                "(/openai/v1/…, /anthropic/v1/…)",
            )
        target = base.path.rstrip("/") + target
        return Destination(
            kind="governed",
            host=base.hostname,
            port=base.port or (443 if base.scheme == "https" else 80),
            scheme=base.scheme,
            target=target,
            path=canonical_path(target),
            provider=provider or "",
        )

    def _base(self, provider: str | None) -> str:
        if not provider:
            return ""
        return self._bases.get(provider) or self._hosts.base_url(provider)


def folded(headers: http.Headers) -> dict[str, str]:
    """Return headers by lower-case name; the values of repeated ones joined by commas."""
    found: dict[str, str] = {}
    for raw, value in headers.fields:
        name, text = raw.lower().decode(*UTF8), value.decode(*UTF8)
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
