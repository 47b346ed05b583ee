"""Makes the two certificates: a root whose key is thrown away, and a constrained intermediate."""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ALL_ADDRESSES: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CaPolicy:
    """How long certificates last and what becomes of the root's key.

    Without ``keep_root_key`` the root cannot sign again, so it ends with its intermediate.
    ``backdate_hours`` forgives clients whose clock is behind; it is what mitmproxy takes off
    the leaves too, so that no leaf begins before its issuer.
    """

    intermediate_days: int = 90
    root_days: int = 730
    keep_root_key: bool = False
    backdate_hours: int = 48

    def __post_init__(self) -> None:
        if not 1 <= self.intermediate_days <= self.root_days <= 3650:
            raise ValueError(
                f"intermediate_days is {self.intermediate_days} and root_days {self.root_days}; "
                "expected 1 <= intermediate_days <= root_days <= 3650"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A certificate and the key that signs for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def issue_root(*, policy: CaPolicy, now: datetime) -> Signer:
    """Make a self-signed root that can sign one level of intermediates.

    It has no constraint of its own: clients need not honour one on a root (RFC 5280 §6.1.1).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("root")
    days = policy.root_days if policy.keep_root_key else policy.intermediate_days
    builder = _builder(name, name, key.public_key(), policy, now, days)
    builder = _as_authority(builder, key.public_key(), path_length=1)
    return Signer(certificate=builder.sign(key, hashes.SHA256()), key=key)


def issue_intermediate(
    root: Signer, permitted: Sequence[str], *, policy: CaPolicy, now: datetime
) -> Signer:
    """Make the intermediate that signs leaves for ``permitted`` subtrees, as ``names`` has them.

    It signs for no IP address but those among them, and ends no later than its root.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = root.certificate
    builder = _builder(
        _name("intermediate"),
        issuer.subject,
        key.public_key(),
        policy,
        now,
        policy.intermediate_days,
        not_after=issuer.not_valid_after_utc,
    )
    builder = _as_authority(builder, key.public_key(), path_length=0)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(
            _constraints(permitted),
            critical=True,
        )
    )
    return Signer(certificate=builder.sign(root.key, hashes.SHA256()), key=key)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as unencrypted PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def permitted_by(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the subtrees that a certificate is constrained to.

    Raises:
        ValueError: It is not constrained, or not in the way that ``issue_intermediate`` does it.
    """
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound as error:
        raise ValueError("the intermediate has no name constraints") from error
    permitted = [_text(name) for name in found.value.permitted_subtrees or []]
    if not found.critical or not permitted or found.value != _constraints(permitted):
        raise ValueError("the intermediate's name constraints are not those that LLMTrace sets")
    return tuple(sorted(permitted))


def _constraints(permitted: Sequence[str]) -> x509.NameConstraints:
    """Return the constraint for DNS subtrees and addresses.

    Names of a kind that is not permitted are free, so all addresses are excluded where none is
    permitted. Where one is, an exclusion would win over it, and is not needed.
    """
    trees = [_general(name) for name in permitted]
    addresses = any(isinstance(tree, x509.IPAddress) for tree in trees)
    excluded = None if addresses else [x509.IPAddress(network) for network in ALL_ADDRESSES]
    return x509.NameConstraints(permitted_subtrees=trees, excluded_subtrees=excluded)


def _general(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _text(name: x509.GeneralName) -> str:
    if isinstance(name, x509.IPAddress) and isinstance(
        name.value, ipaddress.IPv4Network | ipaddress.IPv6Network
    ):
        return str(name.value.network_address)
    return str(name.value)


def _name(what: str) -> x509.Name:
    # A name of its own for each pair: two roots of one name confuse clients that hold both.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "LLMTrace"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"LLMTrace {what} {secrets.token_hex(4)}"),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    policy: CaPolicy,
    now: datetime,
    days: int,
    *,
    not_after: datetime | None = None,
) -> x509.CertificateBuilder:
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=policy.backdate_hours))
        .not_valid_after(min(end, not_after) if not_after else end)
    )


def _as_authority(
    builder: x509.CertificateBuilder, public_key: ec.EllipticCurvePublicKey, *, path_length: int
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
    )
