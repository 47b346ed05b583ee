"""Who may be reached, and what is read: the host policy of tunnels, greetings and connections."""

import functools
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol
from weakref import WeakSet

from mitmproxy import connection, exceptions, http, tls
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layer, server_hooks
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers import tcp
from mitmproxy.proxy.mode_specs import ReverseMode

from llmtrace.addons.dialing import DESTINATION_FORBIDDEN
from llmtrace.addons.guard import FATAL, report
from llmtrace.addons.limits import Count, discard
from llmtrace.providers.addresses import forbidden_address, forbidden_host, is_ip_literal
from llmtrace.providers.hostnames import BadHost, canonical_host
from llmtrace.providers.hosts import HostDecision

TLS_RECORD: Final = b"\x16\x03"
MOST_HOSTS: Final = 1000
PRIVATE_LINK: Final = frozenset({"private", "cgnat"})
"""Where a known provider may be: cloud vendors give their APIs addresses in a private network."""

type Trusted = Callable[[str, int], bool]
"""Whether the configuration itself names a host and port: it may then be anywhere."""


class Hosts(Protocol):
    """What a host table tells (``llmtrace.providers.hosts.HostTable``)."""

    def classify(
        self, *, connect: str | None = None, sni: str | None = None, host_header: str | None = None
    ) -> HostDecision:
        """Decide by all that a connection says of where it goes."""
        ...

    def provider_of(self, host: str, port: int = 443) -> str | None:
        """Return who answers at a canonical host, None where it is no provider."""
        ...


@dataclass(slots=True)
class Traffic:
    """What went through tunnels to one host, unread. Bytes are of TLS records."""

    connections: int = 0
    up: int = 0
    down: int = 0


@dataclass(slots=True)
class TunnelLedger:
    """What else the clients talk to, by host; past ``MOST_HOSTS`` the rest is one entry."""

    _by_host: dict[str, Traffic] = field(default_factory=dict)

    def _entry(self, host: str) -> Traffic:
        if host not in self._by_host and len(self._by_host) >= MOST_HOSTS:
            host = "other"
        return self._by_host.setdefault(host, Traffic())

    def opened(self, host: str) -> None:
        """Count a tunnel."""
        self._entry(host).connections += 1

    def relayed(self, host: str, up: int, down: int) -> None:
        """Count bytes of a tunnel."""
        entry = self._entry(host.lower().removesuffix("."))
        entry.up += up
        entry.down += down

    def snapshot(self) -> Mapping[str, Traffic]:
        """Return the traffic by host."""
        return dict(self._by_host)


class Closed(layer.Layer):
    """Closes the client's connection and takes nothing more from it."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


def never(_host: str, _port: int) -> bool:
    """Trust no destination beyond the rules."""
    return False


def closes_on_failure[A, D](
    close: Callable[[A, D], None],
) -> Callable[[Callable[[A, D], None]], Callable[[A, D], None]]:
    """Wrap a hook so that ``close`` refuses what it could not decide on."""

    def wrap(hook: Callable[[A, D], None]) -> Callable[[A, D], None]:
        @functools.wraps(hook)
        def run(self: A, data: D) -> None:
            try:
                hook(self, data)
            except (exceptions.AddonHalt, *FATAL):
                raise
            except BaseException as error:  # noqa: BLE001  # reported, and the answer is no
                report(hook.__name__, error)
                close(self, data)

        return run

    return wrap


def _answer(flow: http.HTTPFlow, status: int, message: str) -> None:
    flow.response = http.Response.make(
        status, f"LLMTrace: {message}\n", {"content-type": "text/plain; charset=utf-8"}
    )


class HostPolicy:
    """Lets connections to providers be read, the rest pass unread or not at all.

    Args:
        hosts: Who is a provider.
        egress: What becomes of the rest: ``tunnel`` or ``deny``.
        trusted: Destinations that the configuration names, exempt from the rules on ports and
            addresses; never our own listeners.
        own_ports: Ports that this gateway listens on.
        excluded: Whether a provider's host is to be left unread.
        connect_ports: Where tunnels to the rest may lead.
        http_ports: Where plain HTTP to the rest may lead.
    """

    def __init__(
        self,
        *,
        hosts: Hosts,
        egress: Literal["tunnel", "deny"] = "tunnel",
        trusted: Trusted = never,
        own_ports: Callable[[], Iterable[int]] = tuple,
        excluded: Callable[[str], bool] = lambda _host: False,
        count: Count = discard,
        connect_ports: frozenset[int] = frozenset({443}),
        http_ports: frozenset[int] = frozenset({80}),
    ) -> None:
        self.ledger = TunnelLedger()
        self.unread: WeakSet[connection.Client] = WeakSet()
        """Who has a tunnel that is not read."""
        self._hosts = hosts
        self._egress = egress
        self._trusted = trusted
        self._own_ports = own_ports
        self._excluded = excluded
        self._count = count
        self._connect_ports = connect_ports
        self._http_ports = http_ports
        self._refused: WeakSet[connection.Client] = WeakSet()

    # --- rules --------------------------------------------------------------------------------

    def may_mint(self, name: str) -> bool:
        """Whether a certificate may be made for a name: a provider's, and not excluded."""
        try:
            return self._governs(canonical_host(name), 443)
        except BadHost:
            return False

    def refuses(self, host: str, port: int, address: str) -> str | None:
        """Say why a host and port must not be reached at an address, None where it may."""
        if port in set(self._own_ports()) and _is_local(address):
            return "gateway's own"
        name = host.lower().removesuffix(".")
        if self._trusted(name, port):
            return None
        reason = forbidden_address(address.partition("%")[0])
        if reason in PRIVATE_LINK and not is_ip_literal(name) and self._governs(name, port):
            return None
        return reason

    def _governs(self, host: str, port: int) -> bool:
        known = self._trusted(host, port) or self._hosts.provider_of(host, port)
        return bool(known) and not self._excluded(host)

    def _objection(self, raw_host: str, port: int, ports: frozenset[int]) -> str:
        """Say why a destination is refused by its name and port alone, or nothing."""
        try:
            host = canonical_host(raw_host)
        except BadHost:
            return "bad_host"
        if self._trusted(host, port):
            return ""
        if forbidden_host(host):
            return DESTINATION_FORBIDDEN
        if self._governs(host, port):
            return ""
        if port not in ports:
            return "port_forbidden"
        denied = self._egress == "deny" and not is_ip_literal(host)
        return "egress_denied" if denied else ""

    def _refuse(self, flow: http.HTTPFlow, reason: str) -> None:
        self._count(reason)
        _answer(flow, 403, f"{reason}: {_SAYS.get(reason, 'this destination is refused')}")

    # --- hooks --------------------------------------------------------------------------------

    def _fail_flow(self, flow: http.HTTPFlow) -> None:
        self._count("policy_failed")
        _answer(flow, 503, "the destination could not be judged")

    @closes_on_failure(_fail_flow)
    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Refuse tunnels that may not be, before anything is sent anywhere."""
        if flow.response or flow.error:
            return
        if reason := self._objection(flow.request.host, flow.request.port, self._connect_ports):
            self._refuse(flow, reason)

    @closes_on_failure(_fail_flow)
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Refuse plain requests that may not be."""
        if flow.response or flow.error or isinstance(flow.client_conn.proxy_mode, ReverseMode):
            return
        request = flow.request
        ports = self._http_ports if request.scheme == "http" else self._connect_ports
        if reason := self._objection(request.host, request.port, ports):
            self._refuse(flow, reason)

    def _fail_layer(self, data: layer.NextLayer) -> None:
        self._count("policy_failed")
        data.layer = Closed(data.context)

    @closes_on_failure(_fail_layer)
    def next_layer(self, data: layer.NextLayer) -> None:
        """Decide what the first bytes in a tunnel are; later layers are mitmproxy's choice."""
        if data.layer or not _begins_tunnel(data.context):
            return
        first = data.data_client()
        if starts_like_tls_record(first):
            return  # tls_clienthello decides
        if len(first) < 3 and TLS_RECORD.startswith(first[:2]):
            raise exceptions.AddonHalt  # too little to tell
        host, port = (data.context.server.address or ("", 0))[:2]
        if not self._governs(host.lower().removesuffix("."), port):
            self._pass_raw(data, host)
        elif port == 443 or not first[:3].isalpha():
            self._count("tunnel_not_tls")
            data.layer = Closed(data.context)

    def _pass_raw(self, data: layer.NextLayer, host: str) -> None:
        if self._egress == "deny":
            self._count("egress_denied")
            data.layer = Closed(data.context)
            return
        self.ledger.opened(host.lower().removesuffix("."))
        self.unread.add(data.context.client)
        data.layer = tcp.TCPLayer(data.context, ignore=True)

    def _fail_hello(self, data: tls.ClientHelloData) -> None:
        self._count("policy_failed")
        self._refused.add(data.context.client)

    @closes_on_failure(_fail_hello)
    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Read the tunnel if any of its names is a provider's; leave it alone if none is."""
        address = data.context.server.address
        if not address or isinstance(data.context.client.proxy_mode, ReverseMode):
            return  # TLS to the gateway itself: what may be minted decides
        connect = f"[{address[0]}]" if ":" in address[0] else address[0]
        sni = data.client_hello.sni
        decision = self._hosts.classify(connect=f"{connect}:{address[1]}", sni=sni)
        if decision.kind == "refused":
            self._count(decision.reason)
            self._refused.add(data.context.client)
        elif decision.kind == "governed" and not self._excluded(decision.host):
            return
        elif self._egress == "deny":
            self._count("egress_denied")
            self._refused.add(data.context.client)
        else:
            self.ledger.opened(decision.host)
            self.unread.add(data.context.client)
            data.ignore_connection = True

    def tls_start_client(self, data: tls.TlsData) -> None:
        """Keep the addon that makes certificates from answering a refused greeting."""
        if data.conn in self._refused:
            raise exceptions.AddonHalt

    def _fail_server(self, data: server_hooks.ServerConnectionHookData) -> None:
        self._count("policy_failed")
        data.server.error = "the destination could not be judged"

    @closes_on_failure(_fail_server)
    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Refuse addresses written out as such; names are judged when they are resolved."""
        host, port = (data.server.address or ("", 0))[:2]
        if not host:
            data.server.error = "no destination is known"
            return
        if self._trusted(host.lower().removesuffix("."), port):
            return
        if forbidden_host(host.lower().removesuffix(".")):
            self._count(DESTINATION_FORBIDDEN)
            data.server.error = f"{DESTINATION_FORBIDDEN}: {host}:{port}"

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Take out the offer of HTTP/3, which would lead clients past the gateway."""
        if flow.response:
            flow.response.headers.pop("alt-svc", None)


_SAYS: Final = {
    "bad_host": "the host is malformed",
    DESTINATION_FORBIDDEN: "local and private addresses are not reached through the gateway; "
    "name the host in intercept.hosts or upstreams if you mean it",
    "port_forbidden": "no such port is reached through the gateway; name host:port in "
    "intercept.hosts if a model is served there",
    "egress_denied": "egress is 'deny' and this is no model provider",
}


def _begins_tunnel(context: Any) -> bool:  # Any: mitmproxy's Context has no stable home
    """Whether the bytes to come are the first within a CONNECT tunnel."""
    last = context.layers[-1]
    return isinstance(last, http_layers.HttpStream) and bool(context.server.address)


def _is_local(address: str) -> bool:
    """Whether an IP address is one of this machine: nothing can be bound to another's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
