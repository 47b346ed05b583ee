"""One installation: its configuration, its folder and its CA, put together for a command."""

import getpass
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrace.certs.authority import CertificateAuthority, Made
from llmtrace.certs.files import make_private_directory
from llmtrace.certs.issue import CaPolicy
from llmtrace.config import Config
from llmtrace.environment.home import Home, home
from llmtrace.environment.trust import Trust, prepare_trust
from llmtrace.providers.hostnames import BadHost, canonical_host
from llmtrace.providers.hosts import HostTable

# fmt: off
_FIRST: Final = (
    "amber", "bold", "brave", "brisk", "calm", "clever", "cosy", "daring", "eager", "fair", "fleet",
    "fresh", "gentle", "glad", "grand", "keen", "kind", "lively", "lucky", "merry", "mild", "neat",
    "noble", "plain", "proud", "quick", "quiet", "rapid", "sharp", "steady", "sunny", "swift",
)
_SECOND: Final = (
    "badger", "beaver", "bison", "crane", "crow", "deer", "dove", "falcon", "ferret", "finch",
    "fox", "gecko", "goose", "hare", "hawk", "heron", "ibis", "jay", "koala", "lark", "linnet",
    "lynx", "marten", "otter", "owl", "panda", "puffin", "raven", "robin", "seal", "swan", "wren",
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a command works on."""

    config: Config
    home: Home

    @property
    def hosts(self) -> HostTable:
        """The table of providers' hosts, the configuration's own included."""
        intercept = self.config.intercept
        return HostTable(intercept.hosts, telemetry=tuple(intercept.exclude))

    @property
    def policy(self) -> CaPolicy:
        """How long a new CA is to last."""
        days = self.config.ca.validity_days
        return CaPolicy(intermediate_days=days, root_days=max(days, CaPolicy().root_days))

    @property
    def permitted(self) -> list[str]:
        """What the CA is to speak for: the providers' domains and the user's own addresses."""
        hosts = self.hosts
        return [*hosts.permitted_dns(), *hosts.permitted_addresses()]

    def governs(self, host: str) -> bool:
        """Whether a host (any spelling) is a provider's. Never raises."""
        try:
            return self.hosts.provider_of(canonical_host(host)) is not None
        except BadHost:
            return False

    def open_ca(self) -> tuple[CertificateAuthority, Made]:
        """Return the CA, made if there is none. Raises: as ``CertificateAuthority.ensure``."""
        make_private_directory(self.home.path)
        return CertificateAuthority.ensure(self.home.ca, self.permitted, policy=self.policy)

    def rotate_ca(self) -> CertificateAuthority:
        """Replace the CA by a new one for the hosts of the configuration."""
        make_private_directory(self.home.path)
        return CertificateAuthority.rotate(self.home.ca, self.permitted, policy=self.policy)

    def trust(
        self, authority: CertificateAuthority, existing: Mapping[str, str], *, java: bool
    ) -> Trust:
        """Write what clients are pointed at, over what ``existing`` points them at."""
        keytool = shutil.which("keytool", path=existing.get("PATH")) if java else None
        return prepare_trust(
            self.home,
            authority.export_pem(),
            existing,
            keytool=Path(keytool) if keytool else None,
        )

    def advice(self, authority: CertificateAuthority, made: Made) -> tuple[str, ...]:
        """Say what is to be known of the CA as ``open_ca`` returned it, in plain words."""
        said = list(authority.repairs)
        if made is Made.CREATED:
            said.append(
                f"made a CA in {authority.directory}; it can speak for {len(authority.permitted)} "
                f"provider domains and nothing else, until {authority.expires_at:%Y-%m-%d}"
            )
        elif made is Made.RENEWED:
            said.append(
                "the CA had expired and was made anew: where you installed it, run "
                "'llmtrace ca install' again, and start a running gateway anew"
            )
        if missing := authority.difference(self.permitted).missing:
            said.append(
                f"clients will refuse {_few(missing)}: the CA was made before this was "
                "configured. Run 'llmtrace ca rotate', then start the gateway anew"
            )
        return tuple(said)


def installation(config: Config, environ: Mapping[str, str] | None = None) -> Installation:
    """Return the installation of an environment."""
    return Installation(config=config, home=Home(home(environ)))


def user() -> str:
    """Return the name of whom this process belongs to."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the system knows no such user
        return "unknown"


def new_run_id() -> str:
    """Return a name for a run that people can tell from others: ``brave-otter-3f1a``."""
    words = secrets.choice(_FIRST), secrets.choice(_SECOND), secrets.token_hex(2)
    return "-".join(words)


def _few(names: tuple[str, ...]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
