"""A throw-away CA for servers on loopback: kept in memory, valid for a day, trusted by nobody."""

import ipaddress
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
SNI_ATTRIBUTE: Final = "llmtrace_sni"
"""Where a server's ``SSLObject`` keeps the name that its client asked for."""

_MAX_CONTEXTS: Final = 256
_LIFETIME: Final = timedelta(days=1)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
    )


class ThrowawayCa:
    """A CA that lives as long as this object and vouches for any name it is asked for."""

    def __init__(self, common_name: str = "scripted provider test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        self._cert = self._make_root(name)
        self._contexts: dict[tuple[str, tuple[str, ...]], ssl.SSLContext] = {}

    def _make_root(self, name: x509.Name) -> x509.Certificate:
        public = self._key.public_key()
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            _builder(name, name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """The CA's certificate, as ``upstream_ca`` and the trust variables of clients take it."""
        return self._cert.public_bytes(serialization.Encoding.PEM)

    def leaf(self, names: Iterable[str]) -> bytes:
        """Return PEM of a fresh leaf for ``names`` (DNS names or IP addresses) and its key."""
        wanted = list(dict.fromkeys(names))
        public = self._leaf_key.public_key()
        cert = (
            _builder(_name(wanted[0][:64]), self._cert.subject, public)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in wanted]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        key = self._leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cert.public_bytes(serialization.Encoding.PEM) + key

    def server_context(
        self, *, alpn: Sequence[str] = ("h2", "http/1.1"), names: Sequence[str] = LOOPBACK_NAMES
    ) -> ssl.SSLContext:
        """Return a server's context: ``names`` where the client names nobody, else its SNI."""
        context = self._context(names, alpn)

        def choose(connection: ssl.SSLObject, server_name: str | None, _: ssl.SSLContext) -> None:
            vars(connection)[SNI_ATTRIBUTE] = server_name or ""
            if server_name and server_name not in names:
                connection.context = self._for_sni(server_name, alpn)

        context.sni_callback = choose
        return context

    def _for_sni(self, server_name: str, alpn: Sequence[str]) -> ssl.SSLContext:
        key = (server_name, tuple(alpn))
        if key not in self._contexts:
            if len(self._contexts) >= _MAX_CONTEXTS:
                self._contexts.clear()
            self._contexts[key] = self._context((server_name,), alpn)
        return self._contexts[key]

    def _context(self, names: Sequence[str], alpn: Sequence[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(list(alpn))
        # ssl reads a certificate chain from a file only.
        with tempfile.TemporaryDirectory(prefix="llmtrace-ca-") as folder:
            path = Path(folder) / "leaf.pem"
            path.write_bytes(self.leaf(names))
            context.load_cert_chain(path)
        return context
