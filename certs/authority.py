"""The CA of one installation: one file with a key, its constrained intermediate and their root.

mitmproxy reads that file as it stands (``mitmproxy-ca.pem`` in its ``confdir``) and serves
leaf, intermediate and root from it. The file is the only truth: it is put in place by one
rename, so that a pair is there whole or not at all. The root's key is thrown away as soon as it
has signed, unless the policy keeps it: a new intermediate then means a new root as well.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llmtrace.certs import files, issue, names
from llmtrace.certs.issue import CaPolicy, Signer

CA_FILE: Final = "mitmproxy-ca.pem"
ROOT_KEY_FILE: Final = "root-key.pem"
DH_FILE: Final = "mitmproxy-dhparam.pem"
MAX_CA_BYTES: Final = 262_144
RENEW_ROOT_BEFORE: Final = timedelta(days=30)

DH_PARAMETERS: Final = b"""\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""ffdhe2048 (RFC 7919 §A.1). mitmproxy would write such a file itself, and not atomically."""


class CaMissing(FileNotFoundError):
    """There is no CA yet."""


class CaUnusable(ValueError):
    """The CA's file is there and is not what LLMTrace wrote."""


class Made(StrEnum):
    """What ``ensure`` had to do."""

    FOUND = "found"
    CREATED = "created"
    RENEWED = "renewed"
    """The old pair had expired: whoever trusts its root must trust the new one."""


def utc_now() -> datetime:
    """Return the time as certificates have it: aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """What is public of a CA. The key stays in its file: nothing here can print it.

    Attributes:
        directory: Where it lives, and mitmproxy's ``confdir``.
        permitted: DNS subtrees and addresses that its leaves may be for.
        repairs: What was wrong with the files' modes and was put right, in plain words.
    """

    directory: Path
    root: x509.Certificate
    intermediate: x509.Certificate
    permitted: tuple[str, ...]
    repairs: tuple[str, ...] = ()

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read and check the CA in ``directory``, and take away modes that are too wide.

        Raises:
            CaMissing: There is none.
            CaUnusable: The file was changed, cut short or is of another make.
            PermissionError: It is another user's, or may not be read.
        """
        path = directory / CA_FILE
        if not path.exists():
            raise CaMissing(f"{path}: there is no CA yet; 'llmtrace ca show' makes one")
        repairs = _repair(directory)
        try:
            root, intermediate = _parse(files.read_bounded(path, MAX_CA_BYTES))
            permitted = issue.permitted_by(intermediate)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise CaUnusable(
                f"{path}: {error or 'the signatures do not fit'}; expected a private key, a "
                "constrained intermediate and its root, as LLMTrace wrote them. "
                "Put the file back from where it came, or make a new pair: 'llmtrace ca rotate'."
            ) from error
        return cls(
            directory=directory,
            root=root,
            intermediate=intermediate,
            permitted=permitted,
            repairs=repairs,
        )

    @classmethod
    def ensure(
        cls,
        directory: Path,
        permitted: Iterable[str],
        *,
        policy: CaPolicy | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> tuple[Self, Made]:
        """Return the CA, made if there is none and renewed if it has expired.

        A constraint that no longer fits ``permitted`` is left alone, since a new pair must be
        trusted anew: ask ``difference`` and say so. Any number of processes may call this at
        once; one makes the pair and all return it.

        Raises:
            CaUnusable, PermissionError: As ``load``.
            TimeoutError: Another process held the lock for too long.
        """
        wanted = names.subtrees(permitted)
        files.make_private_directory(directory)
        with files.only_one(directory):
            made = Made.CREATED
            if (directory / CA_FILE).exists():
                found = cls.load(directory)
                if not found.expired(now()):
                    _write_dh(directory)
                    return found, Made.FOUND
                made = Made.RENEWED
            _make(directory, wanted, policy or CaPolicy(), now())
        return cls.load(directory), made

    @classmethod
    def rotate(
        cls,
        directory: Path,
        permitted: Iterable[str],
        *,
        policy: CaPolicy | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> Self:
        """Replace whatever CA is there, broken or not, by a new one for ``permitted``.

        Where the root's key was kept, the root stays and only the intermediate is new.
        A running gateway serves the old pair until it is started anew.
        """
        wanted = names.subtrees(permitted)
        files.make_private_directory(directory)
        with files.only_one(directory):
            _make(directory, wanted, policy or CaPolicy(), now())
        return cls.load(directory)

    @property
    def file(self) -> Path:
        """The one file that mitmproxy reads. It has the key: never hand it out."""
        return self.directory / CA_FILE

    @property
    def expires_at(self) -> datetime:
        """When the first of the two certificates ends (aware, UTC)."""
        return min(self.root.not_valid_after_utc, self.intermediate.not_valid_after_utc)

    @property
    def starts_at(self) -> datetime:
        """From when both are valid (aware, UTC)."""
        return max(self.root.not_valid_before_utc, self.intermediate.not_valid_before_utc)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root, as browsers and system stores show it: ``AB:CD:…``."""
        return self.root.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def name(self) -> str:
        """The root's common name, unique to this pair: what stores list it under."""
        attribute = self.root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0]
        return str(attribute.value)

    def expired(self, now: datetime) -> bool:
        """Whether clients refuse it at ``now`` (aware) because its time is over."""
        return now >= self.expires_at

    def difference(self, wanted: Iterable[str]) -> names.Difference:
        """Compare its constraint with the subtrees it should have; empty if they agree."""
        return names.difference(self.permitted, wanted)

    def matches(self, wanted: Iterable[str]) -> bool:
        """Whether its constraint is exactly for ``wanted``."""
        return not self.difference(wanted)

    def guard(self, governs: Callable[[str], bool]) -> names.MintGuard:
        """Return the guard that says for which names a leaf may be made."""
        return names.MintGuard(permitted=frozenset(self.permitted), governs=governs)

    def export_pem(self) -> str:
        """Return what clients are to trust: the root alone, without any key."""
        return issue.certificate_pem(self.root).decode("ascii")


def _make(directory: Path, permitted: tuple[str, ...], policy: CaPolicy, now: datetime) -> None:
    """Write a pair. The rename of the CA file is the moment from which it counts."""
    root = _kept_root(directory, now) if policy.keep_root_key else None
    root_key = directory / ROOT_KEY_FILE
    if root is None:
        root = issue.issue_root(policy=policy, now=now)
    intermediate = issue.issue_intermediate(root, permitted, policy=policy, now=now)
    if policy.keep_root_key:
        files.write_atomic(
            root_key, issue.key_pem(root.key) + issue.certificate_pem(root.certificate)
        )
    else:
        root_key.unlink(missing_ok=True)
    _write_dh(directory)
    files.write_atomic(
        directory / CA_FILE,
        issue.key_pem(intermediate.key)
        + issue.certificate_pem(intermediate.certificate)
        + issue.certificate_pem(root.certificate),
    )


def _write_dh(directory: Path) -> None:
    files.write_if_changed(directory / DH_FILE, DH_PARAMETERS, mode=files.PRIVATE_FILE)


def _kept_root(directory: Path, now: datetime) -> Signer | None:
    """Return the root whose key was kept, None if there is none or it ends soon."""
    path = directory / ROOT_KEY_FILE
    if not path.exists():
        return None
    try:
        content = files.read_bounded(path, MAX_CA_BYTES)
        signer = Signer(
            certificate=x509.load_pem_x509_certificate(content), key=_private_key(content)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CaUnusable(
            f"{path}: {error}; expected the kept root key. Put it back, or delete it to get a "
            "new root."
        ) from error
    if signer.certificate.public_key() != signer.key.public_key():
        raise CaUnusable(f"{path}: key and certificate do not fit; delete it to get a new root")
    ends = signer.certificate.not_valid_after_utc
    return signer if ends - now > RENEW_ROOT_BEFORE else None


def _repair(directory: Path) -> tuple[str, ...]:
    wanted = {
        directory: files.PRIVATE_DIRECTORY,
        **{
            directory / name: files.PRIVATE_FILE
            for name in (CA_FILE, ROOT_KEY_FILE)
            if (directory / name).exists()
        },
    }
    return tuple(
        f"{path} was open to other users and is now {mode:04o}; if one of them may have read the "
        "key, run 'llmtrace ca rotate'"
        for path, mode in wanted.items()
        if files.repair_mode(path, mode)
    )


def _parse(content: bytes) -> tuple[x509.Certificate, x509.Certificate]:
    """Return root and intermediate of a CA file, checked against each other and the key."""
    key = _private_key(content)
    certificates = x509.load_pem_x509_certificates(content)
    if len(certificates) != 2:
        raise ValueError(f"it has {len(certificates)} certificates, expected 2")
    intermediate, root = certificates
    if intermediate.public_key() != key.public_key():
        raise ValueError("its key is not the intermediate's")
    intermediate.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    return root, intermediate


def _private_key(content: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(content, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is not an elliptic-curve key")
    return key
