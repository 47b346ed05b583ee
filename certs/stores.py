"""The trust stores of operating systems and browsers, as data: how to find, add, remove, check.

Nothing here asks or prints: a plan is a list of commands that a caller shows before it runs
them. What was added is recorded, so that it can be removed after the CA has been rotated.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from llmtrace.certs import bundle, files

MAX_PROFILES: Final = 64
MAX_RECORD_BYTES: Final = 4_194_304
ADMINISTRATORS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where programs of administrators are; on Debian these are not on the PATH of other users."""

type Command = tuple[str, ...]
type Run = Callable[[Command], int]
"""Runs a command and returns its exit code; 127 where there is no such program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One kind of trust store.

    Commands are templates over ``{ca}`` (file with the CA), ``{place}``, ``{target}``,
    ``{name}`` (the root's common name) and ``{sha1}`` (its thumbprint).

    Attributes:
        places: Globs beneath the root (``/``) or the user's home (``~/``); each that exists
            is a store.
        target: The file that is put in place, where there is one.
        bundle: The file that shows whether it worked, where ``check`` is empty.
        administrator: Whether its commands need root.
    """

    key: str
    title: str
    platform: str
    programs: tuple[str, ...]
    places: tuple[str, ...]
    install: tuple[Command, ...]
    uninstall: tuple[Command, ...]
    check: Command = ()
    target: str = ""
    bundle: str = ""
    administrator: bool = False


STORES: Final = (
    Store(
        key="debian",
        title="Debian and Ubuntu system store",
        platform="linux",
        programs=("update-ca-certificates",),
        places=("/usr/local/share/ca-certificates",),
        target="{place}/llmtrace.crt",
        bundle="/etc/ssl/certs/ca-certificates.crt",
        install=(("install", "-m", "0644", "{ca}", "{target}"), ("update-ca-certificates",)),
        uninstall=(("rm", "-f", "{target}"), ("update-ca-certificates", "--fresh")),
        administrator=True,
    ),
    Store(
        key="fedora",
        title="Fedora and RHEL system store",
        platform="linux",
        programs=("update-ca-trust",),
        places=("/etc/pki/ca-trust/source/anchors",),
        target="{place}/llmtrace.pem",
        bundle="/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        install=(("install", "-m", "0644", "{ca}", "{target}"), ("update-ca-trust", "extract")),
        uninstall=(("rm", "-f", "{target}"), ("update-ca-trust", "extract")),
        administrator=True,
    ),
    Store(
        key="arch",
        title="Arch system store",
        platform="linux",
        programs=("trust", "pacman"),
        places=("/etc/ca-certificates/trust-source",),
        bundle="/etc/ssl/certs/ca-certificates.crt",
        install=(("trust", "anchor", "--store", "{ca}"),),
        uninstall=(("trust", "anchor", "--remove", "{ca}"),),
        administrator=True,
    ),
    Store(
        key="macos",
        title="macOS login keychain",
        platform="darwin",
        programs=("security",),
        places=("~/Library/Keychains/login.keychain-db",),
        install=(("security", "add-trusted-cert", "-r", "trustRoot", "-k", "{place}", "{ca}"),),
        uninstall=(
            ("security", "remove-trusted-cert", "{ca}"),
            ("security", "delete-certificate", "-Z", "{sha1}", "{place}"),
        ),
        check=("security", "verify-cert", "-c", "{ca}"),
    ),
    Store(
        key="windows",
        title="Windows store of this user",
        platform="win32",
        programs=("certutil",),
        places=("~/",),
        install=(("certutil", "-user", "-addstore", "Root", "{ca}"),),
        uninstall=(("certutil", "-user", "-delstore", "Root", "{sha1}"),),
        check=("certutil", "-user", "-verifystore", "Root", "{sha1}"),
    ),
    *(
        Store(
            key="nss",
            title="Firefox and other NSS databases",
            platform=platform,
            programs=("certutil",),
            places=places,
            install=(
                ("certutil", "-A", "-d", "sql:{place}", "-t", "C,,", "-n", "{name}", "-i", "{ca}"),
            ),
            uninstall=(("certutil", "-D", "-d", "sql:{place}", "-n", "{name}"),),
            check=("certutil", "-L", "-d", "sql:{place}", "-n", "{name}"),
        )
        for platform, places in (
            (
                "linux",
                (
                    "~/.pki/nssdb",
                    "~/.mozilla/firefox/*",
                    "~/snap/firefox/common/.mozilla/firefox/*",
                    "~/snap/chromium/current/.pki/nssdb",
                ),
            ),
            ("darwin", ("~/Library/Application Support/Firefox/Profiles/*",)),
        )
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The machine as stores see it; tests put another in its place."""

    platform: str
    root: Path
    user_home: Path
    which: Callable[[str], str | None]
    is_administrator: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One store that was found on this machine, and where."""

    store: Store
    place: str

    @property
    def key(self) -> str:
        """What records and options call it."""
        return self.store.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A CA that was put into a store. ``pem`` is the certificate, so that it can be removed."""

    store: str
    place: str
    name: str
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The certificate that commands are about, and the file that holds it."""

    pem: str
    file: Path
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        loaded = x509.load_pem_x509_certificate(self.pem.encode("ascii"))
        object.__setattr__(self, "certificate", loaded)

    @property
    def name(self) -> str:
        """Its common name."""
        common = self.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(common[0].value)

    def values(self) -> dict[str, str]:
        """What the placeholders of a command stand for."""
        sha1 = self.certificate.fingerprint(hashes.SHA1())  # noqa: S303  the stores' own index
        return {"ca": str(self.file), "name": self.name, "sha1": sha1.hex().upper()}


def find(system: System, stores: Sequence[Store] = STORES) -> tuple[Installation, ...]:
    """Return the stores that are on this machine and whose programs are."""
    return tuple(
        Installation(store=store, place=str(place))
        for store in stores
        if store.platform == system.platform and all(map(system.which, store.programs))
        for place in _places(system, store)
    )


def missing_programs(system: System, stores: Sequence[Store] = STORES) -> dict[str, str]:
    """Return stores that are on this machine and cannot be changed: title → program to install."""
    return {
        store.title: program
        for store in stores
        if store.platform == system.platform and store.key == "nss" and _places(system, store)
        for program in store.programs
        if not system.which(program)
    }


def _places(system: System, store: Store) -> list[Path]:
    found: list[Path] = []
    for pattern in store.places:
        base = system.user_home if pattern.startswith("~/") else system.root
        relative = pattern.removeprefix("~").removeprefix("/")
        found += sorted(base.glob(relative)) if relative else [base]
    if store.key == "nss":
        found = [path for path in found if (path / "cert9.db").is_file()]
    return found[:MAX_PROFILES]


def install_plan(found: Installation, subject: Subject, system: System) -> tuple[Command, ...]:
    """Return the commands that add the CA, as they would be typed."""
    return _plan(found, found.store.install, subject, system)


def uninstall_plan(found: Installation, subject: Subject, system: System) -> tuple[Command, ...]:
    """Return the commands that remove it again. Each may fail: it may be gone already."""
    return _plan(found, found.store.uninstall, subject, system)


def _plan(
    found: Installation, templates: Sequence[Command], subject: Subject, system: System
) -> tuple[Command, ...]:
    values = _values(found, subject)
    sudo = ("sudo",) if found.store.administrator and not system.is_administrator else ()
    return tuple((*sudo, *(word.format_map(values) for word in t)) for t in templates)


def _values(found: Installation, subject: Subject) -> Mapping[str, str]:
    values = {"place": found.place, **subject.values()}
    return {**values, "target": found.store.target.format_map(values)}


def trusts(found: Installation, subject: Subject, system: System, run: Run) -> bool:
    """Whether the store has the CA now. Changes nothing."""
    if found.store.check:
        values = _values(found, subject)
        return run(tuple(word.format_map(values) for word in found.store.check)) == 0
    held = system.root / found.store.bundle.removeprefix("/")
    return bundle.contains(held, subject.pem)


def perform(plan: Sequence[Command], run: Run, *, to_the_end: bool = False) -> Command | None:
    """Run a plan; return the first command that failed, None if all went well.

    A plan stops at what failed, unless it is ``to_the_end`` (removing goes on).
    """
    failed: Command | None = None
    for command in plan:
        if run(command) != 0:
            failed = failed or command
            if not to_the_end:
                break
    return failed


class Records:
    """What was put into which store, in one file. It holds certificates, never a key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> tuple[Recorded, ...]:
        """Return what is recorded, oldest first.

        Raises:
            ValueError: The file is not what was written.
        """
        try:
            content = files.read_bounded(self._path, MAX_RECORD_BYTES)
        except FileNotFoundError:
            return ()
        try:
            return tuple(Recorded(**row) for row in json.loads(content))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self._path}: cannot be read as the list of stores that have the CA; look for "
                "'LLMTrace root' in the stores by hand, then delete this file."
            ) from error

    def add(self, record: Recorded) -> None:
        """Record one; again is no different."""
        if record not in self.all():
            self._write((*self.all(), record))

    def remove(self, record: Recorded) -> None:
        """Forget one; an unknown one is no error."""
        self._write(tuple(r for r in self.all() if r != record))

    def _write(self, records: Sequence[Recorded]) -> None:
        rows = json.dumps([asdict(record) for record in records], indent=1)
        files.write_atomic(self._path, rows.encode("ascii"))


def which(program: str) -> str | None:
    """Return where a program is, administrators' included; None if there is none."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), *ADMINISTRATORS))


def _environ() -> Mapping[str, str]:
    return {**os.environ, "PATH": _path()}


def run_command(command: Command) -> int:
    """Run one command with the terminal's own input and output (sudo may ask)."""
    try:
        return subprocess.run(command, check=False, env=_environ()).returncode  # noqa: S603  shown
    except OSError:
        return 127


def run_quietly(command: Command) -> int:
    """Run one command that only asks, without a word."""
    try:
        done = subprocess.run(  # noqa: S603  from the table
            command,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            env=_environ(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return 127
    return done.returncode
