"""The files that the block of variables points at, made from the CA and what is trusted now."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrace.certs import bundle, java
from llmtrace.certs.files import make_private_directory
from llmtrace.environment.home import Home

REPLACING: Final = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CODEX_CA_CERTIFICATE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CARGO_HTTP_CAINFO",
)
"""Variables whose file replaces what a client trusts: they get public roots and the CA."""
ADDING: Final = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
"""Variables whose file adds to what a client trusts: they get the CA, and the user's own file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JavaTrust:
    """A truststore and its password, which is no secret."""

    path: Path
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Files that make clients trust the gateway, for one environment.

    Attributes:
        ca: The CA alone.
        bundle: Public (or the user's own) roots and the CA.
        added: Variable of ``ADDING`` → its file; equal to ``ca`` unless the user had one.
        java: None without a JDK, or where its roots could not be copied.
        notes: What was left out and why, in plain words.
    """

    ca: Path
    bundle: Path
    added: Mapping[str, Path]
    java: JavaTrust | None = None
    notes: tuple[str, ...] = ()


def prepare_trust(
    home: Home,
    ca_pem: str,
    existing: Mapping[str, str],
    *,
    keytool: Path | None = None,
    run: Callable[[Sequence[str]], int] | None = None,
) -> Trust:
    """Write the files into ``home.trust`` where they are not there yet or no longer fit.

    Args:
        home: The installation.
        ca_pem: What clients are to trust.
        existing: The environment that the child would have otherwise.
        keytool: The JDK's keytool, None to leave Java out.
        run: Runs keytool; the real one unless given.
    """
    make_private_directory(home.path)
    ca = bundle.write_ca(home.trust, ca_pem)
    combined, notes = _bundle(home, ca_pem, existing)
    added = {}
    for name in ADDING:
        added[name] = ca
        if own := _own(home, existing, (name,)):
            merged = bundle.combine(home.trust, ca_pem, own, prefix="added")
            added[name] = merged.path
            notes += merged.notes
    store = _java(home, ca, existing, keytool, run or _run) if keytool else None
    if keytool and not store:
        notes.append(f"{keytool}: could not copy Java's truststore; Java will not trust the CA")
    return Trust(ca=ca, bundle=combined, added=added, java=store, notes=tuple(notes))


def _bundle(home: Home, ca_pem: str, existing: Mapping[str, str]) -> tuple[Path, list[str]]:
    current = Path(existing.get("SSL_CERT_FILE") or "-")
    if bundle.is_ours(current, home.trust) and bundle.contains(current, ca_pem):
        return current, []  # a run within a run: it was made from the user's own already
    made = bundle.combine(home.trust, ca_pem, _own(home, existing, REPLACING), prefix="bundle")
    return made.path, list(made.notes)


def _own(home: Home, existing: Mapping[str, str], names: Sequence[str]) -> list[Path]:
    """Return the user's own files behind these variables, each once, ours left out."""
    paths = [Path(value) for name in names if (value := existing.get(name))]
    return [path for path in dict.fromkeys(paths) if not bundle.is_ours(path, home.trust)]


def _java(
    home: Home,
    ca: Path,
    existing: Mapping[str, str],
    keytool: Path,
    run: Callable[[Sequence[str]], int],
) -> JavaTrust | None:
    source = java.find_source(keytool, existing)
    if source is None:
        return None
    if bundle.is_ours(source.path, home.trust):
        return JavaTrust(path=source.path, password=source.password)
    path = java.write_truststore(home.trust, ca, keytool=keytool, source=source, run=run)
    return JavaTrust(path=path, password=source.password) if path else None


def _run(command: Sequence[str]) -> int:
    try:
        return subprocess.run(  # noqa: S603  keytool, found on the PATH
            command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 127
