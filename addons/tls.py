"""TLS on both sides: leaves for governed names only, contexts kept, handshakes made cheap."""

import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from mitmproxy import connection, tls
from mitmproxy.net import tls as net_tls
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.layers.tls import HTTP1_ALPNS, HTTP_ALPNS
from OpenSSL import SSL

from llmtrace.addons.limits import Count, discard

logger = logging.getLogger(__name__)

CA_FILE: Final = "mitmproxy-ca.pem"
LEAF_LIFETIME: Final = timedelta(days=7)
LEAF_RENEWAL: Final = timedelta(days=1)
CLOCK_SKEW: Final = timedelta(days=1)
MOST_CONTEXTS: Final = 512
MOST_SESSIONS: Final = 64
"""Providers whose last session is kept, each with some 40 KB of its connection."""
SESSION_LIFETIME: Final = 600.0
"""Seconds after which a provider's certificate is looked at again."""
_CURVE: Final = ec.SECP256R1
_TLS_1_2: Final = net_tls.Version.TLS1_2
_UNBOUNDED: Final = net_tls.Version.UNBOUNDED
_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)

_HOSTFLAGS: Final = (
    SSL._lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS  # type: ignore[attr-defined]
    | SSL._lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT  # type: ignore[attr-defined]
)

type MayMint = Callable[[str], bool]
"""Whether a certificate may be made for a name (lower case, no trailing dot)."""
type ClientFailed = Callable[[str, str], None]
"""Told the server name and the reason when a client's TLS handshake fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """What signs leaves: a key, its certificate, and what leads from it to the root."""

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    cert: x509.Certificate
    chain: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, path: Path) -> "Issuer":
        """Read a PEM file of a key, its CA certificate and the rest of the chain.

        Raises:
            OSError: It cannot be read.
            ValueError: It holds no usable key and CA certificate.
        """
        pem = path.read_bytes()
        try:
            key = serialization.load_pem_private_key(pem, None)
            certs = x509.load_pem_x509_certificates(pem)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}: expected a PEM key without passphrase and its CA certificate; "
                "run 'llmtrace ca rotate' to make a new CA"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError(f"{path}: the CA's key is neither EC nor RSA; use an EC P-256 key")
        sent = tuple(cert for cert in certs if cert.subject != cert.issuer)
        return cls(key=key, cert=certs[0], chain=sent)


def mint(issuer: Issuer, name: str, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
    """Make a server certificate for one name: a day back, a week on, never past its issuer."""
    now = datetime.now(UTC)
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        common: list[x509.NameAttribute[str]] = []  # OpenSSL would take it for a DNS name
    except ValueError:
        subject = x509.DNSName(name)
        common = [x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(common))
        .issuer_name(issuer.cert.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - CLOCK_SKEW, issuer.cert.not_valid_before_utc))
        .not_valid_after(min(now + LEAF_LIFETIME, issuer.cert.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=not common)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_authority(issuer.cert), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def _authority(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Name the issuer's key as the issuer itself does: strict clients compare the two."""
    try:
        found = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        key = ca.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
        raise
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What decides the protocol of a client's connection: its tunnel, else what its server speaks.

    ``server`` is empty where the server would negotiate nothing, None where there is none yet.
    """

    required: bytes | None
    server: bytes | None
    http2: bool


def _protocol(conn: SSL.Connection, offers: list[bytes]) -> "bytes | SSL._NoOverlappingProtocols":
    """Choose from what a client offers, in its own order; OpenSSL's callback for ALPN."""
    said: Spoken = conn.get_app_data()
    if said.required is not None:
        allowed: Sequence[bytes] = (said.required,)
    elif said.server is not None and (said.server in offers or not said.server):
        allowed = (said.server,)
    else:
        allowed = HTTP_ALPNS if said.http2 else HTTP1_ALPNS
    return next((offer for offer in offers if offer in allowed), SSL.NO_OVERLAPPING_PROTOCOLS)


def _base_context(method: net_tls.Method) -> SSL.Context:
    return net_tls._create_ssl_context(
        method=method,
        min_version=_TLS_1_2,
        max_version=_UNBOUNDED,
        cipher_list=_CIPHERS,
        ecdh_curve=None,
    )


class LeafContexts:
    """Server contexts by name, each with its certificate loaded; one key for all leaves.

    The key lives in memory alone. Contexts are kept for the ``MOST_CONTEXTS`` names used last
    and made anew before their leaf ends, so a handshake costs one signature and no parsing.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._key = ec.generate_private_key(_CURVE())
        self._contexts: OrderedDict[str, tuple[SSL.Context, datetime]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._contexts)

    def get(self, name: str) -> SSL.Context:
        """Return the context for a name, in lower case."""
        found = self._contexts.get(name)
        if found and found[1] > datetime.now(UTC):
            self._contexts.move_to_end(name)
            return found[0]
        context, end = self._make(name)
        self._contexts[name] = context, end
        self._contexts.move_to_end(name)
        if len(self._contexts) > MOST_CONTEXTS:
            self._contexts.popitem(last=False)
        return context

    def _make(self, name: str) -> tuple[SSL.Context, datetime]:
        leaf = mint(self._issuer, name, self._key.public_key())
        context = _base_context(net_tls.Method.TLS_SERVER_METHOD)
        context.use_certificate(leaf)
        context.use_privatekey(self._key)
        for cert in self._issuer.chain:
            context.add_extra_chain_cert(cert)
        context.set_alpn_select_callback(_protocol)
        context.set_verify(SSL.VERIFY_NONE, None)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return context, leaf.not_valid_after_utc - LEAF_RENEWAL


type Peer = tuple[object, str, tuple[bytes, ...]]
"""A provider's address, the name that its certificate is checked for, and what it is offered."""


class Sessions:
    """Sessions that a new connection to a provider may go on with: a signature less to check.

    Only of connections that were established, so that the certificate was verified for the same
    name under the same roots; a provider that takes none back is verified anew, and so is any
    after ``SESSION_LIFETIME``, however many connections went on with the one that was verified.
    Tickets come after the handshake, so the session is asked for when the next connection begins.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: OrderedDict[Peer, tuple[SSL.Connection, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def established(self, peer: Peer, conn: SSL.Connection) -> None:
        """Remember a connection whose handshake has ended well."""
        resumed = SSL._lib.SSL_session_reused(conn._ssl)  # type: ignore[attr-defined]  # as below
        self._last[peer] = conn, conn.get_app_data() if resumed else self._clock()
        self._last.move_to_end(peer)
        if len(self._last) > MOST_SESSIONS:
            self._last.popitem(last=False)

    def resume(self, peer: Peer, conn: SSL.Connection) -> None:
        """Have a new connection go on with the session of the last one, if there was any."""
        last, verified = self._last.get(peer, (None, 0.0))
        if last is None or self._clock() - verified >= SESSION_LIFETIME:
            return
        if (session := last.get_session()) is not None:
            conn.set_session(session)
            conn.set_app_data(verified)


def _peer(server: connection.Server) -> Peer:
    return server.address, server.sni or "", tuple(server.alpn_offers)


class GatewayTls:
    """Gives mitmproxy the TLS contexts of both sides.

    Towards clients, only for names that ``may_mint`` allows; for others the handshake fails,
    whatever was decided before. Towards providers, certificates are verified against the
    public roots and those of ``upstream_ca``; there is no way to switch that off.
    """

    name = "tlsconfig"

    def __init__(
        self,
        *,
        ca_dir: Path,
        may_mint: MayMint,
        upstream_ca: Sequence[Path] = (),
        client_failed: ClientFailed = lambda _sni, _error: None,
        count: Count = discard,
        http2: bool = True,
    ) -> None:
        self._ca_file = ca_dir / CA_FILE
        self._may_mint = may_mint
        self._client_failed = client_failed
        self._count = count
        self._http2 = http2
        self._leaves = LeafContexts(Issuer.load(self._ca_file))
        self._towards_providers = _provider_context(upstream_ca)
        self._sessions = Sessions()

    def reload(self) -> None:
        """Read the CA's file again; connections that stand keep their certificates.

        Raises:
            OSError, ValueError: It cannot be used. The old one stays.
        """
        self._leaves = LeafContexts(Issuer.load(self._ca_file))

    def tls_start_client(self, start: tls.TlsData) -> None:
        """Answer a client's greeting with a certificate for the name that it asked for."""
        if start.ssl_conn is not None or not isinstance(start.conn, connection.Client):
            return
        name = _server_name(start)
        if not self._may_mint(name):
            self._count("mint_refused")
            return  # without a context mitmproxy fails the handshake
        conn = SSL.Connection(self._leaves.get(name))
        to_proxy = len(start.context.layers) == 2 and isinstance(
            start.context.layers[0], modes.HttpProxy
        )  # CONNECT over HTTP/2 is not supported
        conn.set_app_data(
            Spoken(
                required=b"http/1.1" if to_proxy else start.conn.alpn,
                server=start.context.server.alpn,
                http2=self._http2,
            )
        )
        conn.set_accept_state()
        start.ssl_conn = conn

    def tls_start_server(self, start: tls.TlsData) -> None:
        """Greet a provider by the name that the connection is for, and verify that name."""
        if start.ssl_conn is not None or not isinstance(start.conn, connection.Server):
            return
        server, client = start.conn, start.context.client
        address = server.address[0] if server.address else ""
        server.sni = server.sni or client.sni or address
        if not server.alpn_offers:
            offers = client.alpn_offers if self._http2 else _without_h2(client.alpn_offers)
            server.alpn_offers = tuple(offers)
        conn = SSL.Connection(self._towards_providers)
        _verify_name(conn, server.sni)
        if server.alpn_offers:
            conn.set_alpn_protos(list(server.alpn_offers))
        conn.set_connect_state()
        self._sessions.resume(_peer(server), conn)
        start.ssl_conn = conn

    def tls_established_server(self, data: tls.TlsData) -> None:
        """Let the next connection to a provider go on with the session of this one."""
        if data.ssl_conn is not None and isinstance(data.conn, connection.Server):
            self._sessions.established(_peer(data.conn), data.ssl_conn)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """Pass on why a client's handshake failed: most often it does not trust our CA."""
        self._count("tls_client_failed")
        self._client_failed(data.conn.sni or "", data.conn.error or "")


def _server_name(start: tls.TlsData) -> str:
    server = start.context.server.address
    local = start.conn.sockname[0] if start.conn.sockname else ""
    name = start.conn.sni or (server[0] if server else "") or local
    return str(name).lower().removesuffix(".")


def _without_h2(offers: Sequence[bytes]) -> list[bytes]:
    return [offer for offer in offers if offer != b"h2"]


def _provider_context(upstream_ca: Sequence[Path]) -> SSL.Context:
    context = _base_context(net_tls.Method.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER, None)
    for path in (Path(certifi.where()), *upstream_ca):
        try:
            context.load_verify_locations(str(path))
        except SSL.Error as error:
            raise ValueError(
                f"{path}: expected PEM certificates of a CA; correct upstream_ca"
            ) from error
    return context


def _verify_name(conn: SSL.Connection, name: str) -> None:
    """Have OpenSSL check the peer's certificate against a name, and send it where it may be."""
    param = SSL._lib.SSL_get0_param(conn._ssl)  # type: ignore[attr-defined]  # pyOpenSSL has no API for it
    SSL._lib.X509_VERIFY_PARAM_set_hostflags(param, _HOSTFLAGS)  # type: ignore[attr-defined]
    try:
        packed = ipaddress.ip_address(name).packed
    except ValueError:
        host = name.encode("idna")
        conn.set_tlsext_host_name(host)
        ok = SSL._lib.X509_VERIFY_PARAM_set1_host(param, host, len(host))  # type: ignore[attr-defined]
    else:
        ok = SSL._lib.X509_VERIFY_PARAM_set1_ip(param, packed, len(packed))  # type: ignore[attr-defined]
    if ok != 1:
        raise ValueError(f"{name!r} is no name that a certificate can be checked against")
