"""The files that clients are pointed at: the CA alone, and public roots with the CA added.

Variables such as ``SSL_CERT_FILE`` replace what a client trusts, so the file must hold the
machine's own roots too: those of the user's existing variables where there are any (a
company's CA may be among them), else those of the operating system.
"""

import hashlib
import re
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import certifi

from llmtrace.certs import files

MAX_SOURCE_BYTES: Final = 16_777_216
CA_NAME: Final = "ca.pem"
SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
)
"""Where systems keep their roots: Debian and Arch, Fedora, RHEL, openSUSE, Alpine/macOS, BSD."""

_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A file of roots with the CA among them.

    Attributes:
        path: Where it is; always the same for the same sources.
        certificates: How many are in it.
        sources: What it was put together from, and the CA.
        notes: Sources that were left out and why, in plain words.
    """

    path: Path
    certificates: int
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()


def write_ca(directory: Path, ca_pem: str) -> Path:
    """Write the CA alone into the public ``directory`` and return its path."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = directory / CA_NAME
    files.write_if_changed(path, ca_pem.encode("ascii"), mode=files.PUBLIC_FILE)
    return path


def combine(directory: Path, ca_pem: str, sources: Sequence[Path], *, prefix: str) -> Bundle:
    """Write ``sources`` and the CA as one file, unless it stands there already.

    Its name is made from the sources, so that two shells with different ones do not take
    turns at one file. A source that cannot be read, or has no certificate, is left out and
    noted; without any, the operating system's roots are taken.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    notes: list[str] = []
    found: dict[bytes, None] = {}
    used = [str(s) for s in sources if _add(found, s, notes)]
    if not used:
        used = [_add_system(found)]
    found.update(dict.fromkeys(_certificates(ca_pem.encode("ascii"))))
    label = hashlib.sha256("\0".join(used).encode()).hexdigest()[:8]
    path = directory / f"{prefix}-{label}.pem"
    files.write_if_changed(path, b"".join(map(_as_pem, found)), mode=files.PUBLIC_FILE)
    return Bundle(path=path, certificates=len(found), sources=tuple(used), notes=tuple(notes))


def is_ours(path: Path, directory: Path) -> bool:
    """Whether a file is one that ``combine`` or ``write_ca`` wrote into ``directory``."""
    return path.resolve().parent == directory.resolve()


def system_bundle(candidates: Iterable[str] = SYSTEM_BUNDLES) -> Path | None:
    """Return the operating system's file of roots, None where it keeps them otherwise."""
    return next((path for name in candidates if (path := Path(name)).is_file()), None)


def contains(path: Path, ca_pem: str) -> bool:
    """Whether the file holds the CA. A file that cannot be read holds nothing."""
    try:
        held = _certificates(files.read_bounded(path, MAX_SOURCE_BYTES))
    except (OSError, ValueError):
        return False
    return set(_certificates(ca_pem.encode("ascii"))) <= set(held)


def _add(found: dict[bytes, None], source: Path, notes: list[str]) -> bool:
    try:
        certificates = _certificates(files.read_bounded(source, MAX_SOURCE_BYTES))
    except OSError as error:
        notes.append(f"{source}: {error.strerror}; left out")
        return False
    except ValueError as error:
        notes.append(f"{error}; left out")
        return False
    if not certificates:
        notes.append(f"{source}: has no certificate in PEM form; left out")
    found.update(dict.fromkeys(certificates))
    return bool(certificates)


def _add_system(found: dict[bytes, None]) -> str:
    """Add the machine's roots and return what they were taken from."""
    if (path := system_bundle()) and _add(found, path, []):
        return str(path)
    held = ssl.create_default_context().get_ca_certs(binary_form=True)  # Windows' own store
    if held:
        pems = "".join(map(ssl.DER_cert_to_PEM_cert, held))
        found.update(dict.fromkeys(_certificates(pems.encode("ascii"))))
        return "system store"
    _add(found, Path(certifi.where()), [])
    return "certifi"


def _certificates(content: bytes) -> list[bytes]:
    """Return the certificates of a PEM file as base64 without white space."""
    return [b"".join(body.split()) for body in _PEM.findall(content)]


def _as_pem(body: bytes) -> bytes:
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])
