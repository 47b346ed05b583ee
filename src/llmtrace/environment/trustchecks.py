"""The doctor's checks of the CA, of what trusts it, and of clients that did not."""

import stat
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from llmtrace.certs import bundle, stores
from llmtrace.certs.authority import CA_FILE, CertificateAuthority
from llmtrace.certs.stores import Run, Subject, System
from llmtrace.environment.checks import Check, fail, ok, warn
from llmtrace.environment.installation import Installation
from llmtrace.environment.tlsfailures import read_failures

SOON: Final = timedelta(days=14)
RECENT: Final = timedelta(days=7)
ROTATE: Final = "run 'llmtrace ca rotate', then start the gateway anew"


def check_ca(place: Installation, now: datetime) -> Iterator[Check]:
    """The CA's files, its time, and the domains it can speak for."""
    path = place.home.ca / CA_FILE
    if not path.exists():
        yield warn("ca", "file", f"{path}: none yet", "'llmtrace ca show' makes one")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    authority = CertificateAuthority.load(place.home.ca)
    if authority.repairs:
        yield warn("ca", "mode", f"was {mode:04o}; {authority.repairs[0]}", ROTATE)
    else:
        yield ok("ca", "file", f"{path}, for this user only")
    yield _time(authority, now)
    difference = authority.difference(place.permitted)
    if difference.missing:
        some = ", ".join(difference.missing[:3])
        yield fail("ca", "domains", f"clients will refuse {some}: not in the CA", ROTATE)
    elif difference.extra:
        some = ", ".join(difference.extra[:3])
        yield warn("ca", "domains", f"may still speak for {some}, no longer governed", ROTATE)
    else:
        count = len(authority.permitted)
        yield ok("ca", "domains", f"constrained to {count} provider domains, as configured")


def _time(authority: CertificateAuthority, now: datetime) -> Check:
    until = f"until {authority.expires_at:%Y-%m-%d}"
    if authority.expired(now):
        return fail("ca", "time", f"was valid {until}", ROTATE)
    if now < authority.starts_at:
        return fail("ca", "time", "is not valid yet", "set this machine's clock right")
    if authority.expires_at - now < SOON:
        return warn("ca", "time", f"valid {until} only", ROTATE)
    return ok("ca", "time", f"valid {until}")


def check_trust(
    place: Installation, environ: Mapping[str, str], system: System, run: Run
) -> Iterator[Check]:
    """The combined bundle, and which system stores have the CA (none need to)."""
    if not (place.home.ca / CA_FILE).exists():
        return
    authority = CertificateAuthority.load(place.home.ca)
    trust = place.trust(authority, environ, java=False)
    for note in trust.notes:
        yield warn("trust", "bundle", note, "correct the variable that names this file")
    if not trust.notes:
        yield ok("trust", "bundle", f"{trust.bundle}: up to date with its source")
    subject = Subject(pem=authority.export_pem(), file=trust.ca)
    for found in stores.find(system):
        has = stores.trusts(found, subject, system, run)
        detail = "trusts the CA" if has else "does not have the CA ('llmtrace run' needs none)"
        yield ok("trust", f"{found.key}: {found.place}", detail)
    current = environ.get("SSL_CERT_FILE", "")
    if current and bundle.is_ours(Path(current), place.home.trust):
        yield ok("trust", "shell", "this shell trusts the CA by its variables")


def check_failures(place: Installation, now: datetime) -> Iterator[Check]:
    """Clients that broke off TLS lately."""
    failures = read_failures(place.home.tls_failures, since=now - RECENT)
    for failure in failures[:10]:
        yield warn(
            "clients",
            f"tls {failure.host}",
            f"{failure.count} handshakes broken off by a client: {failure.error}",
            "start it with 'llmtrace run', or put the CA into the system: llmtrace ca install",
        )
    if not failures:
        yield ok("clients", "tls", "no handshake was broken off by a client in 7 days")
