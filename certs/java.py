"""A truststore for Java: a copy of what it trusts already, and the CA.

Java reads neither the system's roots nor any variable; it takes a truststore of its own by a
system property, which replaces the one it has.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrace.certs import files

PASSWORD: Final = "changeit"  # noqa: S105  Java's own for cacerts: a truststore holds no secret
ALIAS: Final = "llmtrace"
MAX_SOURCE_BYTES: Final = 16_777_216
_STORE: Final = re.compile(r"-Djavax\.net\.ssl\.trustStore(Password)?=(.*)", re.DOTALL)

type RunKeytool = Callable[[Sequence[str]], int]
"""Runs a command and returns its exit code; 127 where there is no such program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JavaSource:
    """The truststore that is copied: the JDK's ``cacerts``, or a file of the user's."""

    path: Path
    password: str = PASSWORD


def find_source(keytool: Path, environment: Mapping[str, str]) -> JavaSource | None:
    """Return what Java trusts now: the user's own truststore, else the JDK's.

    None where neither is found; then there is nothing to copy.
    """
    if named := from_options(environment.get("JAVA_TOOL_OPTIONS", "")):
        return named
    homes = [Path(home)] if (home := environment.get("JAVA_HOME")) else []
    homes.append(keytool.resolve().parent.parent)
    for base in homes:
        for place in (base / "lib/security/cacerts", base / "jre/lib/security/cacerts"):
            if place.is_file():
                return JavaSource(path=place)
    return None


def from_options(options: str) -> JavaSource | None:
    """Take the user's own truststore out of ``JAVA_TOOL_OPTIONS``, if it names one."""
    try:
        words = shlex.split(options)
    except ValueError:  # an open quote: Java will not start with it either
        return None
    found = [match for word in words if (match := _STORE.fullmatch(word))]
    paths = [match[2] for match in found if not match[1]]
    passwords = [match[2] for match in found if match[1]]
    if not paths:
        return None
    return JavaSource(path=Path(paths[-1]), password=passwords[-1] if passwords else PASSWORD)


def write_truststore(
    directory: Path, ca_file: Path, *, keytool: Path, source: JavaSource, run: RunKeytool
) -> Path | None:
    """Write the truststore unless it is there, and return its path; None if keytool failed.

    It is made anew when the CA or the copied truststore changes, and has that one's password.
    """
    path = directory / f"java-{_stamp(ca_file, source)}.truststore"
    if path.exists():
        return path
    partial = path.with_name(f".{path.name}.{os.getpid()}{files.TEMPORARY_SUFFIX}")
    try:
        partial.write_bytes(files.read_bounded(source.path, MAX_SOURCE_BYTES))
        if run(_import(keytool, partial, ca_file, source.password)) != 0:
            return None
        partial.chmod(files.PUBLIC_FILE)
        partial.replace(path)
    except (OSError, ValueError):
        return None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _import(keytool: Path, store: Path, ca_file: Path, password: str) -> tuple[str, ...]:
    return (
        *(str(keytool), "-importcert", "-noprompt", "-alias", ALIAS, "-file", str(ca_file)),
        *("-keystore", str(store), "-storepass", password),
    )


def _stamp(ca_file: Path, source: JavaSource) -> str:
    digest = hashlib.sha256(ca_file.read_bytes())
    digest.update(str(source.path).encode())
    try:
        found = source.path.stat()
        digest.update(f"\0{found.st_size}\0{found.st_mtime_ns}".encode())
    except OSError:
        digest.update(b"\0missing")
    return digest.hexdigest()[:8]
